//! Environment variables that steer programs: what runs, or what is read, is then no longer what the target names and pins.
//!
//! One table. It is not, and cannot be, all variables that any program looks at; it is those of the loader, of shells, languages and
//! the common tools. A boundary that lists `environment` is exact.

/// What a variable does to a program that gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steers {
    /// Other code is loaded or started.
    Code,
    /// Other files are read: settings, keys, authorities of certificates, modules.
    Files,
    /// Connections go elsewhere.
    Network,
}

impl Steers {
    /// For people: what the program does then.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Code => "can make the program run other code",
            Self::Files => "can make the program read other files",
            Self::Network => "can lead the program's connections elsewhere",
        }
    }
}

/// Names, by what they steer. A `*` at the end is any name that begins so. Names in small letters stand for both writings.
const TABLE: &[(Steers, &[&str])] = &[
    (Steers::Code, &["LD_*", "DYLD_*", "LIBPATH", "SHLIB_PATH", "GCONV_PATH", "GLIBC_TUNABLES", "MALLOC_*"]),
    (Steers::Code, &["PATH", "IFS", "ENV", "BASH_*", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "SHELL", "ZDOTDIR"]),
    (Steers::Code, &["FPATH", "CDPATH", "COMSPEC", "PAGER", "EDITOR", "VISUAL", "BROWSER", "MANPAGER", "LESS*", "MORE"]),
    (Steers::Code, &["GIT_*", "SSH_*", "SUDO_*", "RSYNC_*", "TAR_OPTIONS", "MAKE*", "MFLAGS", "GREP_OPTIONS", "ANSIBLE_*"]),
    (Steers::Code, &["PYTHON*", "PERL*", "RUBY*", "GEM_*", "BUNDLE_*", "NODE_*", "npm_config_*", "PHPRC", "PHP_*", "LUA_*"]),
    (Steers::Code, &["JAVA_*", "_JAVA_OPTIONS", "JDK_*", "CLASSPATH", "MAVEN_*", "GRADLE_*", "SBT_*", "JRUBY_*", "AWK*"]),
    (Steers::Code, &["DOTNET_*", "COMPLUS_*", "CORECLR_*", "COR_*", "ERL_*", "ELIXIR_*", "TCL*", "GUILE_*", "RUSTC*"]),
    (Steers::Code, &["R_PROFILE*", "R_ENVIRON*", "R_LIBS*", "PSQL*", "PGOPTIONS", "LIBMYSQL_*", "OPENSSL_*"]),
    (Steers::Code, &["GIO_*", "GTK_*", "QT_*", "XDG_*", "CARGO_*", "CC", "CXX", "TF_CLI_*", "HELM_*", "KUBE_EDITOR"]),
    (Steers::Files, &["HOME", "LOCPATH", "NLSPATH", "TZDIR", "TERMINFO*", "TERMCAP", "INPUTRC", "GNUPGHOME", "KRB5*", "SASL_*"]),
    (Steers::Files, &["PGSERVICE*", "PGSYSCONFDIR", "PGPASSFILE", "PGSSL*", "MYSQL_HOME", "MYSQL_TEST_LOGIN_FILE"]),
    (Steers::Files, &["CURL_HOME", "CURL_CA_BUNDLE", "WGETRC", "SYSTEM_WGETRC", "SSL_*", "REQUESTS_CA_BUNDLE", "NETRC"]),
    (Steers::Files, &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_PROFILE", "AZURE_CONFIG_DIR"]),
    (
        Steers::Files,
        &["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_*", "BOTO*", "KUBECONFIG", "DOCKER_CONFIG", "DOCKER_CERT_PATH"],
    ),
    (Steers::Network, &["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "HOSTALIASES", "RESOLV_*"]),
    (Steers::Network, &["RES_OPTIONS", "LOCALDOMAIN", "PGHOST", "PGHOSTADDR", "PGPORT", "MYSQL_HOST", "MYSQL_TCP_PORT"]),
    (Steers::Network, &["MYSQL_UNIX_PORT", "DOCKER_HOST", "DOCKER_CONTEXT", "AWS_ENDPOINT_URL*", "DBUS_*", "DISPLAY"]),
];

/// What a variable of this name steers, if it is in the table.
pub fn steers(name: &str) -> Option<Steers> {
    let is_it = |pattern: &str| {
        // A program of another system, or one that folds letters, reads it all the same.
        let (pattern, name) = (pattern.to_ascii_uppercase(), name.to_ascii_uppercase());
        pattern.strip_suffix('*').map_or_else(|| name == pattern, |prefix| name.starts_with(prefix))
    };
    TABLE.iter().find(|(_, names)| names.iter().any(|pattern| is_it(pattern))).map(|(steers, _)| *steers)
}

/// Whether a text is a name that every system takes for that of a variable: letters, digits and `_`. With another one (`A=B`) it
/// would depend on the reader what the name is.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(is_part) && text.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_the_table_steers_in_any_letters_and_a_name_beside_it_does_not() {
        for (steers_what, names) in TABLE {
            for pattern in *names {
                let name = pattern.replace('*', "X");
                assert_eq!(steers(&name).is_some(), steers(&name.to_ascii_lowercase()).is_some(), "{name}");
                assert!(steers(&name).is_some(), "{name} should be {steers_what:?}");
                assert_eq!(steers(&format!("APP_{name}")), None);
            }
        }
        for harmless in ["LANG", "TZ", "PGAPPNAME", "PGPASSWORD", "PGUSER", "PGDATABASE", "MODE", "MYSQL_PWD", "LDAP", "LC_ALL"] {
            assert_eq!(steers(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn a_name_that_readers_could_part_elsewhere_is_none() {
        for name in ["", "1A", "A=B", "LD_PRELOAD=/x", "BASH_FUNC_a%%", "A B", "A\0", "Ä"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("_A1"));
    }
}
