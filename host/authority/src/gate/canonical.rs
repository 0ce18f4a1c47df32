//! One call in one line: what the audit log keeps. Never a secret, a body, a row or a query string.

use super::{ConnectionState, HeaderValue, Operation};
use crate::digest::Digest;
use crate::pattern::{Dialect, classify};
use std::borrow::Cow;

/// Takes the secrets out of a text.
pub type Clean<'a> = &'a dyn for<'t> Fn(&'t str) -> Cow<'t, str>;

/// Longest text of a guest that is kept.
const MAX_TEXT: usize = 300;

impl Operation<'_> {
    /// The call in one line. `dialect` is that of the slot's database, by which a statement is
    /// read.
    ///
    /// Each text of a plugin goes through `clean` before it is cut or changed, because a part of a
    /// secret would not be recognised.
    ///
    /// A statement is kept as its class, the relations that it names and the digest of its text,
    /// because its text may hold rows.
    pub fn canonical(&self, dialect: Option<Dialect>, clean: Clean<'_>) -> String {
        let short = |text: &str| short(&clean(text));
        match self {
            Self::Http { verb, path, headers, secrets, .. } => {
                let path = clean(path);
                let (plain, query) =
                    path.split_once('?').map_or((&*path, ""), |(plain, _)| (plain, "?…"));
                let mut text =
                    format!("{} {}{query}", verb.row().name.to_uppercase(), short(plain));
                for (name, value) in *headers {
                    text.push_str(match value {
                        HeaderValue::Plain(_) => " +",
                        HeaderValue::Secret(_) => " +secret:",
                    });
                    text.push_str(&short(name));
                }
                for (place, _) in *secrets {
                    text.push_str(" +secret:");
                    text.push_str(&short(&clean(&place.to_string()).replace(' ', ":")));
                }
                text
            }
            Self::Connect { address, connection: ConnectionState::New, .. } => {
                format!("connect {address}")
            }
            Self::Connect { address, connection: ConnectionState::Reused, .. } => {
                format!("reused connection to {address}")
            }
            Self::Token { server, .. } => format!("token from {server}"),
            Self::Redirect { to, hop, .. } => {
                format!(
                    "redirect {hop} to {}://{}{}",
                    to.scheme(),
                    to.host_str().unwrap_or_default(),
                    short(to.path())
                )
            }
            Self::Sql { statement: None, .. } | Self::Docker { .. } | Self::Secret { .. } => {
                String::new()
            }
            Self::Sql { statement: Some(statement), .. } => {
                statement_in_one_line(statement, dialect)
            }
            Self::Container { container, .. } => format!("container {}", short(container.name)),
            Self::Create { creation, .. } => {
                let variables: Vec<_> = creation
                    .environment
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                format!(
                    "container {} image {} arguments {} environment {}",
                    short(creation.container.name),
                    short(creation.image),
                    as_json(creation.command, clean),
                    as_json(&variables, clean)
                )
            }
            Self::Image { image, .. } => format!("image {}", short(image)),
            Self::Files { path, .. } => format!("file {}", short(path)),
            Self::Exec { command: arguments, .. } | Self::Process { arguments, .. } => {
                format!("arguments {}", as_json(arguments, clean))
            }
            // Of a `net` target.
            Self::Endpoint { host, port, says, .. } => {
                let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
                let host = host.map(|host| format!(" {}", short(host))).unwrap_or_default();
                let says: Vec<String> = says.iter().map(|line| (*line).to_owned()).collect();
                let said = if says.is_empty() {
                    String::new()
                } else {
                    format!(" saying {}", as_json(&says, clean))
                };
                format!("server{host}{port}{said}")
            }
            Self::Lookup { name, kind, .. } => {
                let name = name.map(|name| format!(" {}", short(name))).unwrap_or_default();
                format!("lookup {kind}{name}")
            }
            Self::Resolver { resolver, .. } => format!("resolver {resolver}"),
        }
    }
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

fn as_json(texts: &[String], clean: Clean<'_>) -> String {
    let texts: Vec<_> = texts.iter().map(|text| clean(text)).collect();
    serde_json::to_string(&texts).unwrap_or_default()
}

/// A text of a plugin, cut off and without control characters.
fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Verb;
    use crate::gate::Creation;
    use crate::targets::ContainerFacts;

    const PLAIN: Clean<'_> = &|text| Cow::Borrowed(text);

    #[test]
    fn a_call_is_one_line_without_what_it_carries() {
        let headers =
            [("accept", HeaderValue::Plain("x")), ("authorization", HeaderValue::Secret("token"))];
        let get = Operation::Http {
            slot: "s",
            verb: Verb::HttpGet,
            path: "/a?key=hunter2",
            headers: &headers,
            secrets: &[],
        };
        assert_eq!(get.canonical(None, PLAIN), "GET /a?… +accept +secret:authorization");
        let statement = Operation::Sql {
            slot: "s",
            verb: Verb::SqlQuery,
            statement: Some("select * from orders where card = '4111111111111111'"),
        };
        let line = statement.canonical(Some(Dialect::Postgres), PLAIN);
        assert!(line.starts_with("statement select [orders] ") && !line.contains("4111"), "{line}");
        let file = Operation::Files { slot: "s", verb: Verb::FilesRead, path: "a\nb" };
        assert_eq!(file.canonical(None, PLAIN), "file a\u{fffd}b");
        let environment = [("MODE".to_owned(), "a\nb".to_owned())];
        let container = ContainerFacts { name: "job", labels: &[] };
        let creation = Creation {
            container,
            image: "jobs:1",
            command: &["ls".to_owned()],
            environment: &environment,
        };
        let create = Operation::Create { slot: "s", verb: Verb::DockerCreate, creation };
        let line = "container job image jobs:1 arguments [\"ls\"] environment [\"MODE=a\\nb\"]";
        assert_eq!(create.canonical(None, PLAIN), line);
    }
}
