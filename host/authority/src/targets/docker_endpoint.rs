//! The way to the engine of a `docker` target: a Unix socket of this host, or a server over TCP.
//!
//! Whoever may send requests to an engine can do anything on its machine as the user of the engine,
//! which is root as a rule. So a server on another machine is reached by TLS only.

use super::network::{parse_server, read_addresses};
use super::tls::{Encryption, read_tls};
use super::{Folder, TlsKeys, is_local_host};
use crate::pattern::AddressPolicy;
use runbook_document::{Reader, Spanned};
use std::fmt;

/// The socket of the engine of this host.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The port of an engine that listens with TLS.
const DEFAULT_PORT: u16 = 2376;

/// The way to an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerEndpoint {
    /// A Unix socket of this host, by its absolute path.
    Socket(String),
    /// A server over TCP.
    Server(Box<DockerServer>),
}

/// An engine that listens on a TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerServer {
    /// The name or address of the engine's machine, in lower case and without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The addresses that the name may resolve to.
    pub addresses: AddressPolicy,
    /// The authorities to trust instead of the system's, and the client certificate. `None` does
    /// not encrypt; only an engine of this machine is reached so.
    pub tls: Option<TlsKeys>,
}

impl DockerEndpoint {
    /// The server, if it is one.
    pub fn server(&self) -> Option<&DockerServer> {
        match self {
            Self::Socket(_) => None,
            Self::Server(server) => Some(server),
        }
    }

    /// The way to the engine and what the engine can do, as a part of a sentence.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Socket(path) => {
                format!("of the Docker engine at {path}, which acts as root on this machine")
            }
            Self::Server(server) => {
                let transport = if server.tls.is_some() { "by TLS" } else { "without encryption" };
                format!("{transport}, to an engine that acts as root on its machine")
            }
        }
    }
}

impl fmt::Display for DockerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => f.write_str(path),
            Self::Server(server) if server.host.contains(':') => {
                write!(f, "tcp://[{}]:{}", server.host, server.port)
            }
            Self::Server(server) => write!(f, "tcp://{}:{}", server.host, server.port),
        }
    }
}

/// Reads `socket = "/run/docker.sock"`, or `engine = "tcp://10.0.0.5:2376"` with the keys of a
/// server over a network.
pub(super) fn read_endpoint(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<DockerEndpoint> {
    let socket = reader.optional::<String>("socket");
    let engine = reader.optional::<String>("engine");
    match (socket, engine) {
        (Some(_), Some(engine)) => {
            let message = "`engine` and `socket` are two ways to an engine, and a target has one";
            reader.error("E0108", engine.span, message, "remove one of them");
            let _ = read_server_keys(reader, folder, None);
            None
        }
        (socket, None) => {
            read_socket_keys(reader, folder);
            let path = socket
                .map_or_else(|| Some(DEFAULT_SOCKET.to_owned()), |path| read_path(reader, &path));
            path.map(DockerEndpoint::Socket)
        }
        (None, Some(engine)) => {
            let address = read_engine(reader, &engine);
            let host = address.as_ref().map(|(host, _)| host.as_str());
            let (addresses, tls) = read_server_keys(reader, folder, host);
            let (host, port) = address?;
            let server = DockerServer { host, port, addresses, tls: tls.ok()? };
            Some(DockerEndpoint::Server(Box::new(server)))
        }
    }
}

fn read_path(reader: &mut Reader<'_>, path: &Spanned<String>) -> Option<String> {
    if path.value.starts_with('/') && !path.value.chars().any(char::is_control) {
        return Some(path.value.clone());
    }
    let message = format!("`{}` is not the absolute path of a socket", path.value.escape_debug());
    reader.error("E0103", path.span.clone(), message, "such as `/var/run/docker.sock`");
    None
}

/// Reads the keys of a server, none of which goes with a socket.
fn read_socket_keys(reader: &mut Reader<'_>, folder: Folder<'_>) {
    const REASON: &str = "a Unix socket of this host is not a server";
    read_tls(reader, folder, Encryption::NotGuaranteed(REASON));
    for key in ["addresses", "tls"] {
        reader.mark_known(key);
        if let Some(node) = reader.table().get(key) {
            let span = node.span.clone();
            let message = format!("`{key}` has no effect here: {REASON}");
            let help = "name the engine by `engine = \"tcp://HOST:PORT\"`, or remove the key";
            reader.error_with_help("E0108", span, message, "never used", help);
        }
    }
}

/// A mistake that was reported.
struct Reported;

/// Reads the keys of a server. `host` is the server, if it could be read.
fn read_server_keys(
    reader: &mut Reader<'_>,
    folder: Folder<'_>,
    host: Option<&str>,
) -> (AddressPolicy, Result<Option<TlsKeys>, Reported>) {
    let addresses = read_addresses(reader);
    let mode = reader.optional::<String>("tls");
    match mode.as_ref().map_or("require", |mode| mode.value.as_str()) {
        "off" => {
            read_tls(reader, folder, Encryption::NotGuaranteed("`tls = \"off\"` does not encrypt"));
        }
        _ => {
            let keys = read_tls(reader, folder, Encryption::Verified);
            let Some(mode) = mode.filter(|mode| mode.value != "require") else {
                return (addresses, Ok(Some(keys)));
            };
            let message =
                format!("`tls` is `require` or `off`, not `{}`", mode.value.escape_debug());
            reader.error("E0103", mode.span, message, "unknown");
            return (addresses, Err(Reported));
        }
    }
    if let (Some(mode), Some(host)) = (mode, host.filter(|host| !is_local_host(host))) {
        let message = format!(
            "the engine on `{host}` would be reached without TLS: whoever is on the way could \
             command it"
        );
        let help = "let it listen with `dockerd --tlsverify`, and name `ca`, `client_cert` and \
                    `client_key` instead";
        reader.error_with_help("E0108", mode.span, message, "only for this machine", help);
        return (addresses, Err(Reported));
    }
    (addresses, Ok(None))
}

/// Reads `tcp://HOST:PORT`.
fn read_engine(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<(String, u16)> {
    let (scheme, place) = text.value.split_once("://").unwrap_or(("", &text.value));
    let server = (scheme == "tcp").then(|| parse_server(place)).flatten();
    let address = server.map(|(host, port)| (host, port.unwrap_or(DEFAULT_PORT)));
    if address.is_none() {
        let help = match scheme {
            "unix" => "write `socket = \"/PATH\"` for a socket of this host",
            "ssh" => "an engine is reached by its TLS port, not by a login",
            "http" | "https" => "write `tcp://HOST:PORT`; it is encrypted unless `tls` is `off`",
            _ => {
                "such as `tcp://10.0.0.5:2376`; certificates are `ca`, `client_cert`, `client_key`"
            }
        };
        // The text may hold a password, so it is not repeated.
        let message = "this is not the address of a Docker engine";
        reader.error_with_help("E0103", text.span.clone(), message, "not `tcp://HOST:PORT`", help);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::grants;
    use crate::targets::http::tests::messages_of;

    fn errors(lines: &str) -> String {
        messages_of(&format!("docker = {{ name = \"a\" }}\n{lines}"))
    }

    fn endpoint(lines: &str) -> DockerEndpoint {
        let grants = grants("docker", &format!("docker = {{ name = \"a\" }}\n{lines}"));
        let target = &grants.get("s").expect("the slot is bound").target;
        target.docker().expect("a docker target").endpoint.clone()
    }

    #[test]
    fn an_engine_is_a_socket_of_this_host_or_a_host_and_a_port() {
        for (lines, place) in [
            ("", "/var/run/docker.sock"),
            ("socket = \"/run/podman/podman.sock\"", "/run/podman/podman.sock"),
            ("engine = \"tcp://Far.internal\"", "tcp://far.internal:2376"),
            ("engine = \"tcp://10.0.0.5:2377\"", "tcp://10.0.0.5:2377"),
            ("engine = \"tcp://[fd00::1]:2376\"", "tcp://[fd00::1]:2376"),
            ("engine = \"tcp://127.0.0.1:2375\"\ntls = \"off\"", "tcp://127.0.0.1:2375"),
            ("engine = \"tcp://localhost:2375\"\ntls = \"off\"", "tcp://localhost:2375"),
        ] {
            assert_eq!(errors(lines), "", "{lines}");
            assert_eq!(endpoint(lines).to_string(), place, "{lines}");
        }
        for text in [
            "",
            "10.0.0.5:2376",
            "unix:///run/docker.sock",
            "ssh://root@10.0.0.5",
            "fd://",
            "npipe:////./pipe/docker_engine",
            "http://10.0.0.5",
            "https://10.0.0.5:2376",
            "tcp://",
            "tcp://:2376",
            "tcp://10.0.0.5:0",
            "tcp://10.0.0.5:2376/v1.41",
            "tcp://user:word@10.0.0.5",
            "tcp://127.1",
            "TCP://10.0.0.5",
        ] {
            let found = errors(&format!("engine = \"{text}\""));
            assert!(found.starts_with("E0103 "), "{text}: {found}");
        }
        for path in ["", "docker.sock", "unix:///run/docker.sock", "/run/a\\nb"] {
            let found = errors(&format!("socket = \"{path}\""));
            assert!(found.starts_with("E0103 "), "{path}: {found}");
        }
    }

    #[test]
    fn an_engine_of_another_machine_is_never_reached_without_tls() {
        for host in ["10.0.0.5", "far.internal", "8.8.8.8", "[fd00::1]", "localhost.internal"] {
            let engine = format!("engine = \"tcp://{host}:2375\"");
            let found = errors(&format!("{engine}\ntls = \"off\""));
            assert!(
                found.starts_with("E0108 ") && found.contains("without TLS"),
                "{host}: {found}"
            );
            assert_eq!(errors(&format!("{engine}\ntls = \"require\"")), "", "{host}");
            let DockerEndpoint::Server(server) = endpoint(&engine) else { panic!("{host}") };
            assert!(server.tls.is_some(), "{host}");
        }
    }

    #[test]
    fn keys_that_have_no_effect_on_the_way_to_an_engine_are_refused() {
        for lines in [
            "socket = \"/x.sock\"\nengine = \"tcp://10.0.0.5\"",
            "addresses = [\"private\"]",
            "tls = \"require\"",
            "tls = \"off\"",
            "ca = \"ca.pem\"",
            "client_cert = \"c.pem\"\nclient_key = \"k.pem\"",
            "engine = \"tcp://localhost\"\ntls = \"off\"\nca = \"ca.pem\"",
            "engine = \"tcp://10.0.0.5\"\nclient_cert = \"c.pem\"",
        ] {
            let found = errors(lines);
            assert!(found.starts_with("E0108 "), "{lines}: {found}");
        }
        assert!(errors("engine = \"tcp://10.0.0.5\"\ntls = \"prefer\"").starts_with("E0103 "));
    }
}
