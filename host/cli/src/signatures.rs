//! Signatures of plugins: made, checked, and required where a trust file is in force.

use crate::component_file;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::project::Project;
use crate::{text_file, ui, writable};
use runbook_authority::Digest;
use runbook_authority::trust::{Signature, SigningKey, Trust, Untrusted};
use runbook_document::Diagnostics;
use runbook_runtime::Verified;
use runbook_secrets::files;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The trust files in force, each of which must accept every plugin that is a file.
#[derive(Debug, Default)]
pub struct TrustFiles(Vec<(PathBuf, Trust)>);

impl TrustFiles {
    /// Reads them. An unreadable one stops everything.
    pub fn load(context: &Context) -> Result<Self, Failure> {
        Self::of(&context.trusts)
    }

    /// Those, and what projects add.
    pub fn with_projects(context: &Context, projects: &[Project]) -> Result<Self, Failure> {
        let all = context
            .trusts
            .iter()
            .chain(projects.iter().filter_map(|project| project.trust.as_ref()));
        Self::of(all)
    }

    fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Self, Failure> {
        paths
            .into_iter()
            .map(|path| Ok((path.clone(), read_trust(path)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether none is in force.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a component that no accepted key has signed.
    pub fn judge(&self, file: &Path, plugin: &Verified) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let name = &plugin.manifest().name;
        let signature = read(file)?;
        self.keys(name, plugin.digest(), signature.as_ref())
            .map(|_| ())
            .map_err(|(path, why)| refusal(name, (file, path), &why))
    }

    /// The name of the key that each file accepts for a plugin, or the first file that accepts
    /// none.
    fn keys(
        &self,
        name: &str,
        digest: &Digest,
        signature: Option<&Signature>,
    ) -> Result<Vec<&str>, (&Path, Untrusted)> {
        let judged = self.0.iter().map(|(path, trust)| {
            match trust.judge(name, digest, signature, &today()) {
                Ok(key) => Ok(key.name.as_str()),
                Err(untrusted) => Err((path.as_path(), untrusted)),
            }
        });
        let mut names: Vec<&str> = judged.collect::<Result<_, _>>()?;
        names.dedup();
        Ok(names)
    }
}

fn read_trust(path: &Path) -> Result<Trust, Failure> {
    let source = text_file::source(path).map_err(|error| {
        Failure::refused(format!("the trust file `{}` cannot be read: {error}", path.display()))
    })?;
    writable::warn("the trust file", path);
    let mut diagnostics = Diagnostics::default();
    Trust::parse(&source, &mut diagnostics)
        .ok_or(Failure::Findings { status: ExitStatus::Refused, diagnostics })
}

fn refusal(name: &str, (file, trust): (&Path, &Path), untrusted: &Untrusted) -> Failure {
    let help = match untrusted {
        Untrusted::OtherDigest { .. } | Untrusted::Forged { .. } => format!(
            "put back the file that was signed; or, if the change is right, have it reviewed and \
             signed: `runbook plugin sign {} --key FILE`",
            runbook_text::file(&file.display().to_string())
        ),
        Untrusted::Unsigned => {
            format!(
                "have it reviewed and signed: `runbook plugin sign {} --key FILE`",
                runbook_text::file(&file.display().to_string())
            )
        }
        Untrusted::UnknownKey { .. }
        | Untrusted::OtherPlugins { .. }
        | Untrusted::Expired { .. } => {
            format!(
                "have `{}` changed by its owner, or the plugin signed by a key that is accepted \
                 for it",
                trust.display()
            )
        }
    };
    Failure::refused(format!("plugin `{name}` (`{}`) is not trusted: {untrusted}", file.display()))
        .hint(help)
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

fn signature_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

/// The signature beside a component.
fn read(file: &Path) -> Result<Option<Signature>, Failure> {
    let path = signature_path(file);
    let source = match text_file::source(&path) {
        Ok(source) => source,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::refused(format!(
                "the signature `{}` cannot be read: {error}",
                path.display()
            )));
        }
    };
    let mut diagnostics = Diagnostics::default();
    match Signature::parse(&source, &mut diagnostics) {
        Some(signature) => Ok(Some(signature)),
        None => Err(Failure::Findings { status: ExitStatus::Refused, diagnostics }),
    }
}

/// What is known of the signature beside a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureState {
    /// In one line, for a person.
    pub text: String,
    /// Whether the trust file in force accepts it.
    pub is_trusted: bool,
    /// Whether there is a signature and it is not of these bytes: the file or the signature was
    /// changed.
    pub is_wrong: bool,
}

/// What is known of the signature beside a component, under the trust file in force.
pub fn state(
    trust: &TrustFiles,
    file: &Path,
    name: &str,
    digest: &Digest,
) -> Result<SignatureState, Failure> {
    let not_trusted = |text: String| SignatureState { text, is_trusted: false, is_wrong: false };
    let Some(signature) = read(file)? else { return Ok(not_trusted("none".to_owned())) };
    if let Err(untrusted) = signature.check(digest) {
        return Ok(SignatureState {
            text: format!("NOT good: {untrusted}"),
            is_trusted: false,
            is_wrong: true,
        });
    }
    let by = format!("good, by key {}", signature.key);
    Ok(match trust.keys(name, digest, Some(&signature)) {
        Ok(names) if names.is_empty() => not_trusted(format!("{by}; no trust file is in force")),
        Ok(names) => {
            let text =
                format!("{by}, which is `{}`, accepted for this plugin", names.join("` and `"));
            SignatureState { text, is_trusted: true, is_wrong: false }
        }
        Err((path, untrusted)) => {
            not_trusted(format!("NOT trusted by `{}`: {untrusted}", path.display()))
        }
    })
}

/// Makes a new signing key: `runbook plugin keygen`.
pub fn keygen(output: &Path) -> Result<ExitStatus, Failure> {
    let text =
        SigningKey::generate().ok_or_else(|| Failure::engine("the system gives no randomness"))?;
    let key =
        SigningKey::parse(&text).ok_or_else(|| Failure::engine("a new key cannot be read back"))?;
    files::write_private(output, text.as_bytes()).map_err(Failure::usage)?;
    ui::note(&format!(
        "private key written to `{}`; the next line goes into the trust file, as `public`",
        output.display()
    ));
    ui::data(&key.public().to_string())?;
    Ok(ExitStatus::Success)
}

/// Signs a component: `runbook plugin sign`.
pub fn sign(file: &Path, key: &Path) -> Result<ExitStatus, Failure> {
    let text = files::read_private(key).map_err(Failure::usage)?;
    let key = std::str::from_utf8(&text).ok().and_then(SigningKey::parse).ok_or_else(|| {
        Failure::usage(format!("`{}` is not a signing key", key.display()))
            .hint("make one with `runbook plugin keygen`")
    })?;
    // Only a valid plugin is signed, not arbitrary bytes.
    let inspected = component_file::read_and_inspect(file)?;
    let path = signature_path(file);
    files::write_public(&path, key.sign(&inspected.digest).render().as_bytes())
        .map_err(Failure::usage)?;
    ui::note(&format!(
        "signed {} {} ({})",
        inspected.manifest.name, inspected.manifest.version, inspected.digest
    ));
    ui::warn_if_unwritten(ui::line(&path.display().to_string()), "what was written");
    Ok(ExitStatus::Success)
}

/// Checks the signature of a component: `runbook plugin verify`.
pub fn verify(context: &Context, file: &Path) -> Result<ExitStatus, Failure> {
    let inspected = component_file::read_and_inspect(file)?;
    let trust = TrustFiles::load(context)?;
    let name = &inspected.manifest.name;
    match trust.keys(name, &inspected.digest, read(file)?.as_ref()) {
        Ok(keys) if keys.is_empty() => Err(Failure::usage("no trust file is in force")
            .hint("name one with `--trust FILE`, or make /etc/runbook/trust.toml")),
        Ok(keys) => {
            let (version, keys) = (&inspected.manifest.version, keys.join("` and `"));
            ui::data(&format!(
                "{name} {version}: trusted, signed by `{keys}`\n{}",
                inspected.digest
            ))?;
            Ok(ExitStatus::Success)
        }
        Err((trust, untrusted)) => Err(refusal(name, (file, trust), &untrusted)),
    }
}
