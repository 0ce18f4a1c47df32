//! A `system` target: this machine, by parts.

use crate::capability::{Capability, Verb, VerbEffect};
use crate::pattern_matches;
use crate::targets::{Folder, HostPath};
use runbook_document::{ByteSize, Reader, Spanned};
use std::time::Duration;

/// Parts of this machine, as a `system` target describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemTarget {
    /// The parts that the target lists. Each part is a verb.
    pub parts: Vec<Verb>,
    /// Patterns of the mount points whose file systems are seen.
    pub mounts: Vec<String>,
    /// Patterns of the names of processes that are seen.
    pub processes: Vec<String>,
    /// Whether the arguments of these processes are seen.
    pub process_arguments: bool,
    /// Patterns of the units of systemd that are seen.
    pub units: Vec<String>,
    /// The units of systemd that may be changed, by their full names.
    pub control: Vec<String>,
    /// The socket of the bus on which systemd is asked.
    pub bus: HostPath,
    /// How many file systems, processes, sessions or listeners of one answer a plugin is given.
    pub max_rows: u32,
    /// How many bytes the texts of one answer have at most.
    pub max_bytes: ByteSize,
    /// The time limit of one call.
    pub timeout: Duration,
}

/// The socket of the system bus.
pub(crate) const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// The endings of the names of units.
const UNIT_TYPES: &[&str] = &[
    "automount",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "socket",
    "swap",
    "target",
    "timer",
];

/// Whether a verb asks systemd.
pub fn asks_systemd(verb: Verb) -> bool {
    verb == Verb::SystemUnits || changes_units(verb)
}

/// Whether a verb changes units of systemd.
pub(crate) fn changes_units(verb: Verb) -> bool {
    verb.row().capability == Capability::System && verb.effect() == VerbEffect::Change
}

impl SystemTarget {
    /// Whether the file system at a mount point is seen.
    pub fn shows_mount(&self, mount: &str) -> bool {
        self.mounts.iter().any(|pattern| pattern_matches(pattern, mount))
    }

    /// Whether processes of a name are seen.
    pub fn shows_process(&self, name: &str) -> bool {
        self.processes.iter().any(|pattern| pattern_matches(pattern, name))
    }

    /// Whether a unit of systemd is seen.
    pub fn shows_unit(&self, name: &str) -> bool {
        self.units.iter().any(|pattern| pattern_matches(pattern, name))
    }

    /// Whether a unit of systemd may be changed.
    pub fn may_change_unit(&self, name: &str) -> bool {
        self.control.iter().any(|unit| unit == name)
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<SystemTarget> {
    let parts = read_parts(reader);
    let listed = parts.as_deref().unwrap_or_default();
    // With an unknown part, it is not known which keys have an effect.
    let has = |part: Verb| parts.is_none() || listed.iter().any(|listed| listed.value == part);
    let mounts = read_patterns(reader, "mounts");
    if mounts.is_some() && !has(Verb::SystemDisks) {
        refuse_without_part(reader, "mounts", "`disks` is not listed");
    }
    let processes = read_patterns(reader, "processes");
    if processes.is_some() && !has(Verb::SystemProcesses) && !has(Verb::SystemPorts) {
        refuse_without_part(reader, "processes", "neither `processes` nor `ports` is listed");
    }
    if let Some(part) = listed.iter().find(|part| part.value == Verb::SystemProcesses)
        && processes.is_none()
    {
        reader.error_with_help(
            "E0108",
            part.span.clone(),
            "`processes` is listed, and the target names no process",
            "nothing would be seen",
            "name the processes that may be seen, such as `processes = [\"nginx\", \"php-fpm*\"]`",
        );
    }
    let process_arguments = reader.optional::<bool>("process_arguments");
    if process_arguments.is_some() && !has(Verb::SystemProcesses) {
        refuse_without_part(reader, "process_arguments", "`processes` is not listed");
    }
    let (units, control, bus) = read_systemd(reader, folder, parts.as_deref());
    let max_rows = reader.optional::<u32>("max_rows").map_or(100, |rows| rows.value);
    let max_bytes =
        reader.optional::<ByteSize>("max_bytes").map_or(ByteSize(64 << 10), |size| size.value);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(10), |timeout| timeout.value);
    Some(SystemTarget {
        parts: parts?.into_iter().map(|part| part.value).collect(),
        mounts: mounts.unwrap_or_else(|| vec!["*".to_owned()]),
        processes: processes.unwrap_or_default(),
        process_arguments: process_arguments.is_some_and(|arguments| arguments.value),
        units,
        control,
        bus: bus?,
        max_rows,
        max_bytes,
        timeout,
    })
}

/// Reads `units`, `control` and `bus`.
fn read_systemd(
    reader: &mut Reader<'_>,
    folder: Folder<'_>,
    parts: Option<&[Spanned<Verb>]>,
) -> (Vec<String>, Vec<String>, Option<HostPath>) {
    let listed = parts.unwrap_or_default();
    let has =
        |asks: fn(Verb) -> bool| parts.is_none() || listed.iter().any(|part| asks(part.value));
    let units = read_patterns(reader, "units");
    if units.is_some() && !has(|verb| verb == Verb::SystemUnits) {
        refuse_without_part(reader, "units", "`units` is not listed");
    }
    let control = read_control(reader);
    if control.is_some() && !has(changes_units) {
        refuse_without_part(reader, "control", "no verb that changes units is listed");
    }
    for part in listed {
        let missing = if part.value == Verb::SystemUnits && units.is_none() {
            Some(("units", "seen", "`units = [\"nginx.service\", \"app-*.service\"]`"))
        } else if changes_units(part.value) && control.is_none() {
            Some(("control", "changed", "`control = [\"nginx.service\"]`"))
        } else {
            None
        };
        if let Some((key, word, example)) = missing {
            reader.error_with_help(
                "E0108",
                part.span.clone(),
                format!("`{}` is listed, and `{key}` names no unit", part.value),
                format!("nothing could be {word}"),
                format!("name the units that may be {word}, such as {example}"),
            );
        }
    }
    let bus = match reader.optional::<String>("bus") {
        None => Some(folder.locate(SYSTEM_BUS)),
        Some(bus) if bus.value.starts_with('/') => {
            if !has(asks_systemd) {
                refuse_without_part(reader, "bus", "no part asks systemd");
            }
            Some(folder.locate(&bus.value))
        }
        Some(bus) => {
            let message = format!("`{}` is not the absolute path of a socket", bus.value);
            reader.error("E0103", bus.span, message, "such as \"/run/dbus/system_bus_socket\"");
            None
        }
    };
    (units.unwrap_or_default(), control.unwrap_or_default(), bus)
}

/// `control = ["nginx.service"]`: full names, and no patterns.
fn read_control(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let written = reader.optional::<Vec<Spanned<String>>>("control")?;
    let mut units = Vec::new();
    for name in written.value {
        let ending = name.value.rsplit_once('.').map(|(_, ending)| ending);
        let is_name = !name.value.contains(['*', '?', '[', '/'])
            && ending.is_some_and(|ending| UNIT_TYPES.contains(&ending));
        if is_name {
            units.push(name.value);
        } else {
            let help = "write the full name of each unit, such as `nginx.service`";
            let message = format!("`{}` is not the full name of one unit", name.value);
            reader.error_with_help("E0103", name.span, message, "no pattern changes units", help);
        }
    }
    Some(units)
}

/// Reports a verb that the target does not list as a part.
pub(super) fn refuse_verbs(
    reader: &mut Reader<'_>,
    target: &SystemTarget,
    verbs: &Spanned<Vec<Verb>>,
) {
    if let Some(verb) = verbs.value.iter().find(|verb| !target.parts.contains(verb)) {
        let message = format!("`{verb}` has no effect here: `system` does not list it");
        let help = format!("add `{verb}` to `system`, or remove `verbs`: `system` lists them");
        reader.error_with_help("E0108", verbs.span.clone(), message, "never possible", help);
    }
}

/// `system = ["cpu", "memory"]`
fn read_parts(reader: &mut Reader<'_>) -> Option<Vec<Spanned<Verb>>> {
    let written = reader.required::<Vec<Spanned<String>>>("system")?;
    let known: Vec<_> = Capability::System.verbs().map(|verb| verb.row().name).collect();
    if written.value.is_empty() {
        let help = format!("the parts: {}", known.join(", "));
        reader.error_with_help("E0103", written.span, "`system` lists no part", "empty", help);
        return None;
    }
    let mut parts = Some(Vec::new());
    for name in written.value {
        match Verb::find(Capability::System, &name.value) {
            Some(value) => {
                parts
                    .iter_mut()
                    .for_each(|parts| parts.push(Spanned { value, span: name.span.clone() }));
            }
            None => {
                let message = format!("`{}` is not a part of `system`", name.value);
                let help = runbook_document::suggestion(&name.value, &known);
                reader.error_with_help("E0102", name.span, message, "unknown part", help);
                parts = None;
            }
        }
    }
    parts
}

/// A list of patterns. An empty text matches nothing, so it is a mistake.
fn read_patterns(reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<String>> {
    let written = reader.optional::<Vec<Spanned<String>>>(key)?;
    let mut patterns = Vec::new();
    for text in written.value {
        if text.value.is_empty() {
            let message = format!("a pattern of `{key}` is not empty");
            reader.error("E0103", text.span, message, "it matches nothing");
        } else {
            patterns.push(text.value);
        }
    }
    Some(patterns)
}

/// Reports a key about a part that the target does not list.
fn refuse_without_part(reader: &mut Reader<'_>, key: &str, why: &str) {
    let Some(node) = reader.table().get(key) else { return };
    let span = node.span.clone();
    let message = format!("`{key}` has no effect here: {why}");
    let help = "list the part in `system`, or remove the key";
    reader.error_with_help("E0108", span, message, "never used", help);
}
