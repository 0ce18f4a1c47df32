//! The host side of a call without a guest, for tests of capabilities.

use crate::host::{CallId, Host};
use crate::{
    AuditEvent, AuditSink, BoxFuture, CallLimits, Launcher, Resolver, SecretFacts,
    SecretFetchError, SecretSource, Services, SharedScrubber,
};
use runbook_authority::grant::{self, GrantSite};
use runbook_authority::manifest::KnownInput;
use runbook_authority::targets::Folder;
use runbook_authority::{Binding, EffectiveGrants, GateDecision, Manifest, Targets};
use runbook_contract::Mode;
use runbook_document::{Diagnostics, Source, Spanned, Value};
use runbook_secrets::{Scrubber, Secret};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A secret source with these names and values.
pub(crate) struct FixedSecrets(pub(crate) &'static [(&'static str, &'static str)]);

impl SecretSource for FixedSecrets {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>> {
        let found =
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| Secret::from(*value));
        let missing = || SecretFetchError {
            name: name.to_owned(),
            reason: "it is not in the store".to_owned(),
            attempt: crate::FetchAttempt::Failed,
        };
        Box::pin(async move { found.ok_or_else(missing) })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>> {
        let facts = SecretFacts {
            name: name.to_owned(),
            changed: Some(jiff::Timestamp::UNIX_EPOCH),
            expires: None,
        };
        Box::pin(async move { Ok(facts) })
    }
}

/// A slot: its name, its verbs (`http.get`), and the target that it is bound to.
pub(crate) type Slot = (&'static str, &'static [&'static str], &'static str);

/// The grants of a step with these slots.
pub(crate) fn effective_grants(slots: &[Slot], targets: &str, base: &Path) -> EffectiveGrants {
    use std::fmt::Write as _;
    let mut toml = String::from(
        "format = 1\n[plugin]\nname = \"guest\"\nversion = \"1.0.0\"\ndescription = \"d\"\n\
         [[operation]]\nname = \"act\"\nkind = \"step\"\nsummary = \"s\"\n",
    );
    let names = |verbs: &[&str]| {
        verbs.iter().map(|verb| verb.split_once('.').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let slot_lines: Vec<_> =
        slots.iter().map(|(slot, verbs, _)| format!("{slot} = {:?}", names(verbs))).collect();
    writeln!(toml, "slots = {{ {} }}", slot_lines.join(", ")).unwrap();
    for (slot, verbs, _) in slots {
        let capability = verbs[0].split_once('.').unwrap().0;
        writeln!(
            toml,
            "[slots.{slot}]\ncapability = {capability:?}\nverbs = {:?}\nreason = \"r\"",
            names(verbs)
        )
        .unwrap();
    }
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", toml), &mut diagnostics);
    let manifest = manifest.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let source = Source::new("runbook.toml", targets);
    let mut all_targets = Targets::default();
    if let Some(table) = runbook_document::parse(&source, &mut diagnostics)
        && let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value)
    {
        let folder = Folder::new(base, &crate::resolve_symlinks)
            .expect("absolute")
            .with_digests(&crate::certificates_digest);
        all_targets.read(&source, table, folder, &mut diagnostics);
    }
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let without_span = |text: &str| Spanned { value: text.to_owned(), span: 0..0 };
    let bindings: Vec<_> = slots
        .iter()
        .map(|(slot, _, target)| Binding { slot: without_span(slot), target: without_span(target) })
        .collect();
    let site = GrantSite {
        step: "step",
        uses: "guest:act",
        operation: "act",
        source: &source,
        span: &(0..0),
        input: KnownInput::empty(),
    };
    grant::grant(&site, &manifest, &bindings, &all_targets)
        .unwrap_or_else(|refusals| panic!("{refusals:?}"))
}

/// The host side of a call with these slots.
pub(crate) fn host(slots: &[Slot], targets: &str, base: &Path) -> Host {
    host_with(effective_grants(slots, targets, base), Mode::Effects, Duration::from_secs(20))
}

pub(crate) fn host_with(effective_grants: EffectiveGrants, mode: Mode, timeout: Duration) -> Host {
    host_with_limits(effective_grants, mode, timeout, CallLimits::default())
}

/// As [`host`], with these names and their addresses; no other name resolves. Each audit record is
/// added to `audited` as one line.
pub(crate) fn host_with_audited_names(
    slots: &[Slot],
    targets: &str,
    names: &[(&str, &[&str])],
    audit_lines: &Arc<Mutex<Vec<String>>>,
) -> Host {
    let audit_lines = Arc::clone(audit_lines);
    let audit: AuditSink = Arc::new(move |record| {
        if let AuditEvent::Judged { operation, decision, .. } = record.event {
            let allowed = matches!(decision, GateDecision::Allow);
            let decision = if allowed { "allowed" } else { "denied" };
            audit_lines.lock().unwrap().push(format!("{decision} {operation}"));
        }
        Ok(())
    });
    let (secrets, resolver) = (Arc::new(FixedSecrets(&[("token", "x")])), fixed_resolver(names));
    let services = Services { secrets, resolver, audit: Some(audit), ..Services::none() };
    let id = CallId {
        run: "run".to_owned(),
        step: "step".to_owned(),
        attempt: 1,
        plugin: "test".into(),
        digest: "none".into(),
    };
    Host::new(
        Arc::new(effective_grants(slots, targets, Path::new("/"))),
        Mode::Effects,
        Arc::new(services),
        Arc::new(CallLimits::default()),
        id,
        Instant::now() + Duration::from_secs(20),
    )
}

pub(crate) fn host_with_limits(
    effective_grants: EffectiveGrants,
    mode: Mode,
    timeout: Duration,
    limits: CallLimits,
) -> Host {
    host_with_resolver(Resolver::System, effective_grants, mode, timeout, limits)
}

/// As [`host_with`], with these names and their addresses; no other name resolves.
pub(crate) fn host_with_names(
    effective_grants: EffectiveGrants,
    names: &[(&str, &[&str])],
) -> Host {
    let (mode, timeout) = (Mode::Effects, Duration::from_secs(20));
    host_with_resolver(
        fixed_resolver(names),
        effective_grants,
        mode,
        timeout,
        CallLimits::default(),
    )
}

/// These names lead to these addresses, and no other name leads anywhere.
pub(crate) fn fixed_resolver(names: &[(&str, &[&str])]) -> Resolver {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let names = names.iter().map(|(name, texts)| ((*name).to_owned(), addresses(texts))).collect();
    Resolver::Fixed(Arc::new(names))
}

fn host_with_resolver(
    resolver: Resolver,
    effective_grants: EffectiveGrants,
    mode: Mode,
    timeout: Duration,
    limits: CallLimits,
) -> Host {
    let secrets = Arc::new(FixedSecrets(&[
        ("token", "s3cr3t-t0ken"),
        ("password", "hunter2-hunter2"),
        ("control", "a\nb-is-bad"),
        ("hook", "http://127.0.0.1:9/services/T0000/XyZzY"),
    ]));
    let launcher = Launcher { program: runbook_tests::launcher(), arguments: Vec::new() };
    let services = Services { secrets, resolver, launcher: Some(launcher), ..Services::none() };
    let id = CallId {
        run: "run".to_owned(),
        step: "step".to_owned(),
        attempt: 1,
        plugin: "test".into(),
        digest: "none".into(),
    };
    Host::new(
        Arc::new(effective_grants),
        mode,
        Arc::new(services),
        Arc::new(limits),
        id,
        Instant::now() + timeout,
    )
}

/// A host that grants nothing, scrubs these secrets, and writes the audit records into `audited`.
pub(crate) fn host_with_audit(scrubber: Scrubber, audit_lines: Arc<Mutex<String>>) -> Host {
    let audit: AuditSink = Arc::new(move |record| {
        match record.event {
            AuditEvent::Judged { slot, operation, secrets, target_secrets, .. } => {
                let mut audit_lines = audit_lines.lock().unwrap();
                audit_lines.push_str(&format!(
                    "{slot}\n{operation}\n{}\n{}",
                    secrets.join("\n"),
                    target_secrets.join("\n")
                ));
            }
            AuditEvent::Returned { slot, .. } => audit_lines.lock().unwrap().push_str(slot),
        }
        Ok(())
    });
    let services = Services {
        audit: Some(audit),
        scrubber: SharedScrubber::with_scrubber(scrubber),
        ..Services::none()
    };
    let id = CallId {
        run: "run".to_owned(),
        step: "step".to_owned(),
        attempt: 1,
        plugin: "test".into(),
        digest: "none".into(),
    };
    let limits = Arc::new(CallLimits::default());
    let deadline = Instant::now() + Duration::from_secs(20);
    Host::new(
        Arc::new(EffectiveGrants::none()),
        Mode::Effects,
        Arc::new(services),
        limits,
        id,
        deadline,
    )
}
