//! Describes how an operation is used: its inputs, its outputs, and an example that can be copied.

use crate::schema_words::{fields, inline_table};
use runbook_authority::capability::Capability;
use runbook_authority::manifest::{Kind, Manifest, Operation, VerbCondition};
use runbook_authority::{Verb, VerbEffect};
use std::fmt::Write as _;

/// The inputs, outputs and an example of one operation. `reference` is the plugin as in `uses`.
pub(super) fn usage(
    manifest: &Manifest,
    reference: &str,
    name: &str,
    operation: &Operation,
) -> String {
    let mut text = format!(
        "{reference}:{name} ({}): {}",
        operation.kind.name(),
        runbook_text::line(&operation.summary)
    );
    text.push_str("\n\n  with\n");
    text.push_str(&indent(&table(&operation.input, "nothing")));
    text.push_str("\n\n  output\n");
    let text_if_empty =
        if operation.kind == Kind::SmokeTest { "one verdict a case" } else { "nothing" };
    text.push_str(&indent(&table(&operation.output, text_if_empty)));
    if !operation.needed_if.is_empty() {
        text.push_str("\n\n  granted only to an input that needs it\n");
        text.push_str(&indent(&runbook_report::table(&conditions(operation))));
    }
    text.push_str("\n\n  example\n");
    text.push_str(&indent(&example(manifest, reference, name, operation)));
    text
}

fn table(schema: &serde_json::Value, text_if_empty: &str) -> String {
    let rows: Vec<_> = fields(schema).iter().map(crate::schema_words::Field::row).collect();
    if rows.is_empty() { text_if_empty.to_owned() } else { runbook_report::table(&rows) }
}

/// The verbs that only some inputs need, with their conditions.
fn conditions(operation: &Operation) -> Vec<Vec<String>> {
    let row = |condition: &VerbCondition| {
        let verb = condition.verb.full_name();
        vec![condition.slot.clone(), verb, format!("if {}", condition.sentence())]
    };
    operation.needed_if.iter().map(row).collect()
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// An example for a runbook: a target for each slot, in comments if it need not be bound, and the
/// step.
pub(super) fn example(
    manifest: &Manifest,
    reference: &str,
    name: &str,
    operation: &Operation,
) -> String {
    let (optional, bound): (Vec<_>, Vec<_>) =
        operation.slots.keys().partition(|slot| operation.optional.contains(slot));
    let mut text = String::new();
    for slot in &bound {
        let Some(declared) = manifest.slots.get(*slot) else { continue };
        let only_reads =
            operation.slots.get(*slot).is_some_and(|verbs| verbs.contains(&Verb::ProcessInspect));
        let read_only_line = if only_reads { "\nread_only = true" } else { "" };
        if declared.capability == Capability::Secrets {
            text.push_str("[secrets.name]\nsource = \"age:secrets/prod.age#name\"\n\n");
            if !declared.verbs.contains(&Verb::SecretsUse) {
                // Nothing is placed by such a slot.
                let _ = writeln!(text, "[targets.{slot}]\nsecret = \"name\"\n");
                continue;
            }
        }
        let verbs = operation.slots.get(*slot).map(Vec::as_slice).unwrap_or_default();
        let target = target(declared.capability, verbs);
        let _ = writeln!(text, "[targets.{slot}]\n{target}{read_only_line}\n");
    }
    for slot in &optional {
        let Some(declared) = manifest.slots.get(*slot) else { continue };
        let verbs = operation.slots.get(*slot).map(Vec::as_slice).unwrap_or_default();
        let lines = target(declared.capability, verbs)
            .lines()
            .map(|line| format!("# {line}\n"))
            .collect::<String>();
        let _ = writeln!(text, "# [targets.{slot}]  # only for `bind.{slot}`, below\n{lines}");
    }
    let section = if operation.kind == Kind::Probe { "preflight" } else { "step" };
    let _ = writeln!(text, "[[{section}]]\nid = \"{name}\"\nuses = \"{reference}:{name}\"");
    for slot in &bound {
        let _ = writeln!(text, "bind.{slot} = \"{slot}\"");
    }
    for slot in &optional {
        let reason = manifest.slots.get(*slot).map_or("", |declared| declared.reason.as_str());
        let _ = writeln!(
            text,
            "# bind.{slot} = \"{slot}\"  # need not be bound: {}",
            runbook_text::line(reason)
        );
    }
    let with = inline_table(&operation.input, &operation.input, 3);
    if with != "{}" {
        let _ = writeln!(text, "with = {with}");
    }
    if operation.kind == Kind::Step {
        text.push_str(if operation.undo {
            "undo = \"auto\""
        } else {
            "irreversible = \"why nothing needs to be put back\""
        });
    }
    text.trim_end().to_owned()
}

/// The shortest target of a capability that grants these verbs, in TOML.
fn target(capability: Capability, verbs: &[Verb]) -> String {
    let text = match capability {
        Capability::Http => "http = \"https://service.example\"",
        Capability::Sql => "sql = \"postgres://role@db.example:5432/name\"",
        Capability::Docker => "docker = { name = \"container\" }",
        Capability::Files => "files = \"/srv/files\"\naccess = \"write\"",
        Capability::Process => "process = \"/usr/bin/program\"\narguments = []",
        Capability::Secrets => {
            "secret = \"name\"\npositions = [{ slot = \"target\", header = \"X-Key\" }]  # or \
             `form`, `json`, `basic`"
        }
        Capability::Net => "net = \"server.example\"\nports = [443]",
        Capability::Redis => "redis = \"cache.example:6379\"\ndatabase = 0",
        Capability::Objects => {
            "objects = \"s3://backups/orders/\"\nendpoint = \"https://s3.eu-central-1.amazonaws.com\"\n\
             auth = { aws-sigv4 = { access_key = \"AKIAEXAMPLE\", secret_key = \"secret:s3-key\", \
             region = \"eu-central-1\" } }\n[secrets.s3-key]\n\
             source = \"age:secrets/prod.age#s3-key\""
        }
        Capability::Mail => {
            "mail = \"mail.example\"\nfrom = \"checks@example.org\"\nto = [\"ops@example.org\"]"
        }
        Capability::System => return system_target(verbs),
        Capability::State => "# this version of the host has no such target yet",
    };
    text.to_owned()
}

/// A `system` target with the parts that are needed.
fn system_target(verbs: &[Verb]) -> String {
    let parts: Vec<_> = verbs.iter().map(|verb| format!("\"{verb}\"")).collect();
    let parts = format!("system = [{}]", parts.join(", "));
    let changes = verbs.iter().any(|verb| verb.effect() == VerbEffect::Change);
    let lines = [
        (verbs.contains(&Verb::SystemProcesses), "processes = [\"program\"]"),
        (verbs.contains(&Verb::SystemUnits), "units = [\"name.service\"]"),
        (changes, "control = [\"name.service\"]"),
    ];
    let needed = lines.iter().filter(|(is_needed, _)| *is_needed).map(|(_, line)| *line);
    std::iter::once(parts.as_str()).chain(needed).collect::<Vec<_>>().join("\n")
}
