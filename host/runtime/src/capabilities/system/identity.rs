//! The host name, the kernel and the distribution.

use super::{ReadError, container};
use crate::bindings::runbook::system::types::MachineIdentity;
use std::path::Path;

/// Where os-release(5) says who the distribution is: the first one that exists.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

pub(super) fn read() -> Result<MachineIdentity, ReadError> {
    let line = |path: &str| {
        let text = std::fs::read_to_string(path);
        text.map(|text| text.trim_end().to_owned())
            .map_err(|error| ReadError::File(Path::new(path).to_owned(), error))
    };
    let release = OS_RELEASE.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let value = |key| release.as_deref().and_then(|text| value_of(text, key)).unwrap_or_default();
    Ok(MachineIdentity {
        hostname: line("/proc/sys/kernel/hostname")?,
        kernel: line("/proc/sys/kernel/osrelease")?,
        distribution: value("ID"),
        version: value("VERSION_ID"),
        title: value("PRETTY_NAME"),
        in_container: container::in_container(),
    })
}

/// The value of a key of os-release(5): `KEY=value` or `KEY="value"`, with the escapes of a shell.
fn value_of(text: &str, key: &str) -> Option<String> {
    let line =
        |line: &str| line.trim_start().strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    let written = text.lines().rev().find_map(line)?;
    let written = written.trim_end();
    let quoted = |quote: char| written.strip_prefix(quote)?.strip_suffix(quote);
    let Some(content) = quoted('"') else {
        return Some(quoted('\'').unwrap_or(written).to_owned());
    };
    let mut value = String::new();
    let mut characters = content.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn a_value_of_os_release_is_read_as_a_shell_does() {
        let text = "NAME=Other\nID=debian\nVERSION_ID=\"13\"\n# ID=no\n\
                    PRETTY_NAME=\"A \\\"B\\\" \\$C\"\nSINGLE='a b'\nEMPTY=\n";
        for (key, value) in [
            ("ID", Some("debian")),
            ("VERSION_ID", Some("13")),
            ("PRETTY_NAME", Some("A \"B\" $C")),
            ("SINGLE", Some("a b")),
            ("EMPTY", Some("")),
            ("NONE", None),
        ] {
            assert_eq!(value_of(text, key).as_deref(), value, "{key}");
        }
    }
}
