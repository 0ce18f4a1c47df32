//! A `sql` target: one database.

use super::network::read_addresses;
use super::tls::{Encryption, read_tls};
use super::{Folder, HostPath, TlsKeys, secret_reference};
use crate::pattern::{AddressPolicy, Dialect, StatementClass, canonical_relation};
use runbook_document::{ByteSize, Reader, Spanned};
use std::collections::BTreeSet;
use std::time::Duration;
use url::Url;

/// The address of a database. The password is never part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlAddress {
    /// A server of PostgreSQL, MySQL or MariaDB.
    Server {
        /// The kind of server: PostgreSQL, or MySQL and MariaDB.
        dialect: Dialect,
        /// Host name or address, or the directory of a Unix socket (it starts with `/`).
        host: String,
        /// TCP port, or the port in the socket's name.
        port: u16,
        /// The user that the connection logs in as.
        user: String,
        /// The name of the database on the server.
        database: String,
        /// The encryption of the connection.
        tls: TlsMode,
    },
    /// The path of a SQLite file.
    File(HostPath),
}

/// The encryption of a connection to a database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Encrypted if the server can; the default, as with `psql`.
    Prefer,
    /// Never encrypted, whatever the server can.
    Disable,
    /// Always, without checking the certificate.
    Require,
    /// Always, and the certificate and its name must be good.
    VerifyFull,
}

const TLS_MODES: &[(TlsMode, &str)] = &[
    (TlsMode::Prefer, "prefer"),
    (TlsMode::Disable, "disable"),
    (TlsMode::Require, "require"),
    (TlsMode::VerifyFull, "verify-full"),
];

impl TlsMode {
    /// Its name after `sslmode=`.
    pub fn name(self) -> &'static str {
        TLS_MODES.iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| *name)
    }

    fn find(name: &str) -> Option<Self> {
        TLS_MODES.iter().find(|(_, known)| *known == name).map(|(mode, _)| *mode)
    }
}

/// One database, as a `sql` target describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlTarget {
    /// Where the database is.
    pub address: SqlAddress,
    /// The addresses that the name of its server may resolve to.
    pub addresses: AddressPolicy,
    /// The authorities to trust instead of the system's, and the client certificate.
    pub tls_keys: TlsKeys,
    /// The name of the secret with the password.
    pub password: Option<String>,
    /// Statement classes that may run; `None` allows every class.
    pub statements: Option<Vec<StatementClass>>,
    /// Tables and views that statements may name; `None` allows every one.
    pub relations: Option<Vec<String>>,
    /// Whether a superuser is accepted as the role. PostgreSQL cannot restrict a superuser to
    /// reading.
    pub superuser: bool,
    /// Whether a missing SQLite file is created. Off by default, because an empty database in place
    /// of a lost one could pass the checks.
    pub create: bool,
    /// How many rows one result may have.
    pub max_rows: u32,
    /// How many bytes one result may have.
    pub max_bytes: ByteSize,
    /// The largest copy that a SQLite database is restored from, decompressed.
    pub max_copy: ByteSize,
    /// For one statement; enforced by the server too.
    pub timeout: Duration,
}

impl SqlAddress {
    /// How the host verifies the server, wherever it is; `None` for a file.
    pub(crate) fn tls_mode(&self) -> Option<TlsMode> {
        match self {
            Self::Server { tls, .. } => Some(*tls),
            Self::File(_) => None,
        }
    }

    /// How the host verifies a remote server; `None` for a file and for a server on this machine,
    /// where no attacker can be in between.
    pub fn remote_tls_mode(&self) -> Option<TlsMode> {
        match self {
            Self::Server { host, tls, .. } => (!is_local_host(host)).then_some(*tls),
            Self::File(_) => None,
        }
    }

    /// The SQL dialect of the database.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Server { dialect, .. } => *dialect,
            Self::File(_) => Dialect::Sqlite,
        }
    }
}

impl SqlTarget {
    /// The SQL dialect of the database.
    pub fn dialect(&self) -> Dialect {
        self.address.dialect()
    }

    /// The name or address of its server and the port; `None` for a file and for the socket of a
    /// server, whose directory is a path of this host.
    pub fn server(&self) -> Option<(&str, u16)> {
        match &self.address {
            SqlAddress::Server { host, port, .. } if !host.starts_with('/') => Some((host, *port)),
            SqlAddress::Server { .. } | SqlAddress::File(_) => None,
        }
    }

    /// Whether its server is reached by a Unix socket, which is a file of this host.
    pub fn is_reached_by_unix_socket(&self) -> bool {
        matches!(&self.address, SqlAddress::Server { host, .. } if host.starts_with('/'))
    }

    /// Whether it limits statements or relations.
    pub fn is_narrowed(&self) -> bool {
        self.statements.is_some() || self.relations.is_some()
    }

    pub(super) fn describe(&self) -> String {
        match &self.address {
            SqlAddress::Server { host, port, database, user, .. } => {
                format!("database {database} on {host}:{port} as {user}")
            }
            SqlAddress::File(path) => format!("database {path}"),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<SqlTarget> {
    let address =
        reader.required::<String>("sql").and_then(|text| read_address(reader, &text, folder));
    let password = reader.optional::<String>("password").and_then(|text| {
        let name = secret_reference(&text.value).map(str::to_owned);
        if name.is_none() {
            reader.error(
                "E0103",
                text.span.clone(),
                "a password must be `secret:NAME`",
                "never the password itself",
            );
        }
        name
    });
    let addresses = read_addresses_of(reader, address.as_ref());
    let encryption = address.as_ref().map_or(Encryption::Verified, encryption_of);
    let tls_keys = read_tls(reader, folder, encryption);
    let statements = read_statements(reader);
    let relations = read_relations(reader, address.as_ref());
    let superuser = reader.optional::<bool>("superuser").is_some_and(|flag| flag.value);
    let create = reader.optional::<bool>("create");
    if let (Some(create), Some(SqlAddress::Server { .. })) = (&create, &address) {
        reader.error(
            "E0108",
            create.span.clone(),
            "`create` is for SQLite files only",
            "remove this",
        );
    }
    let max_rows = reader.optional::<u32>("max_rows").map_or(10_000, |rows| rows.value);
    let max_bytes =
        reader.optional::<ByteSize>("max_bytes").map_or(ByteSize(8 << 20), |size| size.value);
    let max_copy = reader.optional::<ByteSize>("max_copy");
    if let (Some(max_copy), Some(SqlAddress::Server { .. })) = (&max_copy, &address) {
        reader.error(
            "E0108",
            max_copy.span.clone(),
            "`max_copy` is for SQLite files only",
            "remove this",
        );
    }
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(30), |timeout| timeout.value);
    Some(SqlTarget {
        address: address?,
        addresses,
        tls_keys,
        password,
        statements,
        relations,
        superuser,
        create: create.is_some_and(|flag| flag.value),
        max_rows,
        max_bytes,
        max_copy: max_copy.map_or(ByteSize(4 << 30), |size| size.value),
        timeout,
    })
}

/// How a connection to a database is encrypted and verified.
fn encryption_of(address: &SqlAddress) -> Encryption {
    match address {
        SqlAddress::File(_) => Encryption::NotGuaranteed("a file is not reached over a network"),
        SqlAddress::Server { host, .. } if host.starts_with('/') => {
            Encryption::NotGuaranteed("a socket is not encrypted")
        }
        SqlAddress::Server { tls, .. } => match tls {
            TlsMode::VerifyFull => Encryption::Verified,
            TlsMode::Require => Encryption::Unverified,
            TlsMode::Prefer => {
                Encryption::NotGuaranteed("`sslmode=prefer` goes on without encryption")
            }
            TlsMode::Disable => Encryption::NotGuaranteed("`sslmode=disable` does not encrypt"),
        },
    }
}

/// Reads `addresses`, which is an error for a file or a socket, because these have no address.
fn read_addresses_of(reader: &mut Reader<'_>, address: Option<&SqlAddress>) -> AddressPolicy {
    let is_local = match address {
        Some(SqlAddress::Server { host, .. }) => host.starts_with('/'),
        Some(SqlAddress::File(_)) => true,
        None => false,
    };
    if is_local && let Some(node) = reader.table().get("addresses") {
        let span = node.span.clone();
        reader.error(
            "E0108",
            span,
            "`addresses` is for servers that are reached over a network",
            "remove this",
        );
    }
    read_addresses(reader)
}

fn read_relations(reader: &mut Reader<'_>, address: Option<&SqlAddress>) -> Option<Vec<String>> {
    let texts = reader.optional::<Vec<Spanned<String>>>("relations")?;
    let dialect = address.map_or(Dialect::Postgres, SqlAddress::dialect);
    let mut relations = Vec::new();
    for text in texts.value {
        match canonical_relation(dialect, &text.value) {
            Some(relation) => relations.push(relation),
            None => reader.error_with_help(
                "E0103",
                text.span.clone(),
                format!("`{}` is not the name of a table or view", text.value),
                "not a name",
                "write `orders`, `public.orders`, or in quotes if the name has other characters \
                 than letters, digits and `_`"
                    .to_owned(),
            ),
        }
    }
    Some(relations)
}

fn read_statements(reader: &mut Reader<'_>) -> Option<Vec<StatementClass>> {
    let texts = reader.optional::<Vec<Spanned<String>>>("statements")?;
    let mut classes = Vec::new();
    for text in texts.value {
        match StatementClass::find(&text.value) {
            Some(class) => classes.push(class),
            None => {
                let message = format!("`{}` is not a class of statements", text.value);
                reader.error_with_help(
                    "E0103",
                    text.span.clone(),
                    message,
                    "unknown",
                    format!("known: {}", StatementClass::names().join(", ")),
                );
            }
        }
    }
    Some(classes)
}

fn read_address(
    reader: &mut Reader<'_>,
    text: &Spanned<String>,
    folder: Folder<'_>,
) -> Option<SqlAddress> {
    let parsed = match text.value.strip_prefix("sqlite:") {
        Some("") => Err("it names no file"),
        Some(path) if path.contains(['?', '\0']) => {
            Err("a SQLite address is `sqlite:` and a path, nothing else")
        }
        Some(path) => Ok(SqlAddress::File(folder.locate(path.strip_prefix("//").unwrap_or(path)))),
        None => parse_server(&text.value),
    };
    match parsed {
        Ok(address) => Some(address),
        Err(reason) => {
            // The text may hold a password, so it is not repeated.
            reader.error(
                "E0103",
                text.span.clone(),
                format!("this is not the address of a database: {reason}"),
                "this address",
            );
            None
        }
    }
}

/// Reads `postgres://user@host:port/database?sslmode=…`. Only the parts named here exist; nothing
/// that redirects the connection (`hostaddr`, several hosts, `service`) is accepted.
fn parse_server(text: &str) -> Result<SqlAddress, &'static str> {
    let url = Url::parse(text)
        .map_err(|_| "write `postgres://user@host:5432/database`, `mysql://…` or `sqlite:path`")?;
    let (dialect, default_port) = match url.scheme() {
        "postgres" | "postgresql" => (Dialect::Postgres, 5432),
        "mysql" | "mariadb" => (Dialect::MySql, 3306),
        _ => return Err("its scheme is none of postgres, mysql, sqlite"),
    };
    if url.password().is_some() {
        return Err("it holds a password; put that into the secret store and write \
                    `password = \"secret:NAME\"`");
    }
    if url.fragment().is_some() {
        return Err("it has a `#`, and nothing behind it counts; write `%23` for one in a name");
    }
    let user = decode(url.username()).filter(|user| !user.is_empty()).ok_or("it names no user")?;
    let database = decode(url.path().trim_start_matches('/'))
        .filter(|name| !name.is_empty())
        .ok_or("it names no database")?;
    let mut host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let mut tls = TlsMode::Prefer;
    let mut seen_keys = BTreeSet::new();
    for (key, value) in url.query_pairs() {
        if !seen_keys.insert(key.clone()) {
            return Err("it says one of `sslmode` and `host` twice");
        }
        match (key.as_ref(), value.as_ref()) {
            ("host", directory) if directory.starts_with('/') => directory.clone_into(&mut host),
            ("sslmode", mode) => {
                tls = TlsMode::find(mode)
                    .ok_or("its `sslmode` is none of disable, prefer, require, verify-full")?;
            }
            _ => {
                return Err(
                    "only `sslmode` (disable, prefer, require, verify-full) and `host` (a socket \
                     directory) may follow `?`",
                );
            }
        }
    }
    if host.is_empty() || host.contains(',') {
        return Err("it must name exactly one host");
    }
    Ok(SqlAddress::Server {
        dialect,
        host,
        port: url.port().unwrap_or(default_port),
        user,
        database,
        tls,
    })
}

/// Whether a host is this machine: a loopback address, or the directory of a socket.
pub(crate) fn is_local_host(host: &str) -> bool {
    let without_brackets = host.trim_matches(['[', ']']);
    without_brackets == "localhost"
        || without_brackets.starts_with('/')
        || without_brackets.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn decode(text: &str) -> Option<String> {
    url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_one_host_and_no_password() {
        assert!(parse_server("postgres://a@h:5433/d?sslmode=disable").is_ok());
        assert!(parse_server("postgres://a@localhost/d?host=/run/postgresql").is_ok());
        for invalid_address in [
            "postgres://a:pw@h/d",
            "postgres://h/d",
            "postgres://a@h/",
            "postgres://a@h/d?hostaddr=10.0.0.1",
            "postgres://a@h/d?host=evil.example",
            "postgres://a@h/d?service=x",
            "postgres://a@h1,h2/d",
            "ftp://a@h/d",
        ] {
            assert!(parse_server(invalid_address).is_err(), "{invalid_address}");
        }
    }
}
