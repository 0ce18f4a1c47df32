//! Renders a snapshot as `runbook.lock`.

use super::FORMAT;
use crate::capability::Verb;
use crate::digest::Digest;
use crate::scope::{Dimension, Shape, Text, Values};
use crate::snapshot::{GrantFacts, PluginFacts, Snapshot};
use crate::targets::map_path;
use std::fmt::Write as _;

/// The text of the lockfile. `folder` is the absolute path of its folder.
pub fn render(snapshot: &Snapshot, folder: &str) -> String {
    let mut text = format!(
        "# What was reviewed: the text of each runbook and of every file that it is made \
                 of, its plugins, and what it grants to them.\n\
                 # Written by `runbook lock`; a run that differs in any of these stops and shows \
                 how. Review its changes, do not edit it.\nformat = {FORMAT}\n"
    );
    for (reference, plugin) in &snapshot.plugins {
        push_plugin(&mut text, reference, plugin);
    }
    for (file, runbook) in &snapshot.runbooks {
        let plugins = toml_list(runbook.plugins.iter().cloned());
        push(
            &mut text,
            format_args!("\n[[runbook]]\nfile = {}\nplugins = {plugins}\n", quoted(file)),
        );
        for (file, content) in &runbook.texts {
            let (digest, packed) = (Digest::of(content.as_bytes()), super::text::pack(content));
            let file = quoted(file);
            push(
                &mut text,
                format_args!(
                    "\n[[runbook.text]]\nfile = {file}\ndigest = \"{digest}\"\n\
                     zstd = \"{packed}\"\n"
                ),
            );
        }
        for ((step, slot), grant) in &runbook.grants {
            push_grant(&mut text, folder, (step, slot), grant);
        }
    }
    text
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => push(&mut quoted, format_args!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn toml_list(words: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", words.into_iter().map(|word| quoted(&word)).collect::<Vec<_>>().join(", "))
}

fn push_plugin(text: &mut String, reference: &str, plugin: &PluginFacts) {
    push(
        text,
        format_args!(
            "\n[[plugin]]\nreference = {}\nname = {}\nversion = {}\ndigest = \"{}\"\n\
             interface = \"{}\"\n",
            quoted(reference),
            quoted(&plugin.name),
            quoted(&plugin.version),
            plugin.digest,
            plugin.interface
        ),
    );
    push(text, format_args!("imports = [\n"));
    for import in &plugin.imports {
        push(text, format_args!("    {},\n", quoted(import)));
    }
    push(text, format_args!("]\n"));
    for (name, slot) in &plugin.slots {
        let verbs = toml_list(slot.verbs.iter().map(Verb::to_string));
        push(
            text,
            format_args!(
                "slots.{} = {{ capability = \"{}\", verbs = {verbs} }}\n",
                quoted(name),
                slot.capability
            ),
        );
    }
}

fn push_grant(text: &mut String, folder: &str, (step, slot): (&str, &str), grant: &GrantFacts) {
    push(
        text,
        format_args!(
            "\n[[runbook.grant]]\nstep = {}\nuses = {}\nslot = {}\ntarget = {}\n\
             capability = \"{}\"\n",
            quoted(step),
            quoted(&grant.uses),
            quoted(slot),
            quoted(&grant.target),
            grant.scope.capability
        ),
    );
    for (dimension, values) in &grant.scope.values {
        push(
            text,
            format_args!("{} = {}\n", dimension.key(), toml_value(*dimension, values, folder)),
        );
    }
}

fn toml_value(dimension: Dimension, values: &Values, folder: &str) -> String {
    let shape = dimension.row().shape;
    match (shape, values) {
        (Shape::Flag | Shape::Count, _) => values.words(shape).concat(),
        (_, Values::AtMost(_) | Values::AtLeast(_)) => quoted(&values.words(shape).concat()),
        (_, Values::Arguments(_)) => format!("[{}]", values.words(shape).join(", ")),
        (_, Values::Addresses { .. }) => toml_list(values.words(shape)),
        (_, Values::Texts(texts)) => {
            toml_list(texts.iter().map(|text| relative_path(dimension, text, folder)))
        }
    }
}

/// The text of a value. A path below the lockfile's folder begins with `./`.
fn relative_path(dimension: Dimension, text: &Text, folder: &str) -> String {
    let path_text = text.to_string();
    if !super::parse::is_path(dimension) {
        return path_text;
    }
    map_path(&path_text, |path| {
        match path.strip_prefix(folder).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            Some(rest) => format!(".{rest}"),
            None => path.to_owned(),
        }
    })
}
