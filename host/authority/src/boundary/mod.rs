//! The boundary: the outer limit for every grant on a host or in an organization. It is written in
//! the dimensions of grants.
//!
//! A boundary is a list of `[[allow]]` rules. A grant is within the boundary if some rule covers
//! each call that the grant allows. Otherwise, the report shows one concrete call that no rule
//! covers. A rule does not limit the dimensions that it does not mention, except those of
//! [`DEFAULTS`].

mod contain;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use contain::uncovered_call;
pub use contain::{BoundaryViolation, NearestRule};
pub(crate) use parse::read_values;

use crate::capability::{Capability, Verb};
use crate::pattern::AddressClass;
use crate::scope::{CallValue, DIRECT, Dimension, Text, Values};
use crate::targets::{SYSTEM_BUS, SYSTEM_RESOLVER};
use runbook_document::{Source, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the format that this host reads.
pub const FORMAT: u32 = 1;

/// A boundary, as read from its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// The file that it was read from.
    pub source: Arc<Source>,
    /// Its rules, in file order.
    pub rules: Vec<BoundaryRule>,
    /// What the kernel of a host must be able to keep programs from, or no program is run there:
    /// names of [`PROTECTIONS`].
    pub require: BTreeSet<&'static str>,
}

/// What a kernel may be able to keep a program from, and what that is, for people. Which of it a
/// host has, and what it is made of, the launcher of programs knows.
pub const PROTECTIONS: &[(&str, &str)] = &[
    ("system-calls", "connections, name spaces, mounts and the tracing of other processes"),
    ("processes", "the memory of other processes of its user"),
    ("signals", "signals to processes that it did not start"),
    ("ports", "other ports than that of a lent connection"),
    ("files", "files beside `reads` and `writes`"),
    ("temporary", "what others keep in `/tmp`"),
    ("descendants", "going on after its end in a session of its own"),
];

/// One `[[allow]]` rule of a boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundaryRule {
    /// The capability whose grants the rule covers.
    pub capability: Capability,
    /// Why it is allowed, in the words of the security team.
    pub reason: Option<String>,
    /// The values that the rule covers in each dimension that it mentions and in those of
    /// [`DEFAULTS`].
    pub values: BTreeMap<Dimension, Values>,
    /// Its place in the file.
    pub span: Span,
}

/// The limits of a rule in dimensions that it does not mention. Other dimensions have no limit
/// then.
pub const DEFAULTS: &[DefaultLimit] = &[
    DefaultLimit {
        capability: Capability::Http,
        dimension: Dimension::Addresses,
        verbs: &[],
        words: "every class but metadata and reserved",
        values: default_addresses,
    },
    DefaultLimit {
        capability: Capability::Http,
        dimension: Dimension::Sockets,
        verbs: &[],
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::Http,
        dimension: Dimension::RedirectOrigins,
        verbs: &[],
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::Sql,
        dimension: Dimension::Addresses,
        verbs: &[],
        words: "every class but metadata and reserved",
        values: default_addresses,
    },
    DefaultLimit {
        capability: Capability::Sql,
        dimension: Dimension::Superuser,
        verbs: &[],
        words: "false",
        values: || Values::flag(false.into()),
    },
    DefaultLimit {
        capability: Capability::Process,
        dimension: Dimension::Environment,
        verbs: &[],
        words: crate::targets::HARMLESS_IN_WORDS,
        values: harmless_variables,
    },
    DefaultLimit {
        capability: Capability::Process,
        dimension: Dimension::Network,
        verbs: &[],
        words: "false",
        values: || Values::flag(false.into()),
    },
    DefaultLimit {
        capability: Capability::Process,
        dimension: Dimension::Signals,
        verbs: &[],
        words: "false",
        values: || Values::flag(false.into()),
    },
    DefaultLimit {
        capability: Capability::Docker,
        dimension: Dimension::Hosts,
        verbs: &[],
        words: "none: engines of this host alone",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::Docker,
        dimension: Dimension::Addresses,
        verbs: &[],
        words: "every class but metadata and reserved",
        values: default_addresses,
    },
    DefaultLimit {
        capability: Capability::Docker,
        dimension: Dimension::Environment,
        verbs: &[],
        words: "none",
        values: harmless_variables,
    },
    DefaultLimit {
        capability: Capability::Net,
        dimension: Dimension::Addresses,
        verbs: &[Verb::NetConnect, Verb::NetInspectTls],
        words: "every class but metadata and reserved",
        values: default_addresses,
    },
    DefaultLimit {
        capability: Capability::Redis,
        dimension: Dimension::Addresses,
        verbs: &[],
        words: "every class but metadata and reserved",
        values: default_addresses,
    },
    DefaultLimit {
        capability: Capability::Objects,
        dimension: Dimension::Addresses,
        verbs: &[],
        words: "every class but metadata and reserved",
        values: default_addresses,
    },
    DefaultLimit {
        capability: Capability::Mail,
        dimension: Dimension::Addresses,
        verbs: &[],
        words: "every class but metadata and reserved",
        values: default_addresses,
    },
    DefaultLimit {
        capability: Capability::Redis,
        dimension: Dimension::RedisCommands,
        verbs: &[],
        words: "every command that need not be named",
        values: || Values::Texts(BTreeSet::from([Text::command("*")])),
    },
    DefaultLimit {
        capability: Capability::Net,
        dimension: Dimension::Questions,
        verbs: &[Verb::NetConnect],
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::Net,
        dimension: Dimension::Names,
        verbs: &[Verb::NetLookup],
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::Net,
        dimension: Dimension::Resolvers,
        verbs: &[Verb::NetLookup],
        words: "system",
        values: || Values::exact([SYSTEM_RESOLVER]),
    },
    DefaultLimit {
        capability: Capability::Secrets,
        dimension: Dimension::Recipients,
        verbs: &[Verb::SecretsRotate],
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::System,
        dimension: Dimension::Processes,
        verbs: &[Verb::SystemProcesses, Verb::SystemPorts],
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::System,
        dimension: Dimension::ProcessArguments,
        verbs: &[Verb::SystemProcesses],
        words: "false",
        values: || Values::flag(false.into()),
    },
    DefaultLimit {
        capability: Capability::System,
        dimension: Dimension::Units,
        verbs: &[Verb::SystemUnits],
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::System,
        dimension: Dimension::Control,
        verbs: UNIT_CHANGES,
        words: "none",
        values: nothing,
    },
    DefaultLimit {
        capability: Capability::System,
        dimension: Dimension::Sockets,
        verbs: &[],
        words: "the system bus",
        values: || Values::exact([SYSTEM_BUS]),
    },
    direct(Capability::Http, &[]),
    direct(Capability::Sql, &[]),
    direct(Capability::Net, &[Verb::NetConnect, Verb::NetInspectTls]),
    direct(Capability::Redis, &[]),
];

/// Connections of a capability go through no gateway.
const fn direct(capability: Capability, verbs: &'static [Verb]) -> DefaultLimit {
    let values = || Values::exact([DIRECT]);
    DefaultLimit { capability, dimension: Dimension::Via, verbs, words: DIRECT, values }
}

/// The verbs that change units of systemd.
const UNIT_CHANGES: &[Verb] = &[
    Verb::SystemUnitStart,
    Verb::SystemUnitStop,
    Verb::SystemUnitRestart,
    Verb::SystemUnitReload,
    Verb::SystemUnitEnable,
    Verb::SystemUnitDisable,
];

/// The values that a rule allows in a dimension that it does not mention.
#[derive(Debug)]
pub struct DefaultLimit {
    /// The capability of the rule.
    pub capability: Capability,
    /// The dimension.
    pub dimension: Dimension,
    /// The verbs that it is about; empty is all. A rule without them is not limited.
    pub verbs: &'static [Verb],
    /// The allowed values, in words.
    pub words: &'static str,
    /// The allowed values, for comparisons.
    values: fn() -> Values,
}

fn nothing() -> Values {
    Values::Texts(BTreeSet::new())
}

fn default_addresses() -> Values {
    let excluded_classes = [AddressClass::Metadata, AddressClass::Reserved];
    Values::Addresses {
        classes: AddressClass::all().filter(|class| !excluded_classes.contains(class)).collect(),
        blocks: BTreeSet::new(),
    }
}

/// The harmless variables of a program. The variables of a container are patterns, and none of them
/// counts as harmless.
fn harmless_variables() -> Values {
    Values::Texts(BTreeSet::from([Text::HarmlessVariable]))
}

impl Boundary {
    /// The boundary with the symbolic links of its paths resolved by `follow`: the paths of
    /// directories, files and secret stores. Of a program, the written path stays allowed beside
    /// the resolved one, because a program may behave differently by the name by which it is
    /// started; and of a socket, because `docker` targets are compared as they are written.
    #[must_use]
    pub fn with_links_resolved(mut self, follow: &dyn Fn(&Path) -> PathBuf) -> Self {
        for (dimension, values) in self.rules.iter_mut().flat_map(|rule| &mut rule.values) {
            if matches!(
                dimension,
                Dimension::Directories
                    | Dimension::Files
                    | Dimension::Reads
                    | Dimension::Secrets
                    | Dimension::Writes
            ) {
                *values = values.with_links_resolved(follow);
            }
            if matches!(dimension, Dimension::Programs | Dimension::Sockets) {
                *values = values.clone().union(values.with_links_resolved(follow));
            }
        }
        self
    }
}

impl BoundaryRule {
    fn fill_defaults(&mut self) {
        let verbs = self.values.get(&Dimension::Verbs).cloned();
        let is_about = |verb: &Verb| {
            let verb = CallValue::Text(verb.to_string());
            verbs.as_ref().is_none_or(|verbs| verbs.contains(&verb))
        };
        let limits = DEFAULTS.iter().filter(|limit| limit.capability == self.capability);
        for limit in
            limits.filter(|limit| limit.verbs.is_empty() || limit.verbs.iter().any(is_about))
        {
            self.values.entry(limit.dimension).or_insert_with(limit.values);
        }
    }
}
