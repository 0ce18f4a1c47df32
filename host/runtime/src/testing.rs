//! The host side of a call without a guest, for tests of capabilities.

use crate::host::{CallId, Host};
use crate::{
    AuditEvent, AuditSink, BoxFuture, CallLimits, Launcher, Resolver, SecretFacts, SecretSource,
    SecretUnavailable, Services, SharedScrubber,
};
use runbook_authority::grant::{self, GrantSite};
use runbook_authority::manifest::KnownInput;
use runbook_authority::targets::Folder;
use runbook_authority::{Binding, Effective, GateDecision, Manifest, Targets};
use runbook_contract::Mode;
use runbook_document::{Diagnostics, Located, Source, Value};
use runbook_secrets::{Scrubber, Secret};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Secrets by name.
pub(crate) struct Fixed(pub(crate) &'static [(&'static str, &'static str)]);

impl SecretSource for Fixed {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretUnavailable>> {
        let found =
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| Secret::from(*value));
        let missing = || SecretUnavailable {
            name: name.to_owned(),
            reason: "it is not in the store".to_owned(),
        };
        Box::pin(async move { found.ok_or_else(missing) })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretUnavailable>> {
        let facts = SecretFacts {
            name: name.to_owned(),
            changed: jiff::Timestamp::UNIX_EPOCH,
            expires: None,
        };
        Box::pin(async move { Ok(facts) })
    }
}

/// One slot: its name, its verbs (`http.get`), and the target that it is bound to.
pub(crate) type Slot = (&'static str, &'static [&'static str], &'static str);

/// What a step with these slots is granted.
pub(crate) fn effective(slots: &[Slot], targets: &str, base: &Path) -> Effective {
    use std::fmt::Write as _;
    let mut toml = String::from(
        "format = 1\n[plugin]\nname = \"guest\"\nversion = \"1.0.0\"\ndescription = \"d\"\n\
         [[operation]]\nname = \"act\"\nkind = \"step\"\nsummary = \"s\"\n",
    );
    let names = |verbs: &[&str]| {
        verbs.iter().map(|verb| verb.split_once('.').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let used: Vec<_> =
        slots.iter().map(|(slot, verbs, _)| format!("{slot} = {:?}", names(verbs))).collect();
    writeln!(toml, "slots = {{ {} }}", used.join(", ")).unwrap();
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
    let mut all = Targets::default();
    if let Some(table) = runbook_document::parse(&source, &mut diagnostics)
        && let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value)
    {
        let folder = Folder::new(base, &crate::follow_links)
            .expect("absolute")
            .with_digests(&crate::certificates_digest);
        all.read(&source, table, folder, &mut diagnostics);
    }
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let located = |text: &str| Located { value: text.to_owned(), span: 0..0 };
    let bindings: Vec<_> = slots
        .iter()
        .map(|(slot, _, target)| Binding { slot: located(slot), target: located(target) })
        .collect();
    let site = GrantSite {
        step: "step",
        uses: "guest:act",
        operation: "act",
        source: &source,
        span: &(0..0),
        input: KnownInput::empty(),
    };
    grant::grant(&site, &manifest, &bindings, &all)
        .unwrap_or_else(|refusals| panic!("{refusals:?}"))
}

/// The host side of a call with these slots.
pub(crate) fn host(slots: &[Slot], targets: &str, base: &Path) -> Host {
    host_with(effective(slots, targets, base), Mode::Effects, Duration::from_secs(20))
}

pub(crate) fn host_with(effective: Effective, mode: Mode, timeout: Duration) -> Host {
    host_within(effective, mode, timeout, CallLimits::default())
}

/// The same, where these names lead to these addresses and no other name leads anywhere. What the
/// audit is told goes to `told`, a line each.
pub(crate) fn host_resolving(
    slots: &[Slot],
    targets: &str,
    names: &[(&str, &[&str])],
    told: &Arc<Mutex<Vec<String>>>,
) -> Host {
    let told = Arc::clone(told);
    let audit: AuditSink = Arc::new(move |record| {
        if let AuditEvent::Judged { operation, decision, .. } = record.event {
            let allowed = matches!(decision, GateDecision::Allow);
            let decision = if allowed { "allowed" } else { "denied" };
            told.lock().unwrap().push(format!("{decision} {operation}"));
        }
        Ok(())
    });
    let (secrets, resolver) = (Arc::new(Fixed(&[])), fixed(names));
    let services = Services { secrets, resolver, audit: Some(audit), ..Services::none() };
    let id = CallId {
        run: "run".to_owned(),
        step: "step".to_owned(),
        attempt: 1,
        plugin: "test".into(),
        digest: "none".into(),
    };
    Host::new(
        Arc::new(effective(slots, targets, Path::new("/"))),
        Mode::Effects,
        Arc::new(services),
        Arc::new(CallLimits::default()),
        id,
        Instant::now() + Duration::from_secs(20),
    )
}

pub(crate) fn host_within(
    effective: Effective,
    mode: Mode,
    timeout: Duration,
    limits: CallLimits,
) -> Host {
    host_asking(Resolver::System, effective, mode, timeout, limits)
}

/// The same, where these names lead to these addresses and no other name leads anywhere.
pub(crate) fn host_with_names(effective: Effective, names: &[(&str, &[&str])]) -> Host {
    let (mode, timeout) = (Mode::Effects, Duration::from_secs(20));
    host_asking(fixed(names), effective, mode, timeout, CallLimits::default())
}

/// These names lead to these addresses, and no other name leads anywhere.
pub(crate) fn fixed(names: &[(&str, &[&str])]) -> Resolver {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let names = names.iter().map(|(name, texts)| ((*name).to_owned(), addresses(texts))).collect();
    Resolver::Fixed(Arc::new(names))
}

fn host_asking(
    resolver: Resolver,
    effective: Effective,
    mode: Mode,
    timeout: Duration,
    limits: CallLimits,
) -> Host {
    let secrets = Arc::new(Fixed(&[
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
        Arc::new(effective),
        mode,
        Arc::new(services),
        Arc::new(limits),
        id,
        Instant::now() + timeout,
    )
}

/// A host that grants nothing, knows these secrets, and writes down what the audit is told.
pub(crate) fn host_auditing(scrubber: Scrubber, told: Arc<Mutex<String>>) -> Host {
    let audit: AuditSink = Arc::new(move |record| {
        match record.event {
            AuditEvent::Judged { slot, operation, secrets, target_secrets, .. } => {
                let mut told = told.lock().unwrap();
                told.push_str(&format!(
                    "{slot}\n{operation}\n{}\n{}",
                    secrets.join("\n"),
                    target_secrets.join("\n")
                ));
            }
            AuditEvent::Returned { slot, .. } => told.lock().unwrap().push_str(slot),
        }
        Ok(())
    });
    let services = Services {
        audit: Some(audit),
        scrubber: SharedScrubber::knowing(scrubber),
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
    Host::new(Arc::new(Effective::none()), Mode::Effects, Arc::new(services), limits, id, deadline)
}
