//! Programs that run texts: shells, languages, clients of databases, and those that start another
//! program. One table, which says of each where its text may come from.

use std::path::Path;

/// Where a program reads its text from if no option gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefaultSource {
    /// In the file that its first operand names; without one, on standard input.
    FirstOperand,
    /// It stands in the operands, if there are this many (a database and a statement); with fewer
    /// it is read from standard input.
    Operands(usize),
    /// In a file that an operand behind its subcommand names; without one, on standard input.
    Subcommand,
    /// It starts the program that its last of this many operands names. With fewer, it starts a
    /// shell.
    Command(usize),
    /// It is read from standard input.
    Input,
    /// From its arguments only.
    Arguments,
}

/// Programs that take their text in the same way. Letters are those of options: `c` is `-c`. A
/// letter or word that is in no field counts both as one with a value and as one without.
#[derive(Debug)]
pub(super) struct Family {
    /// Names; a version, an architecture or a kind of build behind one (`python3.11`,
    /// `bash-static`) does not matter.
    names: &'static [&'static str],
    /// Where its text is if no option gives it.
    pub(super) otherwise: DefaultSource,
    /// Letters and words of options whose value is the text.
    pub(super) text: (&'static str, &'static [&'static str]),
    /// Letters and words of options by which it runs nothing.
    pub(super) ends: (&'static str, &'static [&'static str]),
    /// Letters and words of options whose value is the file with the text.
    pub(super) file: (&'static str, &'static [&'static str]),
    /// Words of options whose value is a file that it runs beside its text.
    pub(super) more: &'static [&'static str],
    /// Letters of options whose value is a module to run.
    pub(super) module: &'static str,
    /// Letters of options that have any other value, in the same argument or in the next.
    pub(super) valued: &'static str,
    /// Letters of options whose value, if any, stands in the same argument.
    pub(super) attached: &'static str,
    /// Letters of options that have no value.
    pub(super) plain: &'static str,
    /// Words of options that have no value.
    pub(super) flags: &'static [&'static str],
    /// Letters with which it reads standard input, whatever its other arguments are.
    pub(super) input: &'static str,
    /// How its options are written.
    pub(super) syntax: OptionSyntax,
    /// Whether it starts a program that one of its arguments names, which inherits standard input.
    pub(super) starts: bool,
    /// Whether files of its working directory are run, or decide what is run.
    pub(super) reads_folder: bool,
}

/// How a program writes its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionSyntax {
    /// As `getopt` reads them: `-abVALUE`, `--word=VALUE`.
    Getopt,
    /// As shells do: `-ab VALUE`, where each letter stands for itself.
    Letters,
    /// As Java and `sqlite3` read them: one dash and a whole word, `-word VALUE`.
    Words,
}

const NONE: (&str, &[&str]) = ("", &[]);

const PLAIN: Family = Family {
    names: &[],
    otherwise: DefaultSource::Arguments,
    text: NONE,
    ends: NONE,
    file: NONE,
    more: &[],
    module: "",
    valued: "",
    attached: "",
    plain: "",
    flags: &[],
    input: "",
    syntax: OptionSyntax::Getopt,
    starts: false,
    reads_folder: false,
};

const STARTS: Family = Family { otherwise: DefaultSource::Command(0), starts: true, ..PLAIN };

const FAMILIES: &[Family] = &[
    Family {
        names: &[
            "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash",
            "rsh", "yash", "osh", "nu",
        ],
        otherwise: DefaultSource::FirstOperand,
        text: ("c", &["command"]),
        more: &["rcfile", "init-file"],
        valued: "oO",
        plain: "abefhiklmnprtuvxBCEHPTV",
        flags: &[
            "norc",
            "noprofile",
            "posix",
            "login",
            "restricted",
            "verbose",
            "private",
            "no-config",
            "noediting",
        ],
        input: "s",
        syntax: OptionSyntax::Letters,
        ..PLAIN
    },
    Family {
        names: &["python", "pypy"],
        otherwise: DefaultSource::FirstOperand,
        text: ("c", &[]),
        module: "m",
        valued: "WX",
        plain: "bBdEhIOPqsSuvVx?",
        input: "i",
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &["perl"],
        otherwise: DefaultSource::FirstOperand,
        text: ("eE", &[]),
        valued: "I",
        attached: "iCDFmMx",
        plain: "acfghlnpsStTuUvVwWX",
        input: "d",
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &["ruby"],
        otherwise: DefaultSource::FirstOperand,
        text: ("e", &[]),
        valued: "rIC",
        attached: "iFKTWx",
        plain: "aclnpsSUvwyh",
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &["node", "nodejs"],
        otherwise: DefaultSource::FirstOperand,
        text: ("ep", &["eval", "print"]),
        valued: "rC",
        plain: "chv",
        flags: &["no-warnings", "trace-warnings", "enable-source-maps"],
        input: "i",
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &["deno", "bun"],
        otherwise: DefaultSource::Subcommand,
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &["lua", "luajit"],
        otherwise: DefaultSource::FirstOperand,
        text: ("e", &[]),
        valued: "l",
        plain: "vEW",
        input: "i",
        ..PLAIN
    },
    Family {
        names: &["php", "php-cgi"],
        otherwise: DefaultSource::FirstOperand,
        text: ("rBRE", &["run"]),
        file: ("fF", &["file", "process-file"]),
        valued: "dczt",
        plain: "CHehlmnqsvw",
        input: "a",
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &[
            "tclsh", "wish", "guile", "Rscript", "groovy", "elixir", "pwsh", "julia", "m4", "dc",
            "bc", "octave", "scala",
        ],
        otherwise: DefaultSource::FirstOperand,
        ..PLAIN
    },
    Family {
        names: &["expect"],
        otherwise: DefaultSource::FirstOperand,
        text: ("c", &[]),
        file: ("f", &[]),
        attached: "dDb",
        plain: "inNv",
        ..PLAIN
    },
    Family {
        names: &["psql"],
        otherwise: DefaultSource::Input,
        text: ("c", &["command"]),
        ends: ("lV?", &["list", "version", "help"]),
        file: ("f", &["file"]),
        valued: "dopUvhPFRTL",
        plain: "aAbeEHnqsStwWxXz01",
        flags: &[
            "no-psqlrc",
            "quiet",
            "tuples-only",
            "no-align",
            "csv",
            "html",
            "expanded",
            "no-password",
            "single-transaction",
        ],
        ..PLAIN
    },
    Family {
        names: &["mysql", "mariadb"],
        otherwise: DefaultSource::Input,
        text: ("e", &["execute"]),
        ends: ("V?", &["version", "help"]),
        valued: "uhPDS",
        attached: "p",
        plain: "ABCEfGHinNqrsttTvwX",
        flags: &[
            "batch",
            "silent",
            "skip-column-names",
            "raw",
            "table",
            "compress",
            "ssl",
            "force",
            "quick",
        ],
        ..PLAIN
    },
    Family {
        names: &["sqlite"],
        otherwise: DefaultSource::Operands(2),
        more: &["init"],
        ends: ("", &["version", "help"]),
        flags: &[
            "batch", "bail", "header", "noheader", "csv", "json", "line", "list", "column", "html",
            "readonly", "safe", "table",
        ],
        syntax: OptionSyntax::Words,
        ..PLAIN
    },
    Family {
        names: &["redis-cli", "valkey-cli"],
        otherwise: DefaultSource::Operands(1),
        valued: "hpaniur",
        ..PLAIN
    },
    Family {
        names: &["ssh"],
        otherwise: DefaultSource::Operands(2),
        valued: "bcDEeFIiJLlmOopQRSWwB",
        plain: "46AaCfGgKkMNnqsTtVvXxYy",
        starts: true,
        ..PLAIN
    },
    Family {
        names: &["awk", "gawk", "mawk", "nawk", "sed"],
        file: ("f", &["file"]),
        plain: "nrEsuz",
        ..PLAIN
    },
    Family {
        names: &["make", "gmake"],
        file: ("f", &["file", "makefile"]),
        plain: "BbdehikLnpqRrsStvw",
        reads_folder: true,
        ..PLAIN
    },
    Family {
        names: &["git", "ansible", "ansible-playbook", "terraform"],
        reads_folder: true,
        ..PLAIN
    },
    Family { names: &["npm", "npx", "cargo"], reads_folder: true, starts: true, ..PLAIN },
    Family { names: &["tar", "rsync", "helm"], starts: true, ..PLAIN },
    Family {
        names: &["java"],
        otherwise: DefaultSource::FirstOperand,
        text: ("", &["m", "module"]),
        ends: ("", &["version", "help"]),
        file: ("", &["jar"]),
        syntax: OptionSyntax::Words,
        ..PLAIN
    },
    Family {
        names: &[
            "ed", "ex", "vi", "vim", "nvim", "gdb", "lldb", "at", "batch", "xargs", "parallel",
            "irb", "iex", "erl", "jshell", "R", "newgrp", "ghci", "sbcl", "mongosh", "sqlplus",
        ],
        otherwise: DefaultSource::Input,
        ..PLAIN
    },
    Family {
        names: &["su", "runuser", "script"],
        otherwise: DefaultSource::Input,
        text: ("c", &["command"]),
        valued: "gGsuIOBTEmo",
        plain: "aefqlmpP",
        starts: true,
        ..PLAIN
    },
    // `sg` runs the first word behind the group, and nothing else of what is there.
    Family { names: &["sg"], otherwise: DefaultSource::Input, starts: true, ..PLAIN },
    Family {
        names: &["sudo", "doas"],
        valued: "ugpChrtUDRT",
        plain: "AbBEHKkNnPSV",
        input: "sie",
        ..STARTS
    },
    Family { names: &["docker", "podman"], reads_folder: true, ..STARTS },
    Family {
        names: &[
            "unshare", "nsenter", "linux32", "linux64", "i386", "i486", "i586", "i686", "x86_64",
            "uname26", "sparc", "mips", "aarch64",
        ],
        otherwise: DefaultSource::Command(1),
        ..STARTS
    },
    Family { names: &["chroot", "setarch"], otherwise: DefaultSource::Command(2), ..STARTS },
    Family {
        names: &[
            "busybox",
            "toybox",
            "env",
            "negate",
            "check_by_ssh",
            "find",
            "setpriv",
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
            "ltrace",
            "pkexec",
            "kubectl",
            "crontab",
            "time",
            "prlimit",
            "choom",
            "dbus-run-session",
            "unbuffer",
            "firejail",
            "bwrap",
            "fakeroot",
            "faketime",
            "ssh-agent",
            "start-stop-daemon",
        ],
        ..STARTS
    },
];

/// Programs that start nothing that an argument names. What they are given may bear the name of an
/// interpreter: `systemctl restart mysql` starts no client.
const STARTS_NOTHING: &[&str] = &[
    "systemctl",
    "service",
    "pg_dump",
    "pg_dumpall",
    "pg_restore",
    "pg_isready",
    "pg_basebackup",
    "mysqldump",
    "mysqladmin",
    "mariadb-dump",
    "mariadb-admin",
    "apt-get",
    "dpkg",
    "rpm",
    "ls",
    "cat",
    "cp",
    "mv",
    "rm",
    "mkdir",
    "echo",
    "printf",
    "date",
    "grep",
    "head",
    "tail",
    "wc",
    "test",
    "true",
    "false",
    "sleep",
    "pgrep",
    "pkill",
    "kill",
    "killall",
    "df",
    "du",
    "stat",
    "curl",
    "journalctl",
    "logger",
    "which",
];

/// Modules of Python that run no text. Any other one may.
pub(super) const HARMLESS_MODULES: &[&str] = &[
    "base64",
    "calendar",
    "compileall",
    "ensurepip",
    "gzip",
    "http.server",
    "json.tool",
    "platform",
    "py_compile",
    "sysconfig",
    "tarfile",
    "venv",
    "zipfile",
];

/// The suffixes of a name, besides numbers, that do not make it another program.
const SUFFIXES: &[&str] = &[
    "static",
    "dbg",
    "debug",
    "distrib",
    "real",
    "wrapped",
    "orig",
    "bin",
    "beta",
    "rc",
    "alpha",
    "lts",
    "tiny",
    "basic",
    "nox",
    "gtk",
    "x",
    "i",
    "amd",
    "arm",
    "armhf",
    "aarch",
    "riscv",
    "ppc",
    "s390x",
    "linux",
    "gnu",
    "gnueabihf",
    "musl",
    "el",
    "le",
    "v",
];

/// How a program takes the text that it runs; `None` if it runs none.
pub(super) fn family_of(program: &str) -> Option<&'static Family> {
    let name = file_name(program);
    FAMILIES.iter().find(|family| family.names.iter().any(|known| is_build_of(known, &name)))
}

/// Whether a program is known to start nothing that an argument names.
pub(super) fn starts_nothing(program: &str) -> bool {
    STARTS_NOTHING.contains(&file_name(program).as_str())
}

/// Whether some interpreter's name satisfies the test.
pub(super) fn any_name(is_it: impl Fn(&str) -> bool) -> bool {
    FAMILIES.iter().flat_map(|family| family.names).any(|name| is_it(name))
}

fn file_name(program: &str) -> String {
    Path::new(program)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Whether `name` is `known` with nothing behind it but versions, architectures and kinds of build.
fn is_build_of(known: &str, name: &str) -> bool {
    let Some(suffix) = name.strip_prefix(known) else { return false };
    let is_first_a_number = suffix.is_empty()
        || suffix.starts_with(|c: char| c.is_ascii_digit() || "-._:@".contains(c));
    let is_known = |part: &str| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        word.is_empty()
            || part.starts_with(|c: char| c.is_ascii_digit())
            || SUFFIXES.contains(&word)
    };
    is_first_a_number && suffix.split(['-', '.', '_', ':', '@', '+']).all(is_known)
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static Family)> {
    FAMILIES.iter().flat_map(|family| family.names.iter().map(move |name| (*name, family)))
}
