//! Which units are started with the machine. One request may change several units, by `Also=` and
//! `Alias=` in their files, so what systemd says of it is compared with the target, before and after.

use super::failure::BusError;
use super::systemd::{MANAGER, MANAGER_PATH, Manager, change_fault};
use crate::fault::{Fault, FaultClass};
use crate::host::Commit;
use runbook_authority::targets::SystemTarget;
use std::collections::BTreeSet;
use std::fmt;

/// The links that were made or removed: what was done, the link, what it points to.
type Changes = Vec<(String, String, String)>;

/// Whether a unit is started with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enablement {
    Enable,
    Disable,
}

impl fmt::Display for Enablement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enable => "enabling",
            Self::Disable => "disabling",
        })
    }
}

/// Where systemd keeps the links of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    /// In `/etc`.
    Kept,
    /// In `/run`, until the machine starts again.
    UntilRestart,
}

/// The units that a request is about, by the names of their links.
#[derive(Debug, Default, PartialEq, Eq)]
struct UnitsOfRequest {
    /// Those for which enabling makes links.
    with_links: BTreeSet<String>,
    /// Those of them, and others, whose links disabling removes: they are enabled now.
    enabled: BTreeSet<String>,
}

impl Manager {
    /// Enables or disables a unit, and lets systemd read its files again, as `systemctl` does.
    /// Returns whether anything was changed. Nothing is changed if the request is about a unit that
    /// the target does not let be changed, or if the opposite request would not put everything back.
    pub(super) async fn set_enabled(
        &self,
        enablement: Enablement,
        unit: &str,
        target: &SystemTarget,
        commit: &Commit,
    ) -> Result<bool, Fault> {
        commit.mark_sent()?;
        let units = self.units_of_request(unit, commit).await?;
        let judged = match enablement {
            Enablement::Enable if units.with_links.is_empty() => {
                Err(BusError::NotEnablable { unit: unit.to_owned() }.into_fault())
            }
            Enablement::Enable | Enablement::Disable => judge(enablement, unit, &units, target),
        };
        if let Err(fault) = judged {
            commit.mark_rolled_back();
            return Err(fault);
        }
        let changes = self.change_links(enablement, unit, Links::Kept).await;
        let changes = changes.map_err(|error| change_fault(error, commit))?;
        let in_doubt = |error: BusError| error.in_doubt().into_fault();
        self.call(MANAGER_PATH, MANAGER, "Reload", &()).await.map_err(in_doubt)?;
        let names = names_of(changes.iter().map(|(_, link, _)| link.as_str()));
        let foreign: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !target.may_change_unit(name)).collect();
        if !foreign.is_empty() {
            let message = format!(
                "{enablement} {unit} has changed {}, which systemd did not say before",
                list(foreign)
            );
            return Err(Fault::new(FaultClass::Unknown, "system.other-units", message));
        }
        Ok(!changes.is_empty())
    }

    /// The units that a request is about. systemd says which links disabling removes, and has no
    /// call that only asks what enabling makes. So the links are made in `/run`, which systemd does
    /// not look at before it is told to and which is empty after a restart, and removed at once.
    async fn units_of_request(&self, unit: &str, commit: &Commit) -> Result<UnitsOfRequest, Fault> {
        let refused = |error| change_fault(error, commit);
        let enabled = self.links_of(unit, Links::Kept).await.map_err(refused)?;
        let until_restart = self.links_of(unit, Links::UntilRestart).await.map_err(refused)?;
        if let Some(link) = until_restart.first() {
            commit.mark_rolled_back();
            let message = format!(
                "{unit} has links until the next start of the machine, such as `{link}`, which \
                 would not be put back; remove them with `systemctl disable --runtime`"
            );
            return Err(Fault::new(FaultClass::Conflict, "system.other-units", message));
        }
        if let Some(link) = enabled.iter().find(|link| is_file_of(unit, link)) {
            commit.mark_rolled_back();
            let message = format!(
                "`{link}`, the file of {unit}, is a link, which disabling removes for good; move \
                 the file itself there"
            );
            return Err(Fault::new(FaultClass::Conflict, "system.other-units", message));
        }
        let made = self.change_links(Enablement::Enable, unit, Links::UntilRestart).await;
        let removed = self.change_links(Enablement::Disable, unit, Links::UntilRestart).await;
        let made = made.map_err(refused)?;
        removed.map_err(|error| error.in_doubt().into_fault())?;
        Ok(UnitsOfRequest {
            with_links: names_of(made.iter().map(|(_, link, _)| link.as_str())),
            enabled: names_of(enabled.iter().map(String::as_str)),
        })
    }

    /// The links that disabling a unit would remove.
    async fn links_of(&self, unit: &str, links: Links) -> Result<Vec<String>, BusError> {
        let arguments = (unit, links == Links::UntilRestart);
        let reply = self.call(MANAGER_PATH, MANAGER, "GetUnitFileLinks", &arguments).await?;
        self.body(&reply)
    }

    async fn change_links(
        &self,
        enablement: Enablement,
        unit: &str,
        links: Links,
    ) -> Result<Changes, BusError> {
        let (units, runtime) = ([unit], links == Links::UntilRestart);
        match enablement {
            Enablement::Enable => {
                let arguments = (units.as_slice(), runtime, false);
                let reply = self.call(MANAGER_PATH, MANAGER, "EnableUnitFiles", &arguments).await?;
                let body = self.body::<(bool, Changes)>(&reply).map_err(BusError::in_doubt)?;
                Ok(body.1)
            }
            Enablement::Disable => {
                let arguments = (units.as_slice(), runtime);
                let reply =
                    self.call(MANAGER_PATH, MANAGER, "DisableUnitFiles", &arguments).await?;
                self.body(&reply).map_err(BusError::in_doubt)
            }
        }
    }
}

/// Refuses a request that is about units which the target does not let be changed, and one that the
/// opposite request would not undo exactly.
fn judge(
    enablement: Enablement,
    unit: &str,
    units: &UnitsOfRequest,
    target: &SystemTarget,
) -> Result<(), Fault> {
    let refused = |message: String| {
        Err(Fault::new(
            FaultClass::Conflict,
            "system.other-units",
            message + "; nothing was changed",
        ))
    };
    let UnitsOfRequest { with_links, enabled } = units;
    let of_request: BTreeSet<&str> = match enablement {
        Enablement::Enable => with_links.iter().map(String::as_str).collect(),
        Enablement::Disable => enabled.iter().map(String::as_str).collect(),
    };
    let foreign: Vec<&str> =
        of_request.iter().copied().filter(|name| !target.may_change_unit(name)).collect();
    if !foreign.is_empty() {
        return refused(format!(
            "{enablement} {unit} would also change {}, by `Also=` or `Alias=` of its file; put \
             them into `control` of the target if that is right",
            list(foreign)
        ));
    }
    let others = || with_links.iter().map(String::as_str).filter(|name| *name != unit);
    let (kept, state): (Vec<&str>, _) = match enablement {
        // Nothing would be changed.
        Enablement::Enable if with_links.is_subset(enabled) => return Ok(()),
        Enablement::Disable if enabled.is_empty() => return Ok(()),
        Enablement::Enable => {
            (others().filter(|name| enabled.contains(*name)).collect(), "enabled already")
        }
        Enablement::Disable => {
            (others().filter(|name| !enabled.contains(*name)).collect(), "not enabled")
        }
    };
    if kept.is_empty() {
        return Ok(());
    }
    let opposite = match enablement {
        Enablement::Enable => Enablement::Disable,
        Enablement::Disable => Enablement::Enable,
    };
    refused(format!(
        "{enablement} {unit} is also about {}, which is {state}, so that {opposite} {unit} would \
         not put everything back",
        list(kept)
    ))
}

/// The units whose links these are.
fn names_of<'a>(links: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    links.filter_map(|link| link.rsplit('/').next()).map(str::to_owned).collect()
}

/// Whether a link is the file of a unit, and not in a folder such as `multi-user.target.wants`.
fn is_file_of(unit: &str, link: &str) -> bool {
    let mut parts = link.rsplit('/');
    let (name, folder) = (parts.next(), parts.next().unwrap_or_default());
    name == Some(unit)
        && ![".wants", ".requires", ".upholds"].iter().any(|end| folder.ends_with(end))
}

fn list(names: Vec<&str>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_the_file_of_a_unit_is_told_from_one_that_enables_it() {
        let unit = "app.service";
        assert!(is_file_of(unit, "/etc/systemd/system/app.service"));
        for other in [
            "/etc/systemd/system/multi-user.target.wants/app.service",
            "/etc/systemd/system/a.target.requires/app.service",
            "/etc/systemd/system/alias.service",
        ] {
            assert!(!is_file_of(unit, other), "{other}");
        }
    }
}
