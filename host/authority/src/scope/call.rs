//! One concrete call, described in the dimensions of its capability: the form of a witness, and the
//! input of a boundary.

use super::values::{CallValue, number_in};
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
    /// As a person would say it: ``POST https://billing.internal:443/refund``.
    pub fn sentence(&self) -> String {
        let get = |dimension| self.shown(dimension);
        let verb = get(Dimension::Verbs);
        match self.capability {
            Capability::Http => format!(
                "{} {}://{}:{}{}",
                verb.to_uppercase(),
                get(Dimension::Schemes),
                get(Dimension::Hosts),
                get(Dimension::Ports),
                get(Dimension::Paths)
            ),
            Capability::Sql => {
                let file = get(Dimension::Files);
                let place = if file.is_empty() {
                    format!(
                        "{}@{}:{}/{}",
                        get(Dimension::Users),
                        get(Dimension::Hosts),
                        get(Dimension::Ports),
                        get(Dimension::Databases)
                    )
                } else {
                    file
                };
                let engine = get(Dimension::Engines);
                match verb.as_str() {
                    "backup" | "restore" => format!("{verb} of {engine} {place}"),
                    _ => format!(
                        "{verb} with a `{}` statement on {engine} {place}",
                        get(Dimension::Statements)
                    ),
                }
            }
            Capability::Docker => {
                let label = get(Dimension::Labels);
                let labelled = if label.is_empty() || label == ANY_LABEL {
                    String::new()
                } else {
                    format!(" labelled {label}")
                };
                format!("{verb} container {}{labelled}", get(Dimension::Containers))
            }
            Capability::Files => format!("{verb} a file below {}", get(Dimension::Directories)),
            Capability::Process => {
                let variable = get(Dimension::Environment);
                let with =
                    if variable.is_empty() { String::new() } else { format!(" with {variable}") };
                format!("run {} {}{with}", get(Dimension::Programs), get(Dimension::Arguments))
            }
            Capability::Secrets => format!("{verb} secret {}", get(Dimension::Secrets)),
            Capability::Net => match verb.as_str() {
                "lookup" => {
                    format!("lookup {} by {}", get(Dimension::Names), get(Dimension::Resolvers))
                }
                _ => {
                    let said = get(Dimension::Send);
                    let said = if said.is_empty() { said } else { format!(", saying `{said}`") };
                    format!("{verb} {}:{}{said}", get(Dimension::Hosts), get(Dimension::Ports))
                }
            },
            Capability::System | Capability::State => {
                format!("{verb} of `{}`", self.capability)
            }
        }
    }

    /// What it uses in one dimension, as reports write it; empty if it has none.
    pub fn shown(&self, dimension: Dimension) -> String {
        match self.values.get(&dimension) {
            None => String::new(),
            Some(CallValue::Text(text)) => text.clone(),
            Some(CallValue::Number(number)) => number_in(dimension.row().shape, *number),
            Some(CallValue::Arguments(arguments)) => shown_arguments(arguments),
        }
    }
}

/// Arguments as a person would type them.
fn shown_arguments(arguments: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    let shown = |text: &String| {
        if !text.is_empty() && text.chars().all(plain) { text.clone() } else { format!("{text:?}") }
    };
    if arguments.is_empty() {
        "(no argument)".to_owned()
    } else {
        arguments.iter().map(shown).collect::<Vec<_>>().join(" ")
    }
}
