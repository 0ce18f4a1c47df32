//! One concrete call, with a value for each dimension of its capability. Boundaries judge such
//! calls, and a witness is one.

use super::values::{CallValue, format_number};
use super::{ANY_LABEL, Dimension};
use crate::capability::Capability;
use std::collections::BTreeMap;

/// One concrete call: a value in each dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcreteCall {
    /// The capability that the call uses.
    pub capability: Capability,
    /// Its value in each dimension.
    pub values: BTreeMap<Dimension, CallValue>,
}

impl ConcreteCall {
    /// The call in one line for people: ``POST https://billing.internal:443/refund``.
    pub fn sentence(&self) -> String {
        let text_of = |dimension| self.value_text(dimension);
        let verb = text_of(Dimension::Verbs);
        match self.capability {
            Capability::Http => {
                let with = |words: &str, value: String| {
                    if value.is_empty() { value } else { format!("{words}{value}") }
                };
                format!(
                    "{} {}://{}:{}{}{}{}",
                    verb.to_uppercase(),
                    text_of(Dimension::Schemes),
                    text_of(Dimension::Hosts),
                    text_of(Dimension::Ports),
                    text_of(Dimension::Paths),
                    with(" through the socket ", text_of(Dimension::Sockets)),
                    with(", redirected to ", text_of(Dimension::RedirectOrigins)),
                )
            }
            Capability::Sql => {
                let file = text_of(Dimension::Files);
                let place = if file.is_empty() {
                    format!(
                        "{}@{}:{}/{}",
                        text_of(Dimension::Users),
                        text_of(Dimension::Hosts),
                        text_of(Dimension::Ports),
                        text_of(Dimension::Databases)
                    )
                } else {
                    file
                };
                let engine = text_of(Dimension::Engines);
                match verb.as_str() {
                    "backup" | "restore" => format!("{verb} of {engine} {place}"),
                    _ => format!(
                        "{verb} with a `{}` statement on {engine} {place}",
                        text_of(Dimension::Statements)
                    ),
                }
            }
            Capability::Docker => {
                let label = text_of(Dimension::Labels);
                let label_text = if label.is_empty() || label == ANY_LABEL {
                    String::new()
                } else {
                    format!(" labelled {label}")
                };
                let host = text_of(Dimension::Hosts);
                let engine_text = if host.is_empty() {
                    String::new()
                } else {
                    let host = if host.contains(':') { format!("[{host}]") } else { host };
                    format!(" of the engine at tcp://{host}:{}", text_of(Dimension::Ports))
                };
                let container = text_of(Dimension::Containers);
                format!("{verb} container {container}{label_text}{engine_text}")
            }
            Capability::Files => format!("{verb} a file below {}", text_of(Dimension::Directories)),
            Capability::Process => {
                let variable = text_of(Dimension::Environment);
                let variable_text =
                    if variable.is_empty() { String::new() } else { format!(" with {variable}") };
                format!(
                    "run {} {}{variable_text}",
                    text_of(Dimension::Programs),
                    text_of(Dimension::Arguments)
                )
            }
            Capability::Redis => format!(
                "{verb} with `{}` in database {} of Redis on {}:{}",
                text_of(Dimension::RedisCommands),
                text_of(Dimension::Databases),
                text_of(Dimension::Hosts),
                text_of(Dimension::Ports)
            ),
            Capability::Mail => format!(
                "{verb} a message from {} to {} by {}:{}",
                text_of(Dimension::Senders),
                text_of(Dimension::Recipients),
                text_of(Dimension::Hosts),
                text_of(Dimension::Ports)
            ),
            Capability::Objects => format!(
                "{verb} s3://{}/{} at {}:{}",
                text_of(Dimension::Buckets),
                text_of(Dimension::Keys),
                text_of(Dimension::Hosts),
                text_of(Dimension::Ports)
            ),
            Capability::Secrets => {
                let recipient = text_of(Dimension::Recipients);
                let whom = if recipient.is_empty() { "" } else { ", encrypted to " };
                format!("{verb} secret {}{whom}{recipient}", text_of(Dimension::Secrets))
            }
            Capability::Net => match verb.as_str() {
                "lookup" => {
                    format!(
                        "lookup {} by {}",
                        text_of(Dimension::Names),
                        text_of(Dimension::Resolvers)
                    )
                }
                _ => {
                    let said = text_of(Dimension::Questions);
                    let said = if said.is_empty() { said } else { format!(", saying `{said}`") };
                    format!(
                        "{verb} {}:{}{said}",
                        text_of(Dimension::Hosts),
                        text_of(Dimension::Ports)
                    )
                }
            },
            Capability::System => {
                let what = match verb.as_str() {
                    "disks" => text_of(Dimension::Mounts),
                    "processes" => text_of(Dimension::Processes),
                    "units" => text_of(Dimension::Units),
                    verb if verb.starts_with("unit-") => text_of(Dimension::Control),
                    _ => String::new(),
                };
                let what = if what.is_empty() { what } else { format!(" `{what}`") };
                format!("{verb}{what} of this machine")
            }
            Capability::State => format!("{verb} of `{}`", self.capability),
        }
    }

    /// Its value in one dimension, as reports write it; empty if it has none.
    pub fn value_text(&self, dimension: Dimension) -> String {
        match self.values.get(&dimension) {
            None => String::new(),
            Some(CallValue::Text(text)) => text.clone(),
            Some(CallValue::Number(number)) => format_number(dimension.row().shape, *number),
            Some(CallValue::Arguments(arguments)) => command_line(arguments),
        }
    }
}

/// Arguments as a person would type them in a shell.
fn command_line(arguments: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    let quoted = |text: &String| {
        if !text.is_empty() && text.chars().all(is_plain) {
            text.clone()
        } else {
            format!("{text:?}")
        }
    };
    if arguments.is_empty() {
        "(no argument)".to_owned()
    } else {
        arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }
}
