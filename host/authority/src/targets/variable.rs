//! Environment variables by their effect on a program: those that can change what it runs, reads or
//! connects to, and those that are harmless.
//!
//! With a variable of the first kind, a program may run or read something else than its target
//! names and pins. No table can list all such variables. So a review uses the table for findings,
//! and a boundary does not: without a rule, a boundary allows only harmless variables.

/// The effect that a variable can have on a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableEffect {
    /// Other code is loaded or started.
    Code,
    /// Other files are read: settings, keys, authorities of certificates, modules.
    Files,
    /// The variable makes connections of the program go elsewhere.
    Network,
}

impl VariableEffect {
    /// The effect as the end of a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Code => "can make the program run other code",
            Self::Files => "can make the program read other files",
            Self::Network => "can lead the program's connections elsewhere",
        }
    }
}

/// Names of variables, by their effect. `*` stands for any run of characters. Upper and lower case
/// are not distinguished.
const VARIABLE_EFFECTS: &[(VariableEffect, &[&str])] = &[
    (
        VariableEffect::Code,
        &["LD_*", "DYLD_*", "LIBPATH", "SHLIB_PATH", "GCONV_PATH", "GLIBC_TUNABLES", "MALLOC_*"],
    ),
    (
        VariableEffect::Code,
        &[
            "PATH",
            "IFS",
            "ENV",
            "BASH_*",
            "SHELLOPTS",
            "BASHOPTS",
            "PS4",
            "PROMPT_COMMAND",
            "SHELL",
            "ZDOTDIR",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "FPATH", "CDPATH", "COMSPEC", "PAGER", "EDITOR", "VISUAL", "BROWSER", "MANPAGER",
            "LESS*", "MORE",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "GIT_*",
            "SSH_*",
            "SUDO_*",
            "RSYNC_*",
            "TAR_OPTIONS",
            "MAKE*",
            "MFLAGS",
            "GREP_OPTIONS",
            "ANSIBLE_*",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "PYTHON*",
            "PERL*",
            "RUBY*",
            "GEM_*",
            "BUNDLE_*",
            "NODE_*",
            "npm_config_*",
            "PHPRC",
            "PHP_*",
            "LUA_*",
        ],
    ),
    (
        VariableEffect::Code,
        &["JAVA_*", "JDK_*", "CLASSPATH", "MAVEN_*", "GRADLE_*", "SBT_*", "JRUBY_*", "AWK*"],
    ),
    (
        VariableEffect::Code,
        &[
            "DOTNET_*",
            "COMPLUS_*",
            "CORECLR_*",
            "COR_*",
            "ERL_*",
            "ELIXIR_*",
            "TCL*",
            "GUILE_*",
            "RUSTC*",
        ],
    ),
    (
        VariableEffect::Code,
        &["R_PROFILE*", "R_ENVIRON*", "R_LIBS*", "PSQL*", "PGOPTIONS", "LIBMYSQL_*", "OPENSSL_*"],
    ),
    (
        VariableEffect::Code,
        &[
            "GIO_*",
            "GTK_*",
            "QT_*",
            "XDG_*",
            "CARGO_*",
            "CC",
            "CXX",
            "TF_CLI_*",
            "HELM_*",
            "KUBE_EDITOR",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "GO*FLAGS",
            "GOROOT",
            "GOPATH",
            "GOPROXY",
            "GOBIN",
            "GOENV",
            "GOTOOLCHAIN",
            "CGO_*",
            "RUSTFLAGS",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "RUSTDOC*",
            "CMAKE_*",
            "PIP_*",
            "PIPX_*",
            "UV_*",
            "POETRY_*",
            "CONDA_*",
            "VIRTUAL_ENV",
            "FLASK_*",
        ],
    ),
    (
        VariableEffect::Code,
        &["DJANGO_SETTINGS_MODULE", "COMPOSER_*", "YARN_*", "PNPM_*", "DENO_*", "BUN_*", "JULIA_*"],
    ),
    (
        VariableEffect::Code,
        &[
            "OCAML*",
            "CAML*",
            "GHC*",
            "STACK_*",
            "CABAL_*",
            "*_JAVA_OPTIONS",
            "*_OPTS",
            "*_JVM_OPTS",
            "JVM_*",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "CATALINA_*",
            "CFLAGS",
            "CPPFLAGS",
            "CXXFLAGS",
            "LDFLAGS",
            "LDLIBS",
            "AR",
            "AS",
            "LD",
            "RSH",
            "TAPE",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "VIMINIT",
            "EXINIT",
            "GVIMINIT",
            "NVIM_*",
            "VIM",
            "VIMRUNTIME",
            "EMACS*",
            "SVN_*",
            "CVS_*",
            "HG*",
        ],
    ),
    (
        VariableEffect::Code,
        &[
            "FZF_*",
            "SYSTEMD_EDITOR",
            "SYSTEMD_PAGER",
            "RIPGREP_CONFIG_PATH",
            "FCEDIT",
            "MAILRC",
            "DEBIAN_*",
        ],
    ),
    (
        VariableEffect::Code,
        &["MARIADB_*", "ORACLE_HOME", "ODBC*", "GZIP", "XZ_OPT", "XZ_DEFAULTS", "ZSTD_*", "BZIP*"],
    ),
    (
        VariableEffect::Files,
        &[
            "HOME",
            "LOCPATH",
            "NLSPATH",
            "TZDIR",
            "TERMINFO*",
            "TERMCAP",
            "INPUTRC",
            "GNUPGHOME",
            "KRB5*",
            "SASL_*",
        ],
    ),
    (
        VariableEffect::Files,
        &[
            "PGSERVICE*",
            "PGSYSCONFDIR",
            "PGPASSFILE",
            "PGSSL*",
            "MYSQL_HOME",
            "MYSQL_TEST_LOGIN_FILE",
        ],
    ),
    (
        VariableEffect::Files,
        &[
            "CURL_HOME",
            "CURL_CA_BUNDLE",
            "WGETRC",
            "SYSTEM_WGETRC",
            "SSL_*",
            "REQUESTS_CA_BUNDLE",
            "NETRC",
        ],
    ),
    (
        VariableEffect::Files,
        &[
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_CA_BUNDLE",
            "AWS_PROFILE",
            "AZURE_CONFIG_DIR",
        ],
    ),
    (
        VariableEffect::Files,
        &[
            "RUNBOOK_*",
            "MAGIC",
            "FONTCONFIG_*",
            "TMPDIR",
            "TMP",
            "TEMP",
            "TNS_ADMIN",
            "PGLOCALEDIR",
            "PGDATA",
        ],
    ),
    (VariableEffect::Files, &["SSLKEYLOGFILE", "GCOV_*", "MIBDIRS", "MIBS"]),
    (
        VariableEffect::Files,
        &[
            "GOOGLE_APPLICATION_CREDENTIALS",
            "CLOUDSDK_*",
            "BOTO*",
            "KUBECONFIG",
            "DOCKER_CONFIG",
            "DOCKER_CERT_PATH",
        ],
    ),
    (
        VariableEffect::Network,
        &[
            "http_proxy",
            "https_proxy",
            "ftp_proxy",
            "all_proxy",
            "no_proxy",
            "HOSTALIASES",
            "RESOLV_*",
        ],
    ),
    (
        VariableEffect::Network,
        &[
            "RES_OPTIONS",
            "LOCALDOMAIN",
            "PGHOST",
            "PGHOSTADDR",
            "PGPORT",
            "MYSQL_HOST",
            "MYSQL_TCP_PORT",
        ],
    ),
    (
        VariableEffect::Network,
        &[
            "MYSQL_UNIX_PORT",
            "DOCKER_HOST",
            "DOCKER_CONTEXT",
            "AWS_ENDPOINT_URL*",
            "DBUS_*",
            "DISPLAY",
        ],
    ),
    (
        VariableEffect::Network,
        &[
            "VAULT_*",
            "CONSUL_*",
            "NOMAD_*",
            "ETCDCTL_*",
            "SOCKS_*",
            "grpc_proxy",
            "rsync_proxy",
            "DEBUGINFOD_URLS",
        ],
    ),
    (
        VariableEffect::Network,
        &["PGREQUIRE*", "PGGSS*", "PGKRB*", "REDISCLI_*", "OTEL_*", "CONTAINER_HOST"],
    ),
];

/// Names that are harmless with any plain value (see [`is_harmless`]): language, time, color, and
/// settings of a connection to PostgreSQL that cannot change the server.
const HARMLESS_VARIABLES: &[&str] = &[
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "CI",
    "SOURCE_DATE_EPOCH",
    "PGUSER",
    "PGDATABASE",
    "PGAPPNAME",
    "PGCLIENTENCODING",
    "PGTZ",
    "PGDATESTYLE",
    "PGCONNECT_TIMEOUT",
    "RUST_BACKTRACE",
];

/// Names whose value is only ever used as a password.
const PASSWORD_VARIABLES: &[&str] = &["PGPASSWORD", "MYSQL_PWD"];

/// The harmless variables, in words.
pub(crate) const HARMLESS_IN_WORDS: &str =
    "harmless variables with plain values (LANG, LC_*, TZ, TERM, PGUSER, PGDATABASE, …)";

/// Whether a variable `NAME=value` is harmless: its name is in `HARMLESS_VARIABLES`, in the same
/// case, and its value is plain. A path or an address is not plain (`LANG=/tmp/x` names a file of
/// locales, `PGDATABASE=host=…` a server). A secret is not plain, because a reviewer does not see
/// it.
pub(crate) fn is_harmless(variable: &str) -> bool {
    let Some((name, value)) = variable.split_once('=') else { return false };
    let is_listed = |pattern: &&str| {
        pattern.strip_suffix('*').map_or(name == *pattern, |start| name.starts_with(start))
    };
    if PASSWORD_VARIABLES.contains(&name) {
        return true;
    }
    let is_plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | ',' | '@' | '/' | ' ')
    };
    let is_path_or_address = value.starts_with('/') || value.contains("..") || value.contains("//");
    HARMLESS_VARIABLES.iter().any(is_listed) && value.chars().all(is_plain) && !is_path_or_address
}

/// The effect of a variable of this name, if it is in the table.
pub fn variable_effect(name: &str) -> Option<VariableEffect> {
    let matches = |pattern: &str| {
        // Some systems and programs ignore the case of names.
        let (pattern, name) = (pattern.to_ascii_uppercase(), name.to_ascii_uppercase());
        crate::pattern_matches(&pattern, &name)
    };
    VARIABLE_EFFECTS
        .iter()
        .find(|(_, names)| names.iter().any(|pattern| matches(pattern)))
        .map(|(effect, _)| *effect)
}

/// Whether a text is the name of a variable on every system: letters, digits and `_`, not beginning
/// with a digit. Systems and programs could split another name (`A=B`) differently.
pub(crate) fn is_variable_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(is_part) && text.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_the_table_has_its_effect_in_any_case_and_a_similar_name_has_none() {
        for (effect, names) in VARIABLE_EFFECTS {
            for pattern in *names {
                let name = pattern.replace('*', "X");
                assert!(
                    !HARMLESS_VARIABLES.contains(pattern) && !PASSWORD_VARIABLES.contains(pattern),
                    "{pattern} is in two tables"
                );
                assert_eq!(
                    variable_effect(&name).is_some(),
                    variable_effect(&name.to_ascii_lowercase()).is_some(),
                    "{name}"
                );
                assert!(variable_effect(&name).is_some(), "{name} should be {effect:?}");
                assert!(
                    pattern.starts_with('*') || variable_effect(&format!("APP_{name}")).is_none(),
                    "{name}"
                );
            }
        }
        for harmless in [
            "LANG",
            "TZ",
            "PGAPPNAME",
            "PGPASSWORD",
            "PGUSER",
            "PGDATABASE",
            "MODE",
            "MYSQL_PWD",
            "LDAP",
            "LC_ALL",
        ] {
            assert_eq!(variable_effect(harmless), None, "{harmless}");
        }
    }

    /// Every variable that is not listed is not harmless, and no listed name is harmless with a
    /// path or an address as its value.
    #[test]
    fn a_variable_is_harmless_if_its_name_is_listed_and_its_value_is_plain() {
        let names = || HARMLESS_VARIABLES.iter().map(|pattern| pattern.replace('*', "ALL"));
        for name in names() {
            assert_eq!(variable_effect(&name), None, "{name}");
            for value in
                ["", "C", "en_GB.UTF-8", "Europe/London", "de_DE@euro", "1", "a b", "orders-2"]
            {
                assert!(is_harmless(&format!("{name}={value}")), "{name}={value}");
            }
            let values_not_plain = [
                "/tmp/x",
                "../../tmp/x",
                ":/etc/x",
                "host=evil",
                "postgres://evil/x",
                "//evil",
                "secret:a",
                "a\nb",
                "$(id)",
                "~/x",
                "\u{e4}",
            ];
            for value in values_not_plain {
                assert!(!is_harmless(&format!("{name}={value}")), "{name}={value}");
            }
            let similar_names =
                [format!("X{name}"), format!("{name}:X"), name.to_lowercase(), format!("{name} ")];
            for other in similar_names.iter().filter(|other| !other.starts_with("LC_")) {
                assert!(!is_harmless(&format!("{other}=C")), "{other}");
            }
        }
        for (_, patterns) in VARIABLE_EFFECTS {
            for name in patterns.iter().map(|pattern| pattern.replace('*', "X")) {
                assert!(!is_harmless(&format!("{name}=C")), "{name}");
            }
        }
        for name in ["TOKEN", "APP", "MODE", "A", "", "PGPASSWORDX", "_", "LC"] {
            assert!(!is_harmless(&format!("{name}=C")) && !is_harmless(name), "{name}");
        }
        assert!(is_harmless("PGPASSWORD=secret:pw") && is_harmless("MYSQL_PWD=secret:pw"));
    }

    #[test]
    fn a_name_that_programs_could_split_differently_is_refused() {
        for name in ["", "1A", "A=B", "LD_PRELOAD=/x", "BASH_FUNC_a%%", "A B", "A\0", "Ä"] {
            assert!(!is_variable_name(name), "{name:?}");
        }
        assert!(is_variable_name("_A1"));
    }
}
