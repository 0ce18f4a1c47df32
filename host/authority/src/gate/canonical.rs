//! The text of a request in the audit log: one line, without secrets, bodies, rows and query
//! strings.

use super::{ConnectionState, GateRequest, HeaderValue, MailMessage, ObjectName, SystemObject};
use crate::digest::Digest;
use crate::pattern::{Dialect, KeyUse, RedisCommand, classify};
use std::borrow::Cow;

/// A function that removes secrets from a text.
pub type Scrub<'a> = &'a dyn for<'t> Fn(&'t str) -> Cow<'t, str>;

/// The largest number of characters of a text of a plugin in the line.
const MAX_TEXT: usize = 300;

/// The largest number of characters of a list of texts in the line. Two lists and the other parts
/// fit into a record of the audit log.
const MAX_LIST: usize = 1500;

impl GateRequest<'_> {
    /// The request in one line. `dialect` is the SQL dialect of the slot's database, if it has one.
    ///
    /// Each text of a plugin is scrubbed before it is cut or changed, because `scrub` would not
    /// find a part of a secret.
    ///
    /// Of a statement, the line holds the class, the relations that it names and the digest of its
    /// text. The text itself may hold rows.
    pub fn canonical(&self, dialect: Option<Dialect>, scrub: Scrub<'_>) -> String {
        let shorten = |text: &str| shorten(&scrub(text));
        match self {
            Self::Http { verb, path, headers, secrets, .. } => {
                let path = scrub(path);
                let (path_only, query) =
                    path.split_once('?').map_or((&*path, ""), |(path_only, _)| (path_only, "?…"));
                let mut text =
                    format!("{} {}{query}", verb.row().name.to_uppercase(), shorten(path_only));
                for (name, value) in *headers {
                    text.push_str(match value {
                        HeaderValue::Plain(_) => " +",
                        HeaderValue::Secret(_) => " +secret:",
                    });
                    text.push_str(&shorten(name));
                }
                for (place, _) in *secrets {
                    text.push_str(" +secret:");
                    text.push_str(&shorten(&scrub(&place.to_string()).replace(' ', ":")));
                }
                text
            }
            Self::Connect { address, connection: ConnectionState::New, .. } => {
                format!("connect {address}")
            }
            Self::Connect { address, connection: ConnectionState::Reused, .. } => {
                format!("reused connection to {address}")
            }
            Self::Health { service: "", .. } => "health of the server".to_owned(),
            Self::Health { service, .. } => format!("health of {}", shorten(service)),
            Self::Socket { path, connection, .. } => {
                let path = path.to_string_lossy();
                let opened = match connection {
                    ConnectionState::New => "connect",
                    ConnectionState::Reused => "reused connection to",
                };
                format!("{opened} socket {}", shorten(&path))
            }
            Self::Gateway { address, host, .. } => {
                format!("connect {address} (gateway {})", shorten(host))
            }
            Self::Forward { address, host, connection, .. } => {
                let reused = match connection {
                    ConnectionState::New => "",
                    ConnectionState::Reused => "reused connection, ",
                };
                match address {
                    Some(address) => format!("{reused}forward to {address}"),
                    None => format!("{reused}forward to the name {}", shorten(host)),
                }
            }
            Self::Token { server, .. } => format!("token from {server}"),
            Self::Redirect { to, hop, .. } => {
                format!(
                    "redirect {hop} to {}://{}{}",
                    to.scheme(),
                    to.host_str().unwrap_or_default(),
                    shorten(to.path())
                )
            }
            Self::Sql { statement: None, .. } | Self::Docker { .. } | Self::Secret { .. } => {
                String::new()
            }
            Self::Sql { statement: Some(statement), .. } => {
                statement_in_one_line(statement, dialect)
            }
            Self::Container { container, .. } => format!("container {}", shorten(container.name)),
            Self::Create { creation, .. } => {
                let variables: Vec<_> = creation
                    .environment
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                format!(
                    "container {} image {} arguments {} environment {}",
                    shorten(creation.container.name),
                    shorten(creation.image),
                    as_json(creation.command, scrub),
                    as_json(&variables, scrub)
                )
            }
            Self::Image { image, .. } => format!("image {}", shorten(image)),
            Self::Files { path, .. } => format!("file {}", shorten(path)),
            Self::FileList { path: "", .. } => "folder".to_owned(),
            Self::FileList { path, .. } => format!("folder {}", shorten(path)),
            Self::FileRename { from, to, .. } => {
                format!("file {} to {}", shorten(from), shorten(to))
            }
            Self::FileRemoval { path, age, .. } => {
                format!("file {} of {} s", shorten(path), age.as_secs())
            }
            Self::Exec { command: arguments, .. } | Self::Process { arguments, .. } => {
                format!("arguments {}", as_json(arguments, scrub))
            }
            // Of a `net` target.
            Self::Endpoint { host, port, says, .. } => {
                let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
                let host = host.map(|host| format!(" {}", shorten(host))).unwrap_or_default();
                let says: Vec<String> = says.iter().map(|line| (*line).to_owned()).collect();
                let said = if says.is_empty() {
                    String::new()
                } else {
                    format!(" saying {}", as_json(&says, scrub))
                };
                format!("server{host}{port}{said}")
            }
            Self::Lookup { name, kind, .. } => {
                let name = name.map(|name| format!(" {}", shorten(name))).unwrap_or_default();
                format!("lookup {kind}{name}")
            }
            Self::Resolver { resolver, .. } => format!("resolver {resolver}"),
            Self::Redis { command, .. } => redis_command(command, scrub),
            Self::RedisFacts { command, .. } => {
                format!("checked by the server: {}", redis_command(command, scrub))
            }
            Self::Objects { name: ObjectName::Key(key), .. } => format!("object {}", shorten(key)),
            Self::Objects { name: ObjectName::Prefix(prefix), .. } => {
                format!("objects {}*", shorten(prefix))
            }
            Self::Mail { message, .. } => message_in_one_line(message, scrub),
            Self::System { object: SystemObject::Part, .. } => String::new(),
            Self::System { object: SystemObject::Mount(mount), .. } => {
                format!("mount {}", shorten(mount))
            }
            Self::System { object: SystemObject::Process(name), .. } => {
                format!("process {}", shorten(name))
            }
            Self::System { object: SystemObject::Unit(name), .. } => {
                format!("unit {}", shorten(name))
            }
        }
    }
}

/// The subject of a message, and of its text the length and the digest.
fn message_in_one_line(message: &MailMessage<'_>, scrub: Scrub<'_>) -> String {
    let MailMessage { subject, text, number } = *message;
    let (subject, bytes) = (shorten(&scrub(subject)), text.len());
    let digest = Digest::of(text.as_bytes());
    format!("message {number} subject {subject} text of {bytes} bytes {}", digest.short())
}

/// The name of a command and its keys. The other arguments may be values.
fn redis_command(arguments: &[Vec<u8>], scrub: Scrub<'_>) -> String {
    let Ok(command) = RedisCommand::parse(arguments) else { return "no command".to_owned() };
    let keys = match command.keys() {
        KeyUse::Listed(keys) => keys,
        KeyUse::Matching(pattern) => vec![pattern],
        KeyUse::Any => return format!("command {} on any key", command.name),
        KeyUse::OtherDatabase => return format!("command {} elsewhere", command.name),
    };
    if keys.is_empty() {
        return format!("command {}", command.name);
    }
    let text = |key: &[u8]| shorten(&scrub(&String::from_utf8_lossy(key)));
    let keys: Vec<_> = keys.into_iter().map(text).collect();
    format!("command {} keys {}", command.name, as_json(&keys, scrub))
}

fn statement_in_one_line(statement: &str, dialect: Option<Dialect>) -> String {
    let facts = dialect.and_then(|dialect| classify(dialect, statement));
    let (class, relations) = facts.map_or(("unread".to_owned(), String::new()), |facts| {
        let classes: Vec<_> =
            facts.classes.into_iter().map(crate::pattern::StatementClass::name).collect();
        (classes.join("+"), facts.relations.into_iter().collect::<Vec<_>>().join(","))
    });
    format!("statement {class} [{relations}] {}", Digest::of(statement.as_bytes()).short())
}

/// The texts as a JSON list, scrubbed. Of a long list the line holds the beginning and the digest,
/// so that two calls that differ anywhere have different lines.
fn as_json(texts: &[String], scrub: Scrub<'_>) -> String {
    let texts: Vec<_> = texts.iter().map(|text| scrub(text)).collect();
    let json = serde_json::to_string(&texts).unwrap_or_default();
    match json.char_indices().nth(MAX_LIST) {
        Some((end, _)) => format!("{}… {}", &json[..end], Digest::of(json.as_bytes()).short()),
        None => json,
    }
}

/// A text of a plugin, cut to `MAX_TEXT`, with control characters replaced.
fn shorten(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Verb;
    use crate::gate::Creation;
    use crate::targets::ContainerFacts;

    const NO_SECRETS: Scrub<'_> = &|text| Cow::Borrowed(text);

    #[test]
    fn calls_that_differ_anywhere_have_different_lines() {
        let line = |last: &str| {
            let arguments = ["a".repeat(9000), last.to_owned()];
            let run =
                GateRequest::Process { slot: "s", verb: Verb::ProcessRun, arguments: &arguments };
            let says = [arguments[0].as_str(), last];
            let talk = GateRequest::Endpoint {
                slot: "s",
                verb: Verb::NetConnect,
                host: None,
                port: None,
                says: &says,
            };
            [run.canonical(None, NO_SECRETS), talk.canonical(None, NO_SECRETS)]
        };
        let (one, other) = (line("--dry-run"), line("--force"));
        for (one, other) in one.iter().zip(&other) {
            assert!(one != other && one.chars().count() < 2000, "{one}");
        }
    }

    #[test]
    fn a_request_is_one_line_without_secrets_rows_and_query_strings() {
        let headers =
            [("accept", HeaderValue::Plain("x")), ("authorization", HeaderValue::Secret("token"))];
        let get = GateRequest::Http {
            slot: "s",
            verb: Verb::HttpGet,
            path: "/a?key=hunter2",
            headers: &headers,
            secrets: &[],
        };
        assert_eq!(get.canonical(None, NO_SECRETS), "GET /a?… +accept +secret:authorization");
        let statement = GateRequest::Sql {
            slot: "s",
            verb: Verb::SqlQuery,
            statement: Some("select * from orders where card = '4111111111111111'"),
        };
        let line = statement.canonical(Some(Dialect::Postgres), NO_SECRETS);
        assert!(line.starts_with("statement select [orders] ") && !line.contains("4111"), "{line}");
        let file = GateRequest::Files { slot: "s", verb: Verb::FilesRead, path: "a\nb" };
        assert_eq!(file.canonical(None, NO_SECRETS), "file a\u{fffd}b");
        let environment = [("MODE".to_owned(), "a\nb".to_owned())];
        let container = ContainerFacts { name: "job", labels: &[] };
        let creation = Creation {
            container,
            image: "jobs:1",
            command: &["ls".to_owned()],
            environment: &environment,
        };
        let create = GateRequest::Create { slot: "s", verb: Verb::DockerCreate, creation };
        let line = "container job image jobs:1 arguments [\"ls\"] environment [\"MODE=a\\nb\"]";
        assert_eq!(create.canonical(None, NO_SECRETS), line);
    }
}
