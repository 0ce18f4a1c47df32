//! Programs that run texts: shells, languages, clients of databases, and those that start another program. One table, which says of
//! each where its text may come from.

use std::path::Path;

/// Where a program's text stands if no option gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// In the file that its first operand names; without one, on standard input.
    FirstOperand,
    /// In its second operand, behind a database or a host; without one, on standard input.
    SecondOperand,
    /// On standard input.
    Input,
    /// Nowhere else: it has no other text than its arguments.
    Arguments,
    /// It starts the program that its arguments name, which inherits standard input.
    Starts,
}

/// Programs that are told their text in the same way. Letters are those of options: `c` is `-c`.
#[derive(Debug)]
pub(super) struct Family {
    /// Names; a version behind one (`python3.11`) does not matter.
    names: &'static [&'static str],
    /// Where its text is if no option gives it.
    pub(super) otherwise: Otherwise,
    /// Letters and words of options whose value is the text.
    pub(super) text: (&'static str, &'static [&'static str]),
    /// Letters and words of options whose value is the file with the text.
    pub(super) file: (&'static str, &'static [&'static str]),
    /// Letters of options that have any other value.
    pub(super) valued: &'static str,
    /// Words of options that have no value. Any other word is taken for one that may have.
    pub(super) flags: &'static [&'static str],
    /// Letters with which it reads standard input, whatever else it is told.
    pub(super) input: &'static str,
    /// Whether it runs, or is told what to run by, files of its working directory.
    pub(super) reads_folder: bool,
}

const NONE: (&str, &[&str]) = ("", &[]);

const PLAIN: Family = Family {
    names: &[],
    otherwise: Otherwise::Arguments,
    text: NONE,
    file: NONE,
    valued: "",
    flags: &[],
    input: "",
    reads_folder: false,
};

const FAMILIES: &[Family] = &[
    Family {
        names: &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash"],
        otherwise: Otherwise::FirstOperand,
        text: ("c", &["command"]),
        file: ("", &["rcfile", "init-file"]),
        valued: "oO",
        flags: &["norc", "noprofile", "posix", "login", "restricted", "verbose", "private", "no-config"],
        input: "s",
        ..PLAIN
    },
    Family {
        names: &["python", "pypy"],
        otherwise: Otherwise::FirstOperand,
        text: ("cm", &[]),
        valued: "WX",
        input: "i",
        reads_folder: true,
        ..PLAIN
    },
    Family { names: &["perl"], otherwise: Otherwise::FirstOperand, text: ("eE", &[]), valued: "I", reads_folder: true, ..PLAIN },
    Family { names: &["ruby"], otherwise: Otherwise::FirstOperand, text: ("e", &[]), valued: "rIC", reads_folder: true, ..PLAIN },
    Family {
        names: &["node", "nodejs", "bun"],
        otherwise: Otherwise::FirstOperand,
        text: ("ep", &["eval", "print"]),
        valued: "rC",
        input: "i",
        reads_folder: true,
        ..PLAIN
    },
    Family { names: &["deno"], otherwise: Otherwise::SecondOperand, reads_folder: true, ..PLAIN },
    Family { names: &["lua", "luajit"], otherwise: Otherwise::FirstOperand, text: ("e", &[]), valued: "l", input: "i", ..PLAIN },
    Family {
        names: &["php"],
        otherwise: Otherwise::FirstOperand,
        text: ("rBRE", &[]),
        file: ("fF", &[]),
        valued: "dczt",
        input: "a",
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &["tclsh", "wish", "guile", "Rscript", "groovy", "elixir", "pwsh"],
        otherwise: Otherwise::FirstOperand,
        ..PLAIN
    },
    Family { names: &["expect"], otherwise: Otherwise::FirstOperand, text: ("c", &[]), file: ("f", &[]), valued: "d", ..PLAIN },
    Family {
        names: &["psql"],
        otherwise: Otherwise::Input,
        text: ("clV?", &["command", "list", "version", "help"]),
        file: ("f", &["file"]),
        valued: "dopUvhPFRTL",
        ..PLAIN
    },
    Family {
        names: &["mysql", "mariadb"],
        otherwise: Otherwise::Input,
        text: ("eV?", &["execute", "version", "help"]),
        valued: "uhPpDS",
        ..PLAIN
    },
    Family {
        names: &["sqlite"],
        otherwise: Otherwise::SecondOperand,
        file: ("", &["init"]),
        text: ("", &["version", "help"]),
        flags: &[
            "batch", "bail", "header", "noheader", "csv", "json", "line", "list", "column", "html", "readonly", "safe", "table",
        ],
        ..PLAIN
    },
    Family { names: &["ssh"], otherwise: Otherwise::SecondOperand, valued: "bcDEeFIiJLlmOopQRSWwB", ..PLAIN },
    Family { names: &["awk", "gawk", "mawk", "nawk", "sed"], file: ("f", &["file"]), ..PLAIN },
    Family { names: &["make", "gmake"], file: ("f", &["file", "makefile"]), reads_folder: true, ..PLAIN },
    Family { names: &["git", "ansible", "ansible-playbook", "terraform", "npm", "npx", "cargo"], reads_folder: true, ..PLAIN },
    Family { names: &["tar", "rsync", "java", "helm"], ..PLAIN },
    Family {
        names: &[
            "ed", "ex", "vi", "vim", "nvim", "gdb", "lldb", "at", "batch", "xargs", "parallel", "irb", "iex", "erl", "jshell",
        ],
        otherwise: Otherwise::Input,
        ..PLAIN
    },
    Family { names: &["su", "runuser"], otherwise: Otherwise::Input, text: ("c", &["command"]), valued: "gGs", ..PLAIN },
    Family { names: &["sudo", "doas"], otherwise: Otherwise::Starts, valued: "ugpChrtUD", input: "si", ..PLAIN },
    Family { names: &["docker", "podman"], otherwise: Otherwise::Starts, reads_folder: true, ..PLAIN },
    Family {
        names: &[
            "busybox",
            "toybox",
            "env",
            "find",
            "setpriv",
            "nsenter",
            "unshare",
            "chroot",
            "systemd-run",
            "nohup",
            "setsid",
            "timeout",
            "nice",
            "ionice",
            "chrt",
            "taskset",
            "stdbuf",
            "flock",
            "watch",
            "strace",
            "script",
            "pkexec",
            "kubectl",
            "crontab",
        ],
        otherwise: Otherwise::Starts,
        ..PLAIN
    },
];

/// How a program is told its text; `None` if it runs none.
pub(super) fn family_of(program: &str) -> Option<&'static Family> {
    let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    FAMILIES.iter().find(|family| family.names.contains(&plain) || family.names.contains(&name.as_str()))
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static Family)> {
    FAMILIES.iter().flat_map(|family| family.names.iter().map(move |name| (*name, family)))
}
