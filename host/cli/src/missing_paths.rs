//! Checks that the local paths that targets name exist on this machine, before a plugin is called.

use runbook_authority::grant::{EffectiveGrants, Grant};
use runbook_authority::targets::{RequiredPath, SecretOrigin, Target};
use std::collections::BTreeMap;
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
    type Origins = BTreeMap<String, SecretOrigin>;
    let missing = |secrets: Vec<&str>, origins: &Origins, name: &str, place: &str| {
        let files = secrets.into_iter().filter_map(|secret| origins.get(secret)?.file());
        let missing = files.filter(|path| !path.exists()).map(|path| MissingPath {
            target: name.to_owned(),
            place: place.to_owned(),
            what: "secret store",
            path: path.to_owned(),
        });
        missing.collect::<Vec<_>>()
    };
    let of_grant = |grant: &Grant| {
        let target = &grant.target;
        let mut found =
            missing(target.secrets(), &target.secret_origins, &target.name, &target.location());
        if let Some(gateway) = grants.gateway_of(grant) {
            let place = gateway.location();
            found.extend(missing(
                gateway.secrets(),
                &gateway.secret_origins,
                &gateway.name,
                &place,
            ));
        }
        found
    };
    grants.reviewed().flat_map(of_grant).collect()
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
