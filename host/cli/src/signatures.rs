//! Makes and checks signatures of plugins, and requires them where a trust file is in force.

use crate::component_file;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::project::Project;
use crate::{text_file, ui, writable};
use runbook_authority::Digest;
use runbook_authority::trust::{Signature, SigningKey, TrustError, TrustFile};
use runbook_document::Diagnostics;
use runbook_runtime::VerifiedComponent;
use runbook_secrets::files;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The trust files in force. Each of them must accept every plugin that is a file.
#[derive(Debug, Default)]
pub struct TrustFiles(Vec<(PathBuf, TrustFile)>);

impl TrustFiles {
    /// Reads the trust files of the host, the operator and the working directory.
    ///
    /// # Errors
    /// One of them cannot be read or has a mistake.
    pub fn load(context: &Context) -> Result<Self, Failure> {
        Self::of(&context.trust_files)
    }

    /// As [`Self::load`], with the trust files of these projects, too.
    pub fn with_projects(context: &Context, projects: &[Project]) -> Result<Self, Failure> {
        let all = context
            .trust_files
            .iter()
            .chain(projects.iter().filter_map(|project| project.trust.as_ref()));
        Self::of(all)
    }

    /// Reads these trust files.
    fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Self, Failure> {
        paths
            .into_iter()
            .map(|path| Ok((path.clone(), read_trust(path)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether no trust file is in force.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails unless each trust file accepts the signature of the component.
    pub fn require_signature(
        &self,
        file: &Path,
        plugin: &VerifiedComponent,
    ) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let name = &plugin.manifest().name;
        let signature = read(file)?;
        self.accepted_keys(name, plugin.digest(), signature.as_ref())
            .map(|_| ())
            .map_err(|(path, why)| refusal(name, (file, path), &why))
    }

    /// The names of the keys by which the trust files accept a plugin.
    ///
    /// # Errors
    /// The first trust file that accepts none, and why.
    fn accepted_keys(
        &self,
        name: &str,
        digest: &Digest,
        signature: Option<&Signature>,
    ) -> Result<Vec<&str>, (&Path, TrustError)> {
        let verdicts = self.0.iter().map(|(path, trust)| {
            match trust.judge(name, digest, signature, &today()) {
                Ok(key) => Ok(key.name.as_str()),
                Err(untrusted) => Err((path.as_path(), untrusted)),
            }
        });
        let mut names: Vec<&str> = verdicts.collect::<Result<_, _>>()?;
        names.dedup();
        Ok(names)
    }
}

fn read_trust(path: &Path) -> Result<TrustFile, Failure> {
    let source = text_file::source(path).map_err(|error| {
        Failure::refused(format!("the trust file `{}` cannot be read: {error}", path.display()))
    })?;
    writable::warn_if_world_writable("the trust file", path);
    let mut diagnostics = Diagnostics::default();
    TrustFile::parse(&source, &mut diagnostics)
        .ok_or(Failure::Findings { status: ExitStatus::Refused, diagnostics })
}

/// The failure for a plugin that a trust file does not accept.
fn refusal(name: &str, (file, trust): (&Path, &Path), untrusted: &TrustError) -> Failure {
    let help = match untrusted {
        TrustError::OtherDigest { .. } | TrustError::Forged { .. } => format!(
            "put back the file that was signed; or, if the change is right, have it reviewed and \
             signed: `runbook plugin sign {} --key FILE`",
            runbook_text::file_argument(&file.display().to_string())
        ),
        TrustError::Unsigned => {
            format!(
                "have it reviewed and signed: `runbook plugin sign {} --key FILE`",
                runbook_text::file_argument(&file.display().to_string())
            )
        }
        TrustError::UnknownKey { .. }
        | TrustError::OtherPlugins { .. }
        | TrustError::Expired { .. } => {
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

/// The status of the signature beside a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureStatus {
    /// The status in one line, for people.
    pub text: String,
    /// Whether all trust files in force accept it, and there is at least one.
    pub is_trusted: bool,
    /// Whether the signature is not of these bytes: the component or the signature was changed.
    pub is_wrong: bool,
}

/// The status of the signature beside a component, under the trust files in force.
pub fn status(
    trust: &TrustFiles,
    file: &Path,
    name: &str,
    digest: &Digest,
) -> Result<SignatureStatus, Failure> {
    let not_trusted = |text: String| SignatureStatus { text, is_trusted: false, is_wrong: false };
    let Some(signature) = read(file)? else { return Ok(not_trusted("none".to_owned())) };
    if let Err(untrusted) = signature.verify(digest) {
        return Ok(SignatureStatus {
            text: format!("NOT good: {untrusted}"),
            is_trusted: false,
            is_wrong: true,
        });
    }
    let verdict = format!("good, by key {}", signature.key);
    Ok(match trust.accepted_keys(name, digest, Some(&signature)) {
        Ok(names) if names.is_empty() => {
            not_trusted(format!("{verdict}; no trust file is in force"))
        }
        Ok(names) => {
            let text = format!(
                "{verdict}, which is `{}`, accepted for this plugin",
                names.join("` and `")
            );
            SignatureStatus { text, is_trusted: true, is_wrong: false }
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
    // Only a valid plugin is signed, never arbitrary bytes.
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
    match trust.accepted_keys(name, &inspected.digest, read(file)?.as_ref()) {
        Ok(accepted_keys) if accepted_keys.is_empty() => {
            Err(Failure::usage("no trust file is in force")
                .hint("name one with `--trust FILE`, or make /etc/runbook/trust.toml"))
        }
        Ok(accepted_keys) => {
            let (version, accepted_keys) =
                (&inspected.manifest.version, accepted_keys.join("` and `"));
            ui::data(&format!(
                "{name} {version}: trusted, signed by `{accepted_keys}`\n{}",
                inspected.digest
            ))?;
            Ok(ExitStatus::Success)
        }
        Err((trust, untrusted)) => Err(refusal(name, (file, trust), &untrusted)),
    }
}
