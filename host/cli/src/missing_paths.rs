//! Checks that the local paths that targets name exist on this machine, before a plugin is called.

use runbook_authority::grant::EffectiveGrants;
use runbook_authority::targets::{RequiredPath, Target};
use std::fmt;
use std::path::PathBuf;

/// A path that a target names and that does not exist on this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingPath {
    /// The target that names it.
    pub target: String,
    /// `file:line` of the target.
    pub place: String,
    /// What should be there, such as `directory`.
    pub what: &'static str,
    /// The path where it should be.
    pub path: PathBuf,
}

impl fmt::Display for MissingPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, place, what, path } = self;
        write!(
            f,
            "target `{target}` ({place}): there is no {what} `{}` on this machine",
            path.display()
        )
    }
}

/// The missing paths of the targets that a call is granted, without secret stores.
pub fn of(grants: &EffectiveGrants) -> Vec<MissingPath> {
    grants.reviewed().filter_map(|grant| missing_path(&grant.target)).collect()
}

/// The missing files of the secrets that a call may need.
pub fn stores(grants: &EffectiveGrants) -> Vec<MissingPath> {
    let of_target = |target: &Target| {
        let paths = target
            .secrets()
            .into_iter()
            .filter_map(|secret| target.secret_origins.get(secret)?.file())
            .filter(|path| !path.exists());
        let (name, place) = (target.name.clone(), target.location());
        let missing = paths.map(|path| MissingPath {
            target: name.clone(),
            place: place.clone(),
            what: "secret store",
            path: path.to_owned(),
        });
        missing.collect::<Vec<_>>()
    };
    grants.reviewed().flat_map(|grant| of_target(&grant.target)).collect()
}

fn missing_path(target: &Target) -> Option<MissingPath> {
    let RequiredPath { what, path } = target.required_path()?;
    let missing = || MissingPath {
        target: target.name.clone(),
        place: target.location(),
        what,
        path: path.to_owned(),
    };
    (!path.exists()).then(missing)
}
