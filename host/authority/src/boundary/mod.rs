//! The boundary, B: the outermost limit for everything on this host or in this organisation, in the
//! words of grants.
//!
//! A boundary is a list of `[[allow]]` rules. A grant is inside if every call that it lets through
//! is covered by some rule; what no rule covers is shown as one concrete call. What a rule does not
//! mention it does not limit, but for [`DEFAULTS`].

mod contain;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use contain::uncovered;
pub use contain::{Exceeded, Nearest};
pub(crate) use parse::read_values;

use crate::capability::Capability;
use crate::pattern::AddressClass;
use crate::scope::{Dimension, Text, Values};
use runbook_document::{Source, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the format that this host reads.
pub const FORMAT: u32 = 1;

/// A boundary as its file says it.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// The file that it was read from.
    pub source: Arc<Source>,
    /// Its rules, in file order.
    pub rules: Vec<Rule>,
}

/// One `[[allow]]` rule of a boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The capability whose grants it covers.
    pub capability: Capability,
    /// Why it is allowed, in the words of the security team.
    pub reason: Option<String>,
    /// What it covers in each dimension that it mentions, and in those of [`DEFAULTS`].
    pub values: BTreeMap<Dimension, Values>,
    /// Its place in the file.
    pub span: Span,
}

/// Dimensions that a rule limits even if it does not mention them, because an omission must not
/// grant them.
pub const DEFAULTS: &[(Capability, Dimension, &str)] = &[
    (Capability::Http, Dimension::Addresses, "every class but metadata and reserved"),
    (Capability::Sql, Dimension::Superuser, "false"),
    (Capability::Process, Dimension::Environment, crate::targets::HARMLESS_IN_WORDS),
    (Capability::Docker, Dimension::Environment, "none"),
];

impl Boundary {
    /// The boundary as it holds on one host, whose links `follow` follows. A directory, a file or
    /// the store of a secret means what its path leads to. A program means its name and what that
    /// leads to: a program may look at the name by which it is started.
    #[must_use]
    pub fn on_this_host(mut self, follow: &dyn Fn(&Path) -> PathBuf) -> Self {
        for (dimension, values) in self.rules.iter_mut().flat_map(|rule| &mut rule.values) {
            if matches!(dimension, Dimension::Directories | Dimension::Files | Dimension::Secrets) {
                *values = values.followed(follow);
            }
            if *dimension == Dimension::Programs {
                *values = values.clone().with(values.followed(follow));
            }
        }
        self
    }
}

impl Rule {
    fn fill_defaults(&mut self) {
        for (capability, dimension, _) in DEFAULTS {
            if *capability != self.capability || self.values.contains_key(dimension) {
                continue;
            }
            let unusual = [AddressClass::Metadata, AddressClass::Reserved];
            let values = match dimension {
                Dimension::Addresses => Values::Addresses {
                    classes: AddressClass::all().filter(|class| !unusual.contains(class)).collect(),
                    named: BTreeSet::new(),
                },
                Dimension::Environment => Values::Texts(BTreeSet::from([Text::PlainVariable])),
                _ => Values::flag(false.into()),
            };
            self.values.insert(*dimension, values);
        }
    }
}
