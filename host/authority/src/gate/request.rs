//! The requests of host functions to the gate. A host function makes one request before each of its
//! effects.

use crate::capability::Verb;
use crate::pattern::ServerFacts;
use crate::targets::{ContainerFacts, SecretPlace};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use url::Url;

/// The value of an HTTP request header, as a plugin gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// A text that is sent as it is.
    Plain(&'a str),
    /// The name of a secrets slot.
    Secret(&'a str),
}

/// Whether a call opens a connection or uses an open one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// The call opens it now.
    New,
    /// An earlier HTTP request of the same call of the plugin, on the same slot, has opened it.
    Reused,
}

/// A container to create, as a plugin asks for it.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// The name and the labels of the new container.
    pub container: ContainerFacts<'a>,
    /// The reference of the image that it is made of.
    pub image: &'a str,
    /// The command to run in it; empty for the command of the image.
    pub command: &'a [String],
    /// The variables that the plugin sets.
    pub environment: &'a [(String, String)],
}

/// A message to send, as a plugin asks for it. The target has the sender and the recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailMessage<'a> {
    /// Its subject.
    pub subject: &'a str,
    /// Its text.
    pub text: &'a str,
    /// How many messages the same call of the plugin has sent by the slot, this one included.
    pub number: u32,
}

/// What a call on a `system` target is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemObject<'a> {
    /// All that the target lets be seen of the part.
    Part,
    /// One mount point.
    Mount(&'a str),
    /// The processes of one name.
    Process(&'a str),
    /// One unit of systemd, to see or to change it.
    Unit(&'a str),
}

/// What a call on an `objects` target is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectName<'a> {
    /// The object with this key.
    Key(&'a str),
    /// Every object whose key begins so.
    Prefix(&'a str),
}

/// One request of a host function to the gate.
#[derive(Debug, Clone, Copy)]
pub enum GateRequest<'a> {
    /// An HTTP request, before the name of its server is resolved.
    Http {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The path of the request, with its query.
        path: &'a str,
        /// The headers, as name and value.
        headers: &'a [(&'a str, HeaderValue<'a>)],
        /// Secrets in the body: where each goes, and the secrets slot that it comes from.
        secrets: &'a [(SecretPlace, &'a str)],
    },
    /// A connection to the server of a target, after its name was resolved to an address.
    Connect {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the connection is for.
        verb: Verb,
        /// The name of the server, as the target has it.
        host: &'a str,
        /// The address to connect to.
        address: IpAddr,
        /// Whether the connection is open already.
        connection: ConnectionState,
    },
    /// A connection to the gateway of a target, after the gateway's name was resolved.
    Gateway {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the connection is for.
        verb: Verb,
        /// The name or address of the gateway, as its target has it.
        host: &'a str,
        /// The address to connect to.
        address: IpAddr,
    },
    /// A connection to the server of a target that its gateway makes for the host.
    Forward {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the connection is for.
        verb: Verb,
        /// The name of the server, as the target has it.
        host: &'a str,
        /// The address that the gateway is given; `None` if it is given the name.
        address: Option<IpAddr>,
        /// Whether the connection is open already.
        connection: ConnectionState,
    },
    /// A token that the host fetches for a request, as `auth` of the target says.
    Token {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb of the request that the token is for.
        verb: Verb,
        /// Where the token comes from.
        server: &'a Url,
    },
    /// The next hop of a redirect.
    Redirect {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb of the request.
        verb: Verb,
        /// The base address of the slot's target.
        base: &'a Url,
        /// The address that was requested last.
        from: &'a Url,
        /// The address that the server points to.
        to: &'a Url,
        /// How many hops were followed, this one included.
        hop: u32,
    },
    /// A connection to the Unix socket of a target.
    Socket {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the connection is for.
        verb: Verb,
        /// The path of the socket, with links resolved.
        path: &'a Path,
        /// Whether the connection is open already.
        connection: ConnectionState,
    },
    /// The health of a gRPC service, before the name of its server is resolved.
    Health {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The full name of the service; empty for the whole server.
        service: &'a str,
    },
    /// A SQL statement, or a SQL verb that runs no statement.
    Sql {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The statement; `None` for `kind`, `backup` and `restore`, which run none.
        statement: Option<&'a str>,
    },
    /// A Docker verb, before a container is looked up.
    Docker {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
    },
    /// A Docker verb on an inspected container.
    Container {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The container as the engine describes it.
        container: ContainerFacts<'a>,
    },
    /// A container to create, with everything that the plugin says of it.
    Create {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The container, as the plugin asks for it.
        creation: Creation<'a>,
    },
    /// A Docker verb on an image.
    Image {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The reference of the image, such as `postgres:17`.
        image: &'a str,
    },
    /// A program to run inside a container.
    Exec {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The program and its arguments.
        command: &'a [String],
    },
    /// A secret whose metadata or plain text the plugin asks for.
    Secret {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
    },
    /// A file or folder below the directory of a slot.
    Files {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// Path below the slot's directory.
        path: &'a str,
    },
    /// A folder below the directory of a slot whose entries are listed.
    FileList {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// Path below the slot's directory; empty for the directory itself.
        path: &'a str,
    },
    /// A file that gets another name.
    FileRename {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// Its path below the slot's directory.
        from: &'a str,
        /// Its path afterwards.
        to: &'a str,
    },
    /// A file that is to be removed, after its age was read.
    FileRemoval {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// Path below the slot's directory.
        path: &'a str,
        /// The time since its last change; zero if that is in the future.
        age: Duration,
    },
    /// A program to start on this host.
    Process {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The arguments of the program, without its own name.
        arguments: &'a [String],
    },
    /// A server that is connected to, before its name is resolved.
    Endpoint {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The host, of those of the target; `None` for the only one.
        host: Option<&'a str>,
        /// The port, of those of the target; `None` for the only one.
        port: Option<u16>,
        /// All lines that are to be said.
        says: &'a [&'a str],
    },
    /// A DNS name that is looked up.
    Lookup {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The name; `None` for the only one of the target.
        name: Option<&'a str>,
        /// The type of the records, such as `MX`.
        kind: &'static str,
    },
    /// A resolver that is asked.
    Resolver {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// Where it is.
        resolver: SocketAddr,
    },
    /// A command of Redis, before anything is connected to.
    Redis {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The name of the command and its arguments.
        command: &'a [Vec<u8>],
    },
    /// The same command, with what the server says of it in its own table.
    RedisFacts {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The name of the command and its arguments.
        command: &'a [Vec<u8>],
        /// What the server says; `None` if it does not know the command.
        facts: Option<&'a ServerFacts>,
    },
    /// Objects of a store, before anything is connected to.
    Objects {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// Which of them, below the prefix of the target.
        name: ObjectName<'a>,
    },
    /// A message to send, before anything is connected to.
    Mail {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// What is to be sent.
        message: MailMessage<'a>,
    },
    /// A part of this machine. The verb is the part.
    System {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// What of the part the call is about.
        object: SystemObject<'a>,
    },
}

impl<'a> GateRequest<'a> {
    /// The name of the slot that the call is made on.
    pub fn slot(&self) -> &'a str {
        match self {
            Self::Http { slot, .. }
            | Self::Connect { slot, .. }
            | Self::Gateway { slot, .. }
            | Self::Forward { slot, .. }
            | Self::Token { slot, .. }
            | Self::Redirect { slot, .. }
            | Self::Socket { slot, .. }
            | Self::Health { slot, .. }
            | Self::Sql { slot, .. }
            | Self::Docker { slot, .. }
            | Self::Container { slot, .. }
            | Self::Create { slot, .. }
            | Self::Image { slot, .. }
            | Self::Exec { slot, .. }
            | Self::Secret { slot, .. }
            | Self::Files { slot, .. }
            | Self::FileList { slot, .. }
            | Self::FileRename { slot, .. }
            | Self::FileRemoval { slot, .. }
            | Self::Process { slot, .. }
            | Self::Endpoint { slot, .. }
            | Self::Lookup { slot, .. }
            | Self::Resolver { slot, .. }
            | Self::System { slot, .. }
            | Self::Mail { slot, .. }
            | Self::Redis { slot, .. }
            | Self::RedisFacts { slot, .. }
            | Self::Objects { slot, .. } => slot,
        }
    }

    /// The verb that the call needs.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Http { verb, .. }
            | Self::Connect { verb, .. }
            | Self::Gateway { verb, .. }
            | Self::Forward { verb, .. }
            | Self::Token { verb, .. }
            | Self::Redirect { verb, .. }
            | Self::Socket { verb, .. }
            | Self::Health { verb, .. }
            | Self::Sql { verb, .. }
            | Self::Docker { verb, .. }
            | Self::Container { verb, .. }
            | Self::Create { verb, .. }
            | Self::Image { verb, .. }
            | Self::Secret { verb, .. }
            | Self::Files { verb, .. }
            | Self::FileList { verb, .. }
            | Self::FileRename { verb, .. }
            | Self::FileRemoval { verb, .. }
            | Self::Exec { verb, .. }
            | Self::Process { verb, .. }
            | Self::Endpoint { verb, .. }
            | Self::Lookup { verb, .. }
            | Self::Resolver { verb, .. }
            | Self::System { verb, .. }
            | Self::Mail { verb, .. }
            | Self::Redis { verb, .. }
            | Self::RedisFacts { verb, .. }
            | Self::Objects { verb, .. } => *verb,
        }
    }
}

impl<'a> GateRequest<'a> {
    /// The secrets slots whose values the host would put into the call.
    pub fn secret_slots(&self) -> Vec<&'a str> {
        match self {
            Self::Http { headers, secrets, .. } => {
                let slot_of = |(_, value): &(&str, HeaderValue<'a>)| match value {
                    HeaderValue::Plain(_) => None,
                    HeaderValue::Secret(slot) => Some(*slot),
                };
                headers
                    .iter()
                    .filter_map(slot_of)
                    .chain(secrets.iter().map(|(_, slot)| *slot))
                    .collect()
            }
            Self::Connect { .. }
            | Self::Gateway { .. }
            | Self::Forward { .. }
            | Self::Token { .. }
            | Self::Redirect { .. }
            | Self::Socket { .. }
            | Self::Health { .. }
            | Self::Sql { .. }
            | Self::Docker { .. }
            | Self::Container { .. }
            | Self::Create { .. }
            | Self::Image { .. }
            | Self::Exec { .. }
            | Self::Secret { .. }
            | Self::Files { .. }
            | Self::FileList { .. }
            | Self::FileRename { .. }
            | Self::FileRemoval { .. }
            | Self::Process { .. }
            | Self::Endpoint { .. }
            | Self::Lookup { .. }
            | Self::Resolver { .. }
            | Self::System { .. }
            | Self::Mail { .. }
            | Self::Redis { .. }
            | Self::RedisFacts { .. }
            | Self::Objects { .. } => Vec::new(),
        }
    }
}
