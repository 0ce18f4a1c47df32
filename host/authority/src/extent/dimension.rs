//! The table of dimensions: in which respects a grant can be wide or narrow. Boundaries, lockfiles, differences and ledgers speak
//! of nothing else.

use crate::capability::Capability;

/// One respect in which a grant is wide or narrow. Its name is its key in `boundary.toml` and `runbook.lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The plugin, by name.
    Plugins,
    /// What may be done.
    Verbs,
    /// http or https.
    Schemes,
    /// The kind of database.
    Engines,
    /// Host names and addresses.
    Hosts,
    /// TCP ports.
    Ports,
    /// Paths of requests, below the host.
    Paths,
    /// Which addresses a host name may lead to.
    Addresses,
    /// Request headers that a plugin may set, beyond harmless ones.
    RequestHeaders,
    /// How many redirects are followed.
    Redirects,
    /// Databases on a server.
    Databases,
    /// Users of a database server.
    Users,
    /// SQLite files.
    Files,
    /// Classes of statements.
    Statements,
    /// Tables and views.
    Relations,
    /// Whether the role may be a superuser.
    Superuser,
    /// Whether a missing SQLite file is made.
    Create,
    /// Sockets of Docker engines.
    Sockets,
    /// Containers, by name.
    Containers,
    /// A label (or a Compose project) that containers must have.
    Labels,
    /// Images.
    Images,
    /// Programs inside containers, with their arguments.
    Commands,
    /// Directories, with all that is below.
    Directories,
    /// Programs on this host, by absolute path.
    Programs,
    /// Digests of programs.
    Digests,
    /// Arguments of a program, by position.
    Arguments,
    /// Environment variables that a program gets.
    Environment,
    /// Databases whose connection a program gets.
    Connections,
    /// Names of secrets that the target uses or hands on.
    Secrets,
    /// Where a plugin may put a secret.
    Positions,
    /// Bytes of a body.
    MaxBody,
    /// Rows of a result.
    MaxRows,
    /// Bytes of a result or a file.
    MaxBytes,
    /// Bytes of a program's output.
    MaxOutput,
    /// For one call.
    Timeout,
}

/// How the values of a dimension are written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Text in which `*` is any run of characters.
    Glob,
    /// A path pattern: `*` is one segment, `**` at the end all that is below.
    Path,
    /// A directory, which stands for itself and all that is below.
    Directory,
    /// Classes of addresses, and single addresses.
    Address,
    /// One list of argument patterns.
    Arguments,
    /// `true` lets through both, `false` only what is false.
    Flag,
    /// At most so many.
    Count,
    /// At most so many bytes.
    Size,
    /// At most so long.
    Duration,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct DimensionRow {
    /// The dimension.
    pub dimension: Dimension,
    /// Its key.
    pub key: &'static str,
    /// How its values are written.
    pub shape: Shape,
    /// The capabilities whose grants have it; empty is all.
    pub capabilities: &'static [Capability],
    /// What an example of it looks like when anything is let through.
    pub samples: &'static [&'static str],
}

macro_rules! dimensions {
    ($($dimension:ident $key:literal $shape:ident [$($capability:ident)*] [$($sample:literal)*];)*) => {
        /// Every dimension, in the order in which reports show them.
        pub const DIMENSIONS: &[DimensionRow] = &[$(DimensionRow {
            dimension: Dimension::$dimension,
            key: $key,
            shape: Shape::$shape,
            capabilities: &[$(Capability::$capability),*],
            samples: &[$($sample),*],
        }),*];
    };
}

dimensions! {
    Plugins "plugins" Glob [] ["any-plugin"];
    Verbs "verbs" Glob [] [];
    Schemes "schemes" Glob [Http] ["http"];
    Engines "engines" Glob [Sql] ["postgres"];
    Hosts "hosts" Glob [Http Sql] ["elsewhere.example"];
    Ports "ports" Glob [Http Sql] ["8080"];
    Paths "paths" Path [Http] ["/anything"];
    Addresses "addresses" Address [Http] [];
    RequestHeaders "request_headers" Glob [Http] ["x-anything"];
    Redirects "redirects" Count [Http] [];
    Databases "databases" Glob [Sql] ["any_database"];
    Users "users" Glob [Sql] ["any_user"];
    Files "files" Directory [Sql] ["/any.db"];
    Statements "statements" Glob [Sql] [];
    Relations "relations" Glob [Sql] ["any_table"];
    Superuser "superuser" Flag [Sql] [];
    Create "create" Flag [Sql] [];
    Sockets "sockets" Glob [Docker] ["/any.sock"];
    Containers "containers" Glob [Docker] ["any-container"];
    Labels "labels" Glob [Docker] [];
    Images "images" Glob [Docker] ["any-image"];
    Commands "commands" Arguments [Docker] [];
    Directories "directories" Directory [Files Process] ["/anywhere"];
    Programs "programs" Glob [Process] ["/any/program"];
    Digests "sha256" Glob [Process] ["a file with any other content"];
    Arguments "arguments" Arguments [Process] [];
    Environment "environment" Glob [Process] ["ANY"];
    Connections "connections" Glob [Process] ["any database"];
    Secrets "secrets" Glob [Http Sql Process Secrets] ["any-secret"];
    Positions "positions" Glob [Secrets] ["anywhere"];
    MaxBody "max_body" Size [Http] [];
    MaxRows "max_rows" Count [Sql] [];
    MaxBytes "max_bytes" Size [Sql Files] [];
    MaxOutput "max_output" Size [Process] [];
    Timeout "timeout" Duration [Http Sql Process] [];
}

impl Dimension {
    /// Its row.
    pub fn row(self) -> &'static DimensionRow {
        DIMENSIONS.iter().find(|row| row.dimension == self).expect("every dimension has a row: checked by a test")
    }

    /// Its key in files.
    pub fn key(self) -> &'static str {
        self.row().key
    }

    /// The dimension that a key names, in grants of a capability.
    pub fn find(capability: Capability, key: &str) -> Option<Self> {
        Self::of(capability).find(|row| row.key == key).map(|row| row.dimension)
    }

    /// The dimensions that grants of a capability have.
    pub fn of(capability: Capability) -> impl Iterator<Item = &'static DimensionRow> {
        DIMENSIONS.iter().filter(move |row| row.capabilities.is_empty() || row.capabilities.contains(&capability))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_has_one_row_and_one_key() {
        let mut seen = std::collections::BTreeSet::new();
        for row in DIMENSIONS {
            assert_eq!(row.dimension.key(), row.key);
            assert!(seen.insert(row.key), "{} is there twice", row.key);
        }
        // `Timeout` is the last of the enum.
        assert_eq!(DIMENSIONS.len(), Dimension::Timeout as usize + 1);
    }
}
