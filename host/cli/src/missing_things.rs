//! Checks that local things that targets name exist on this machine. This happens before a plugin
//! is asked, because the answer is certain.

use runbook_authority::grant::Effective;
use runbook_authority::targets::{RequiredPath, Target};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A thing of this machine that is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The target that names it.
    pub target: String,
    /// `file:line` of the target.
    pub place: String,
    /// What kind of thing it is.
    pub what: &'static str,
    /// The path where it should be.
    pub path: PathBuf,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, place, what, path } = self;
        write!(
            f,
            "target `{target}` ({place}): there is no {what} `{}` on this machine",
            path.display()
        )
    }
}

/// What is missing of all that a call is granted, but for secrets.
pub fn of(effective: &Effective) -> Vec<Missing> {
    effective.iter().filter_map(|grant| missing(&grant.target)).collect()
}

/// The stores of secrets that a call may need and that are not there. `stores` says where the store
/// of each secret would be.
pub fn stores(effective: &Effective, stores: &BTreeMap<String, PathBuf>) -> Vec<Missing> {
    let of_target = |target: &Target| {
        let paths = target
            .secrets()
            .into_iter()
            .filter_map(|secret| stores.get(secret))
            .filter(|path| !path.exists());
        let (name, place) = (target.name.clone(), target.place());
        let missing = paths.map(|path| Missing {
            target: name.clone(),
            place: place.clone(),
            what: "secret store",
            path: path.clone(),
        });
        missing.collect::<Vec<_>>()
    };
    effective.iter().flat_map(|grant| of_target(&grant.target)).collect()
}

fn missing(target: &Target) -> Option<Missing> {
    let RequiredPath { what, path } = target.required_path()?;
    let absent = || Missing {
        target: target.name.clone(),
        place: target.place(),
        what,
        path: path.to_owned(),
    };
    (!path.exists()).then(absent)
}
