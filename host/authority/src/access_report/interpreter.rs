//! A table of interpreters: shells, languages, clients of databases, and launchers, which start
//! another program. It says where each gets the text that it runs.

use std::path::Path;

/// Where a program gets the text that it runs if no option gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefaultSource {
    /// In the file that its first operand names; without one, on standard input.
    FirstOperand,
    /// In the operands, if there are this many (such as a database and a statement); with fewer, on
    /// standard input.
    Operands(usize),
    /// In a file that an operand after the subcommand names; without one, on standard input.
    Subcommand,
    /// It starts the program that the last of this many operands names. With fewer, it starts a
    /// shell.
    Command(usize),
    /// On standard input.
    Input,
    /// Only in its arguments.
    Arguments,
}

/// Programs that get the text that they run in the same way. Letters are short options: `c` is
/// `-c`. Words are long options. A letter or word that is in no field is read both with and without
/// a value.
#[derive(Debug)]
pub(super) struct ProgramFamily {
    /// The names of the programs. A name may be followed by a version, an architecture or a kind of
    /// build (`python3.11`, `bash-static`).
    names: &'static [&'static str],
    /// Where the text is if no option gives it.
    pub(super) default_source: DefaultSource,
    /// Letters and words of options whose value is the text.
    pub(super) text: (&'static str, &'static [&'static str]),
    /// Letters and words of options with which it runs nothing.
    pub(super) run_nothing: (&'static str, &'static [&'static str]),
    /// Letters and words of options whose value is the file with the text.
    pub(super) file: (&'static str, &'static [&'static str]),
    /// Words of options whose value is a file that it runs in addition to the text.
    pub(super) extra_files: &'static [&'static str],
    /// Letters of options whose value is a module to run.
    pub(super) module_letters: &'static str,
    /// Letters of options that have any other value, in the same argument or in the next.
    pub(super) value_letters: &'static str,
    /// Letters of options whose value, if any, is in the same argument.
    pub(super) attached_letters: &'static str,
    /// Letters of options that have no value.
    pub(super) flag_letters: &'static str,
    /// Words of options that have no value.
    pub(super) flag_words: &'static [&'static str],
    /// Letters of options with which it reads standard input, whatever its other arguments are.
    pub(super) input_letters: &'static str,
    /// How its options are written.
    pub(super) syntax: OptionSyntax,
    /// Whether it starts a program that one of its arguments names, which inherits standard input.
    pub(super) is_launcher: bool,
    /// Whether it runs files of its working directory, or reads there what to run.
    pub(super) reads_working_directory: bool,
}

/// How a program writes its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionSyntax {
    /// As `getopt` reads them: `-abVALUE`, `--word=VALUE`.
    Getopt,
    /// As shells do: `-ab VALUE`, where each letter is an option and values are separate arguments.
    Letters,
    /// As Java and `sqlite3` read them: one dash and a whole word, `-word VALUE`.
    Words,
}

const NO_OPTIONS: (&str, &[&str]) = ("", &[]);

const DEFAULT_FAMILY: ProgramFamily = ProgramFamily {
    names: &[],
    default_source: DefaultSource::Arguments,
    text: NO_OPTIONS,
    run_nothing: NO_OPTIONS,
    file: NO_OPTIONS,
    extra_files: &[],
    module_letters: "",
    value_letters: "",
    attached_letters: "",
    flag_letters: "",
    flag_words: &[],
    input_letters: "",
    syntax: OptionSyntax::Getopt,
    is_launcher: false,
    reads_working_directory: false,
};

const LAUNCHER: ProgramFamily = ProgramFamily {
    default_source: DefaultSource::Command(0),
    is_launcher: true,
    ..DEFAULT_FAMILY
};

const FAMILIES: &[ProgramFamily] = &[
    ProgramFamily {
        names: &[
            "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash",
            "rsh", "yash", "osh", "nu",
        ],
        default_source: DefaultSource::FirstOperand,
        text: ("c", &["command"]),
        extra_files: &["rcfile", "init-file"],
        value_letters: "oO",
        flag_letters: "abefhiklmnprtuvxBCEHPTV",
        flag_words: &[
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
        input_letters: "s",
        syntax: OptionSyntax::Letters,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["python", "pypy"],
        default_source: DefaultSource::FirstOperand,
        text: ("c", &[]),
        module_letters: "m",
        value_letters: "WX",
        flag_letters: "bBdEhIOPqsSuvVx?",
        input_letters: "i",
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["perl"],
        default_source: DefaultSource::FirstOperand,
        text: ("eE", &[]),
        value_letters: "I",
        attached_letters: "iCDFmMx",
        flag_letters: "acfghlnpsStTuUvVwWX",
        input_letters: "d",
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["ruby"],
        default_source: DefaultSource::FirstOperand,
        text: ("e", &[]),
        value_letters: "rIC",
        attached_letters: "iFKTWx",
        flag_letters: "aclnpsSUvwyh",
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["node", "nodejs"],
        default_source: DefaultSource::FirstOperand,
        text: ("ep", &["eval", "print"]),
        value_letters: "rC",
        flag_letters: "chv",
        flag_words: &["no-warnings", "trace-warnings", "enable-source-maps"],
        input_letters: "i",
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["deno", "bun"],
        default_source: DefaultSource::Subcommand,
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["lua", "luajit"],
        default_source: DefaultSource::FirstOperand,
        text: ("e", &[]),
        value_letters: "l",
        flag_letters: "vEW",
        input_letters: "i",
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["php", "php-cgi"],
        default_source: DefaultSource::FirstOperand,
        text: ("rBRE", &["run"]),
        file: ("fF", &["file", "process-file"]),
        value_letters: "dczt",
        flag_letters: "CHehlmnqsvw",
        input_letters: "a",
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &[
            "tclsh", "wish", "guile", "Rscript", "groovy", "elixir", "pwsh", "julia", "m4", "dc",
            "bc", "octave", "scala",
        ],
        default_source: DefaultSource::FirstOperand,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["expect"],
        default_source: DefaultSource::FirstOperand,
        text: ("c", &[]),
        file: ("f", &[]),
        attached_letters: "dDb",
        flag_letters: "inNv",
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["psql"],
        default_source: DefaultSource::Input,
        text: ("c", &["command"]),
        run_nothing: ("lV?", &["list", "version", "help"]),
        file: ("f", &["file"]),
        value_letters: "dopUvhPFRTL",
        flag_letters: "aAbeEHnqsStwWxXz01",
        flag_words: &[
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
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["mysql", "mariadb"],
        default_source: DefaultSource::Input,
        text: ("e", &["execute"]),
        run_nothing: ("V?", &["version", "help"]),
        value_letters: "uhPDS",
        attached_letters: "p",
        flag_letters: "ABCEfGHinNqrsttTvwX",
        flag_words: &[
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
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["sqlite"],
        default_source: DefaultSource::Operands(2),
        extra_files: &["init"],
        run_nothing: ("", &["version", "help"]),
        flag_words: &[
            "batch", "bail", "header", "noheader", "csv", "json", "line", "list", "column", "html",
            "readonly", "safe", "table",
        ],
        syntax: OptionSyntax::Words,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["redis-cli", "valkey-cli"],
        default_source: DefaultSource::Operands(1),
        value_letters: "hpaniur",
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["ssh"],
        default_source: DefaultSource::Operands(2),
        value_letters: "bcDEeFIiJLlmOopQRSWwB",
        flag_letters: "46AaCfGgKkMNnqsTtVvXxYy",
        is_launcher: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["awk", "gawk", "mawk", "nawk", "sed"],
        file: ("f", &["file"]),
        flag_letters: "nrEsuz",
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["make", "gmake"],
        file: ("f", &["file", "makefile"]),
        flag_letters: "BbdehikLnpqRrsStvw",
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["git", "ansible", "ansible-playbook", "terraform"],
        reads_working_directory: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["npm", "npx", "cargo"],
        reads_working_directory: true,
        is_launcher: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily { names: &["tar", "rsync", "helm"], is_launcher: true, ..DEFAULT_FAMILY },
    ProgramFamily {
        names: &["java"],
        default_source: DefaultSource::FirstOperand,
        text: ("", &["m", "module"]),
        run_nothing: ("", &["version", "help"]),
        file: ("", &["jar"]),
        syntax: OptionSyntax::Words,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &[
            "ed", "ex", "vi", "vim", "nvim", "gdb", "lldb", "at", "batch", "xargs", "parallel",
            "irb", "iex", "erl", "jshell", "R", "newgrp", "ghci", "sbcl", "mongosh", "sqlplus",
        ],
        default_source: DefaultSource::Input,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["su", "runuser", "script"],
        default_source: DefaultSource::Input,
        text: ("c", &["command"]),
        value_letters: "gGsuIOBTEmo",
        flag_letters: "aefqlmpP",
        is_launcher: true,
        ..DEFAULT_FAMILY
    },
    // `sg` runs only the first word after the group.
    ProgramFamily {
        names: &["sg"],
        default_source: DefaultSource::Input,
        is_launcher: true,
        ..DEFAULT_FAMILY
    },
    ProgramFamily {
        names: &["sudo", "doas"],
        value_letters: "ugpChrtUDRT",
        flag_letters: "AbBEHKkNnPSV",
        input_letters: "sie",
        ..LAUNCHER
    },
    ProgramFamily { names: &["docker", "podman"], reads_working_directory: true, ..LAUNCHER },
    ProgramFamily {
        names: &[
            "unshare", "nsenter", "linux32", "linux64", "i386", "i486", "i586", "i686", "x86_64",
            "uname26", "sparc", "mips", "aarch64",
        ],
        default_source: DefaultSource::Command(1),
        ..LAUNCHER
    },
    ProgramFamily {
        names: &["chroot", "setarch"],
        default_source: DefaultSource::Command(2),
        ..LAUNCHER
    },
    ProgramFamily {
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
        ..LAUNCHER
    },
];

/// Programs that start no program that an argument names. Their arguments may have the name of an
/// interpreter: `systemctl restart mysql` does not start the client `mysql`.
const NON_LAUNCHERS: &[&str] = &[
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

/// Modules of Python that run no text. Any other module may.
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

/// Suffixes that, like numbers, do not make a name that of another program.
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

/// The family of a program; `None` if it is not an interpreter.
pub(super) fn family_of(program: &str) -> Option<&'static ProgramFamily> {
    let name = file_name(program);
    FAMILIES.iter().find(|family| family.names.iter().any(|known| is_build_of(known, &name)))
}

/// Whether a program is known to start no program that an argument names.
pub(super) fn launches_nothing(program: &str) -> bool {
    NON_LAUNCHERS.contains(&file_name(program).as_str())
}

/// Whether the name of some interpreter passes the test.
pub(super) fn any_interpreter_name(is_match: impl Fn(&str) -> bool) -> bool {
    FAMILIES.iter().flat_map(|family| family.names).any(|name| is_match(name))
}

fn file_name(program: &str) -> String {
    Path::new(program)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Whether `name` is `known`, followed only by versions, architectures and kinds of build.
fn is_build_of(known: &str, name: &str) -> bool {
    let Some(suffix) = name.strip_prefix(known) else { return false };
    let begins_like_suffix = suffix.is_empty()
        || suffix.starts_with(|c: char| c.is_ascii_digit() || "-._:@".contains(c));
    let is_known = |part: &str| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        word.is_empty()
            || part.starts_with(|c: char| c.is_ascii_digit())
            || SUFFIXES.contains(&word)
    };
    begins_like_suffix && suffix.split(['-', '.', '_', ':', '@', '+']).all(is_known)
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static ProgramFamily)> {
    FAMILIES.iter().flat_map(|family| family.names.iter().map(move |name| (*name, family)))
}
