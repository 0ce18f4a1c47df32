//! The table of dimensions: the aspects in which a grant can be wide or narrow. Boundaries,
//! lockfiles, comparisons and access reports use this table.

use crate::capability::Capability;
use crate::pattern::StatementClass;

/// How the values of a dimension are written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Text in which `*` is any run of characters.
    Glob,
    /// A path pattern: `*` is one segment, `**` at the end is everything below.
    Path,
    /// A directory, with everything below it.
    Directory,
    /// Classes of addresses, and single addresses.
    Address,
    /// One list of argument patterns.
    Arguments,
    /// `true` or `false`. A rule with `true` covers both, a rule with `false` only `false`.
    Flag,
    /// A number, as an upper limit.
    Count,
    /// A number of bytes, as an upper limit.
    Size,
    /// A time, as an upper limit.
    Duration,
    /// A time, as a lower limit.
    Age,
}

/// One row of [`DIMENSIONS`].
#[derive(Debug, Clone, Copy)]
pub struct DimensionRow {
    /// The dimension that this row describes.
    pub dimension: Dimension,
    /// Its key in boundaries, lockfiles and reports.
    pub key: &'static str,
    /// How its values are written.
    pub shape: Shape,
    /// The capabilities whose grants have it; empty if all have it.
    pub capabilities: &'static [Capability],
    /// Values for examples: a witness uses one if every value is allowed.
    pub samples: &'static [&'static str],
    /// What it is, for people.
    pub meaning: &'static str,
}

macro_rules! dimensions {
    ($($dimension:ident $key:literal $shape:ident [$($capability:ident)*] [$($sample:literal)*] $meaning:literal;)*) => {
        /// One aspect in which a grant is wide or narrow. [`Dimension::key`] is its key in
        /// `boundary.toml` and `runbook.lock`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dimension {
            $(#[doc = $meaning] $dimension,)*
        }

        /// Every dimension, in the order in which reports show them.
        pub const DIMENSIONS: &[DimensionRow] = &[$(DimensionRow {
            dimension: Dimension::$dimension,
            key: $key,
            shape: Shape::$shape,
            capabilities: &[$(Capability::$capability),*],
            samples: &[$($sample),*],
            meaning: $meaning,
        }),*];
    };
}

dimensions! {
    Plugins "plugins" Glob [] ["any-plugin"] "The plugin, by name";
    Verbs "verbs" Glob [] [] "Verbs that are allowed";
    Schemes "schemes" Glob [Http Objects] ["http"] "http or https";
    Engines "engines" Glob [Sql] ["postgres"] "The kind of database";
    Hosts "hosts" Glob [Http Sql Docker Net Redis Objects Mail] ["elsewhere.example"] "Host names and addresses";
    Ports "ports" Glob [Http Sql Docker Net Redis Objects Mail] ["8080"] "TCP ports";
    Paths "paths" Path [Http] ["/anything"] "Paths of requests, below the host";
    Addresses "addresses" Address [Http Sql Docker Net Redis Objects Mail] [] "Addresses that a host name may resolve to";
    Via "via" Glob [Http Sql Net Redis] ["ssh anybody@elsewhere.example:22 with host key SHA256:any"] "What connections go through: `direct`, `ssh USER@HOST:PORT with host key FINGERPRINT`, or `proxy URL`";
    Services "services" Glob [Http] ["any.Service"] "Services whose health is asked for by gRPC";
    RequestHeaders "request_headers" Glob [Http] ["x-anything"] "Request headers that a plugin may set, beyond harmless ones";
    Headers "headers" Glob [Http Objects] ["x-anything: value"] "Request headers that the host sets: \
                                                         `name` with any value, or `name: value`";
    Redirects "redirects" Count [Http] [] "How many redirects are followed";
    RedirectOrigins "redirect_origins" Glob [Http] ["https://elsewhere.example"] "Origins beside that of the target to which a read may be redirected";
    Cookies "cookies" Flag [Http] [] "Whether the cookies of a server are sent back to it";
    Tls "tls" Glob [Http Sql Docker Net Redis Objects Mail] ["disable"] "How a connection verifies the server: `verify-full`, \
                                           `ca FILE DIGEST`, or, unverified, `require`, `prefer`, \
                                           `disable`";
    ClientCertificates "client_cert" Glob [Http Sql Docker Redis Objects Mail] ["any.pem with the key any.key"] "The certificate that the host shows a server: `FILE DIGEST with the key FILE`";
    Databases "databases" Glob [Sql Redis] ["any_database"] "Databases on a server; of Redis, their numbers";
    Users "users" Glob [Sql Redis Mail] ["any_user"] "Users of a database server or a mail server";
    Files "files" Directory [Sql] ["/any.db"] "SQLite files";
    Statements "statements" Glob [Sql] [] "Classes of statements";
    Relations "relations" Glob [Sql] ["any_table"] "Tables and views";
    Superuser "superuser" Flag [Sql] [] "Whether the role may be a superuser";
    Create "create" Flag [Sql] [] "Whether a missing SQLite file is created";
    Sockets "sockets" Glob [Http Docker System] ["/any.sock"] "Sockets of this host: of Docker engines, of HTTP services, and of the bus of systemd";
    Containers "containers" Glob [Docker] ["any-container"] "Containers, by name";
    Labels "labels" Glob [Docker] [] "A label or Compose project that containers must have";
    Images "images" Glob [Docker] ["any-image"] "Images";
    Commands "commands" Arguments [Docker] [] "Programs inside containers, with their arguments";
    Networks "networks" Glob [Docker] ["any-network"] "Networks of containers that are created";
    Pids "pids" Count [Docker] [] "Processes of a container that is created";
    Memory "memory" Size [Docker Process] [] "Memory of a container that is created, or address space of each process of a program";
    Cpu "cpu" Duration [Process] [] "Processor time of each process of a program";
    Directories "directories" Directory [Files Process] ["/anywhere"] "Directories, with everything below them";
    FilePatterns "patterns" Glob [Files] ["anything"] "Paths of files below a directory; `*` is any run of characters";
    MinAge "min_age" Age [Files] [] "How old a file must be before it may be removed";
    Programs "programs" Glob [Process] ["/any/program"] "Programs on this host, by absolute path";
    Digests "sha256" Glob [Process] ["a file with any other content"] "Digests of programs";
    Interpreters "interpreter_sha256" Glob [Process] ["a file with any other content"] "Digests of the interpreters of programs that are scripts";
    Arguments "arguments" Arguments [Process] [] "Arguments of a program, by position";
    Environment "environment" Glob [Docker Process] ["ANY=value"] "Environment variables that a program gets, or a container that is created: `NAME` with any value, or `NAME=value`";
    Connections "connections" Glob [Process] ["any database"] "Databases whose connection a \
                                                               program gets";
    Reads "reads" Directory [Process] ["/anywhere"] "Files and directories that a program may read, with all that is below";
    Writes "writes" Directory [Process] ["/anywhere"] "Files and directories that a program may write, with all that is below";
    Network "network" Flag [Process] [] "Whether a program may make any connection";
    Signals "signals" Flag [Process] [] "Whether a program may send signals to processes that it did not start";
    Questions "questions" Glob [Net] ["ANYTHING"] "Lines that may be said to a server";
    Names "names" Glob [Net] ["anything.example"] "DNS names that may be looked up";
    Resolvers "resolvers" Glob [Net] ["192.0.2.53:53"] "Who is asked for DNS names: `system`, or `ADDRESS:PORT`";
    Mounts "mounts" Glob [System] ["/anywhere"] "Mount points whose file systems are seen";
    Processes "processes" Glob [System] ["any-process"] "Processes that are seen, by name";
    ProcessArguments "process_arguments" Flag [System] [] "Whether the arguments of processes are seen";
    RedisCommands "redis_commands" Glob [Redis] ["get" "set"] "Commands of Redis; a pattern with `*` leaves out those that must be named";
    Keys "keys" Glob [Redis Objects] ["anything"] "Keys that commands may use; of objects, their whole keys";
    Senders "senders" Glob [Mail] ["anybody@elsewhere.example"] "Senders of messages";
    Units "units" Glob [System] ["any.service"] "Units of systemd that are seen";
    Control "control" Glob [System] ["any.service"] "Units of systemd that may be changed";
    Buckets "buckets" Glob [Objects] ["any-bucket"] "Buckets of a store";
    StorageClasses "storage_classes" Glob [Objects] ["ANY_CLASS"] "Storage classes of what is put; `default` is that of the bucket";
    Secrets "secrets" Glob [Http Sql Docker Process Secrets Net Redis Objects Mail] ["age:/any.age#secret"] "Secrets that the target uses or passes on, by their source: `age:/path/of/store.age#name`";
    Positions "positions" Glob [Secrets] ["anywhere"] "Where a plugin may put a secret";
    Recipients "recipients" Glob [Secrets Mail] ["anybody@elsewhere.example"] "Whom a message is sent to, and the public keys that a rotation may encrypt a store to";
    MaxBody "max_body" Size [Http] [] "Bytes of a body";
    MaxRows "max_rows" Count [Sql System Objects] [] "Rows of a result; of objects, how many a list has";
    MaxMessages "max_messages" Count [Mail] [] "Messages that one call of a plugin may send";
    MaxBytes "max_bytes" Size [Sql Files Redis Net System Objects Mail] [] "Bytes of a result, a file, a message, or what a server says";
    MaxTotal "max_total" Size [Files] [] "Bytes of files, after decompression, that one call goes through";
    MaxCopy "max_copy" Size [Objects] [] "Bytes of an object that is copied from or to a file";
    MaxRecords "max_records" Count [Net] [] "Records of an answer";
    MaxOutput "max_output" Size [Process] [] "Bytes of a program's output";
    Timeout "timeout" Duration [Http Sql Process Redis Net System Objects Mail] [] "The time limit of one call";
}

/// Returns the fixed set of values of a dimension in grants of a capability.
type FixedValuesOf = fn(Capability) -> Vec<&'static str>;

impl Dimension {
    /// The row of this dimension in `DIMENSIONS`.
    pub fn row(self) -> &'static DimensionRow {
        DIMENSIONS
            .iter()
            .find(|row| row.dimension == self)
            .expect("every dimension has a row: checked by a test")
    }

    /// Its key in files.
    pub fn key(self) -> &'static str {
        self.row().key
    }

    /// The dimension that a key names, in grants of a capability.
    pub fn find(capability: Capability, key: &str) -> Option<Self> {
        Self::of(capability).find(|row| row.key == key).map(|row| row.dimension)
    }

    /// The fixed set of values that the dimension can have in grants of a capability; `None` if it
    /// can have any text.
    pub fn fixed_values(self, capability: Capability) -> Option<Vec<&'static str>> {
        const FIXED_VALUES: &[(Dimension, FixedValuesOf)] = &[
            (Dimension::Verbs, |capability| {
                capability.verbs().map(|verb| verb.row().name).collect()
            }),
            (Dimension::Statements, |_| StatementClass::names()),
            (Dimension::Engines, |_| vec!["postgres", "mysql", "sqlite"]),
            (Dimension::Schemes, |_| vec!["http", "https"]),
        ];
        let (_, fixed_values) = FIXED_VALUES.iter().find(|(dimension, _)| *dimension == self)?;
        Some(fixed_values(capability))
    }

    /// The dimensions that grants of a capability have.
    pub fn of(capability: Capability) -> impl Iterator<Item = &'static DimensionRow> {
        DIMENSIONS.iter().filter(move |row| {
            row.capabilities.is_empty() || row.capabilities.contains(&capability)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_has_one_row_and_one_key() {
        let mut keys = std::collections::BTreeSet::new();
        for row in DIMENSIONS {
            assert_eq!(row.dimension.key(), row.key);
            assert!(keys.insert(row.key), "{} is there twice", row.key);
        }
        // `Timeout` is the last of the enum.
        assert_eq!(DIMENSIONS.len(), Dimension::Timeout as usize + 1);
    }
}
