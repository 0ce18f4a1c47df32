//! Reads `source` of `[secrets.NAME]`, and the keys that belong to it.

use super::secret_origin::{
    FileEntry, ProgramOutput, RecipientList, SecretOrigin, VaultValue, program_verb,
};
use super::template_check::{self, TextLanguage, template_in};
use super::{Folder, Gateway, HttpBase, Target, TargetKind, Targets, is_local_host};
use crate::capability::Verb;
use crate::pattern::{ArgumentPattern, PathPattern, canonical_request_path, first_mismatch};
use runbook_document::{Diagnostic, Diagnostics, Key, Node, Source, Span, Spanned, Table, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// One entry of `[secrets]`, as it is written.
#[derive(Debug, Clone, Copy)]
pub struct DeclaredSecret<'a> {
    /// The `NAME` of `[secrets.NAME]`.
    pub name: &'a Key,
    /// Its `source`.
    pub uri: &'a Spanned<String>,
    /// All its keys.
    pub table: &'a Table,
    /// The file that it is written in.
    pub source: &'a Arc<Source>,
}

/// The text of a source, split into its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceText<'a> {
    Age { path: &'a str, name: &'a str },
    Sops { path: &'a str, key: &'a str },
    Credential(&'a str),
    Variable(&'a str),
    Program(&'a str),
    Vault(&'a str),
}

/// The keys of a secret that belong to one kind of source only.
const PROGRAM_KEYS: [&str; 1] = ["arguments"];
const VAULT_KEYS: [&str; 4] = ["mount", "path", "field", "version"];

/// Why a text is no source: what is wrong, and what to write.
type SourceMistake = (String, &'static str);

const EXAMPLE: &str = "such as `age:secrets/prod.age#orders-db`";

impl<'a> SourceText<'a> {
    fn parse(text: &'a str) -> Result<Self, SourceMistake> {
        let Some((scheme, rest)) = text.split_once(':') else { return Err(unknown_scheme(text)) };
        match scheme {
            "age" => {
                let (path, name) = split_entry(text, rest)?;
                require(is_name(name), || name_mistake(name))?;
                Ok(Self::Age { path, name })
            }
            "sops" => {
                let (path, key) = split_entry(text, rest)?;
                let extension = Path::new(path).extension().and_then(|text| text.to_str());
                let is_known = matches!(extension, Some("yaml" | "yml" | "json" | "env"));
                let message = || format!("`{path}` does not say in which form `sops` wrote it");
                let help = "it ends in .yaml, .yml, .json or .env";
                require(is_known, || (message(), help))?;
                let is_path = !key.is_empty() && !key.split('/').any(str::is_empty);
                let message = || format!("`{key}` names no value of the file");
                let help = "write the keys that lead to it, such as `sops:prod.yaml#db/password`";
                require(is_path, || (message(), help))?;
                Ok(Self::Sops { path, key })
            }
            "systemd" => {
                require(is_name(rest), || name_mistake(rest))?;
                Ok(Self::Credential(rest))
            }
            "env" => {
                let message = || format!("`{rest}` is not the name of a variable");
                let help = "such as `env:ORDERS_TOKEN`";
                require(super::is_variable_name(rest), || (message(), help))?;
                Ok(Self::Variable(rest))
            }
            "exec" => {
                require(is_name(rest), || {
                    (format!("`{rest}` is not the name of a target"), PROGRAM_HELP)
                })?;
                Ok(Self::Program(rest))
            }
            "vault" => {
                require(is_name(rest), || {
                    (format!("`{rest}` is not the name of a target"), VAULT_HELP)
                })?;
                Ok(Self::Vault(rest))
            }
            _ => Err(unknown_scheme(text)),
        }
    }

    /// The keys that belong to a source of this kind.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Program(_) => &PROGRAM_KEYS,
            Self::Vault(_) => &VAULT_KEYS,
            Self::Age { .. } | Self::Sops { .. } | Self::Credential(_) | Self::Variable(_) => &[],
        }
    }
}

const PROGRAM_HELP: &str = "name a `process` target, whose program prints the secret: \
                            `source = \"exec:pass\"` with `arguments = [\"show\", \"orders/db\"]`";
const VAULT_HELP: &str = "name an `http` target: `source = \"vault:vault\"` with `mount`, `path` \
                          and `field`";

fn require(holds: bool, mistake: impl FnOnce() -> SourceMistake) -> Result<(), SourceMistake> {
    if holds { Ok(()) } else { Err(mistake()) }
}

fn unknown_scheme(text: &str) -> SourceMistake {
    let message = format!(
        "`{text}` is not a source of a secret; it begins with `age:`, `sops:`, `systemd:`, \
         `exec:`, `vault:` or `env:`"
    );
    (message, EXAMPLE)
}

fn name_mistake(name: &str) -> SourceMistake {
    let message = format!("`{name}` is not a name of a secret");
    let help = "use 1 to 128 letters, digits, `-`, `_` or `.`, beginning with a letter or digit";
    (message, help)
}

/// Splits `PATH#ENTRY` at the last `#`: a path may contain `#`, and a name may not.
fn split_entry<'a>(text: &str, rest: &'a str) -> Result<(&'a str, &'a str), SourceMistake> {
    let message = || format!("`{text}` names no secret in the file");
    let (path, entry) = rest
        .rsplit_once('#')
        .ok_or_else(|| (message(), "add its name, as in `age:secrets/prod.age#orders-db`"))?;
    require(!path.is_empty(), || (format!("`{text}` names no file"), EXAMPLE))?;
    Ok((path, entry))
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=128).contains(&name.len())
        && name.chars().all(is_allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Reports the mistakes in the texts of sources, without the targets that they name.
pub fn check_sources(declared: &[DeclaredSecret<'_>], diagnostics: &mut Diagnostics) {
    for secret in declared {
        parse_source(*secret, diagnostics);
    }
}

/// The origins of the secrets of a runbook, by name. Those with mistakes are reported and left
/// out. `wrong_targets` names the targets that have mistakes already.
pub fn read_origins(
    declared: &[DeclaredSecret<'_>],
    targets: &Targets,
    wrong_targets: &BTreeSet<&str>,
    folder: Folder<'_>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, SecretOrigin> {
    let parsed: Vec<_> = declared
        .iter()
        .filter_map(|secret| Some((*secret, parse_source(*secret, diagnostics)?)))
        .collect();
    let without_target = |(secret, text): &(DeclaredSecret<'_>, SourceText<'_>)| {
        let origin = match text {
            SourceText::Age { path, name } => SecretOrigin::age(path, name, folder),
            SourceText::Sops { path, key } => SecretOrigin::Sops(FileEntry {
                file: folder.locate(path),
                entry: (*key).to_owned(),
                recipients: RecipientList::default(),
            }),
            SourceText::Credential(name) => SecretOrigin::Credential((*name).to_owned()),
            SourceText::Variable(name) => SecretOrigin::Variable((*name).to_owned()),
            SourceText::Program(_) | SourceText::Vault(_) => return None,
        };
        Some((secret.name.name.clone(), origin))
    };
    let mut origins: BTreeMap<_, _> = parsed.iter().filter_map(without_target).collect();
    let direct = Arc::new(origins.clone());
    for (secret, text) in &parsed {
        let (SourceText::Program(target) | SourceText::Vault(target)) = text else { continue };
        let reader = OriginReader { secret: *secret, direct: &direct, targets };
        let origin = match targets.get(target) {
            Some(target) => reader.read(*text, target),
            None if wrong_targets.contains(target) => continue,
            None => Err(reader.unknown_target(target)),
        };
        match origin {
            Ok(origin) => {
                origins.insert(secret.name.name.clone(), origin);
            }
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    origins
}

fn parse_source<'a>(
    secret: DeclaredSecret<'a>,
    diagnostics: &mut Diagnostics,
) -> Option<SourceText<'a>> {
    let DeclaredSecret { name, uri, table, source } = secret;
    let subject = format!("the source of secret `{}`", name.name);
    let texts = std::iter::once((&uri.span, uri.value.as_str())).chain(source_texts(table));
    let mut templates = texts.filter_map(|(span, text)| {
        let template = template_in(text, TextLanguage::Target)?;
        Some(template_check::diagnostic(&subject, template, source, span.clone()))
    });
    if let Some(template) = templates.next() {
        diagnostics.push(template);
        return None;
    }
    match SourceText::parse(&uri.value) {
        Ok(text) => {
            let foreign = PROGRAM_KEYS.iter().chain(&VAULT_KEYS).find_map(|key| {
                let node = table.get(key)?;
                (!text.keys().contains(key)).then_some((*key, node.span.clone()))
            });
            if let Some((key, span)) = foreign {
                let message =
                    format!("`{key}` of secret `{}` does not belong to its source", name.name);
                let owner = if PROGRAM_KEYS.contains(&key) { "exec:" } else { "vault:" };
                let diagnostic = Diagnostic::error("E0108", source, span, message)
                    .label("beside this source")
                    .help(format!("remove it; it is a key of `{owner}`"));
                diagnostics.push(diagnostic);
                return None;
            }
            Some(text)
        }
        Err((message, help)) => {
            let diagnostic = Diagnostic::error("E0106", source, uri.span.clone(), message);
            diagnostics.push(diagnostic.label("no source").help(help));
            None
        }
    }
}

/// The texts of the keys that belong to a source.
fn source_texts(table: &Table) -> impl Iterator<Item = (&Span, &str)> {
    let keys = PROGRAM_KEYS.into_iter().chain(VAULT_KEYS);
    let nodes = keys.filter_map(|key| table.get(key)).flat_map(|node| match &node.value {
        Value::Array(items) => items.iter().collect(),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => vec![node],
    });
    nodes.filter_map(|node| Some((&node.span, text_of(node)?)))
}

fn text_of(node: &Node) -> Option<&str> {
    if let Value::String(text) = &node.value { Some(text) } else { None }
}

/// Reads the origin of one secret that names a target.
struct OriginReader<'a> {
    secret: DeclaredSecret<'a>,
    /// The secrets that need no target.
    direct: &'a Arc<BTreeMap<String, SecretOrigin>>,
    targets: &'a Targets,
}

impl OriginReader<'_> {
    fn read(&self, text: SourceText<'_>, target: &Arc<Target>) -> Result<SecretOrigin, Diagnostic> {
        let origin = match text {
            SourceText::Vault(_) => SecretOrigin::Vault(self.vault(target)?),
            SourceText::Program(_)
            | SourceText::Age { .. }
            | SourceText::Sops { .. }
            | SourceText::Credential(_)
            | SourceText::Variable(_) => SecretOrigin::Program(self.program(target)?),
        };
        let mut needed = self.needed_secrets(target).into_iter();
        if let Some((way, name)) = needed.find(|(_, name)| !self.direct.contains_key(name)) {
            let message = format!(
                "secret `{}` comes from target `{}`, which {way} secret `{name}`",
                self.secret.name.name, target.name
            );
            let help = "a secret that is needed to read another one comes from `age:`, `sops:`, \
                        `systemd:` or `env:`";
            return Err(self.at_source(message, "needs a secret that needs a target", help));
        }
        Ok(origin)
    }

    /// The secrets that are needed before a call of a target can be made, each with what needs it.
    /// Each must be readable without a target, so that reading a secret never needs the same
    /// target, gateway or secret again.
    fn needed_secrets(&self, target: &Target) -> Vec<(String, String)> {
        let named = |way: &str, secrets: Vec<&str>| -> Vec<_> {
            secrets.into_iter().map(|name| (way.to_owned(), name.to_owned())).collect()
        };
        let mut needed = named("needs", target.secrets());
        if let Some(gateway) = self.gateway(target) {
            let way = format!("is reached through `{}`, which needs", gateway.name);
            needed.extend(named(&way, gateway.secrets()));
        }
        if let Some(connection) = target.connection().and_then(|name| self.targets.get(name)) {
            let way = format!("takes its connection from `{}`, which needs", connection.name);
            needed.extend(named(&way, connection.secrets()));
        }
        needed
    }

    /// The gateway of a target; none if there is no such gateway, which is reported elsewhere.
    fn gateway(&self, target: &Target) -> Option<&Arc<Gateway>> {
        self.targets.gateway(&target.via.as_ref()?.gateway.value)
    }

    fn program(&self, target: &Arc<Target>) -> Result<ProgramOutput, Diagnostic> {
        let TargetKind::Process(process) = &target.kind else {
            return Err(self.wrong_kind(target, "process", PROGRAM_HELP));
        };
        let arguments = match self.secret.table.get("arguments") {
            Some(node) => {
                let texts = <Vec<String> as runbook_document::FromNode>::from_node(node);
                let mistake = || {
                    self.at(
                        &node.span,
                        "`arguments` must be a list of texts".to_owned(),
                        "wrong type",
                        "such as `arguments = [\"show\", \"orders/db\"]`",
                    )
                };
                texts.ok_or_else(mistake)?
            }
            None => process.arguments.iter().filter_map(literal).map(str::to_owned).collect(),
        };
        if let Some((number, expected)) = first_mismatch(&process.arguments, &arguments) {
            let message = format!(
                "target `{}` does not allow the arguments of secret `{}`: at position {number} it \
                 expects {expected}",
                target.name, self.secret.name.name
            );
            return Err(self.at_source(message, "these arguments", "correct one of the two"));
        }
        let mut process = process.clone();
        process.arguments = arguments.iter().cloned().map(ArgumentPattern::Literal).collect();
        let verb = program_verb(target);
        let target = self.narrowed(target, TargetKind::Process(process), verb)?;
        Ok(ProgramOutput { target, arguments })
    }

    fn vault(&self, target: &Arc<Target>) -> Result<VaultValue, Diagnostic> {
        let TargetKind::Http(http) = &target.kind else {
            return Err(self.wrong_kind(target, "http", VAULT_HELP));
        };
        let HttpBase::Url(base) = &http.base else {
            let message = format!("the address of target `{}` is a secret", target.name);
            return Err(self.at_source(message, "from this server", "write the address itself"));
        };
        // Behind a gateway, `localhost` is the gateway's own.
        let is_local_name = is_local_host(base.host_str().unwrap_or_default());
        let is_local = http.socket.is_some() || (target.via.is_none() && is_local_name);
        if base.scheme() == "http" && !is_local {
            let message =
                format!("target `{}` does not encrypt, and a secret is read", target.name);
            return Err(self.at_source(message, "over http", "write `https` in its address"));
        }
        let (mount, path) = (self.word("mount")?, self.word("path")?);
        let path = format!("/v1/{mount}/data/{path}");
        let pattern = PathPattern::parse(&path)
            .filter(|_| canonical_request_path(&path).is_ok() && !path.contains(['*', '?', '%']));
        let Some(pattern) = pattern else {
            let message = format!("`{path}` is not the path of a secret of Vault");
            let help = "`mount` and `path` are as `vault kv get -mount=MOUNT PATH` takes them";
            return Err(self.at_source(message, "this path", help));
        };
        let is_allowed =
            http.paths.is_empty() || http.paths.iter().any(|pattern| pattern.matches(&path));
        if !is_allowed {
            let message = format!("target `{}` does not allow the path `{path}`", target.name);
            return Err(self.at_source(message, "this path", "add it to `paths` of the target"));
        }
        let mut http = http.clone();
        http.paths = vec![pattern];
        // Another server, or another path, would answer with another secret.
        http.redirects = 0;
        http.redirect_origins = Vec::new();
        let gateway = self.gateway(target).map(|gateway| {
            let secret_origins = Arc::clone(self.direct);
            Arc::new(Gateway { secret_origins, ..Gateway::clone(gateway) })
        });
        let target = self.narrowed(target, TargetKind::Http(http), Verb::HttpGet)?;
        let (field, version) = (self.word("field")?, self.version()?);
        Ok(VaultValue { target, gateway, path, field, version })
    }

    /// A key of Vault: a text that is not empty.
    fn word(&self, key: &'static str) -> Result<String, Diagnostic> {
        let node = self.secret.table.get(key);
        let text = node.and_then(text_of).map(|text| text.trim_matches('/'));
        match text.filter(|text| !text.is_empty()) {
            Some(text) => Ok(text.to_owned()),
            None => {
                let message = format!("secret `{}` lacks `{key}`", self.secret.name.name);
                let span = node.map_or(&self.secret.uri.span, |node| &node.span);
                Err(self.at(span, message, "of Vault", VAULT_HELP))
            }
        }
    }

    fn version(&self) -> Result<Option<u64>, Diagnostic> {
        let Some(node) = self.secret.table.get("version") else { return Ok(None) };
        let version = <u64 as runbook_document::FromNode>::from_node(node);
        let mistake = || {
            let message = "`version` must be an integer of 1 or more".to_owned();
            self.at(&node.span, message, "wrong type", "leave it out for the newest version")
        };
        version.filter(|version| *version > 0).map(Some).ok_or_else(mistake)
    }

    /// The target, which allows nothing but the one call that reads the secret.
    fn narrowed(
        &self,
        target: &Arc<Target>,
        kind: TargetKind,
        verb: Verb,
    ) -> Result<Arc<Target>, Diagnostic> {
        if target.verbs.as_ref().is_some_and(|listed| !listed.value.contains(&verb)) {
            let message = format!("target `{}` does not grant `{verb}`", target.name);
            return Err(self.at_source(message, "needs it", "add it to `verbs` of the target"));
        }
        let secret_origins = Arc::clone(self.direct);
        Ok(Arc::new(Target { kind, secret_origins, verbs: None, ..Target::clone(target) }))
    }

    fn unknown_target(&self, name: &str) -> Diagnostic {
        let message = format!(
            "secret `{}` comes from target `{name}`, which is not there",
            self.secret.name.name
        );
        let help = match runbook_document::nearest(name, self.targets.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `[targets.{name}]`"),
        };
        self.at_source(message, "this target", &help)
    }

    fn wrong_kind(&self, target: &Target, kind: &str, help: &str) -> Diagnostic {
        let message = format!(
            "secret `{}` needs a `{kind}` target, but `{}` is a `{}` target",
            self.secret.name.name,
            target.name,
            target.capability()
        );
        self.at_source(message, "this target", help)
    }

    fn at_source(&self, message: String, label: &str, help: &str) -> Diagnostic {
        self.at(&self.secret.uri.span, message, label, help)
    }

    fn at(&self, span: &Span, message: String, label: &str, help: &str) -> Diagnostic {
        let diagnostic = Diagnostic::error("E0106", self.secret.source, span.clone(), message);
        diagnostic.label(label).help(help)
    }
}

fn literal(pattern: &ArgumentPattern) -> Option<&str> {
    match pattern {
        ArgumentPattern::Literal(text) => Some(text),
        ArgumentPattern::OneOf(_) | ArgumentPattern::Regex(_) | ArgumentPattern::Repeat(_) => None,
    }
}

#[cfg(test)]
mod tests;
