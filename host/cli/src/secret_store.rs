//! Opens and writes secret stores, with the operator's keys or passphrase.

use crate::context::{Context, SettingOrigin};
use crate::failure::Failure;
use crate::question;
use crate::ui;
use runbook_authority::targets::RecipientList;
use runbook_secrets::{
    ExposeSecret as _, Identities, Prompt, Recipients, SecretString, Store, WorkFactor, files,
    listed_keys,
};
use std::collections::BTreeSet;
use std::path::Path;

/// The private keys of the operator. A missing default key is not an error, because a store may
/// need only a passphrase.
pub fn identities(context: &Context) -> Result<Identities, Failure> {
    let mut identities = Identities::default();
    for path in &context.identities {
        if context.identity_origin == SettingOrigin::Default && !path.exists() {
            continue;
        }
        let text = files::read_private(path).map_err(Failure::usage)?;
        identities.add(&text, &path.display().to_string()).map_err(Failure::usage)?;
    }
    Ok(identities)
}

/// Answers a question for a passphrase from the file that the operator names, or by asking on the
/// terminal.
pub fn prompt(context: &Context) -> Prompt {
    let context = context.clone();
    Prompt::new(move |question| match &context.passphrase_file {
        Some(path) => passphrase_in(path)
            .map_err(|failure| ui::failure(context.color_stderr.into(), &failure))
            .ok(),
        None => question::ask_secret(&context, &question.to_string()),
    })
    .with_messages(ui::note)
}

/// The first line of a passphrase file, which only its owner may be able to read.
fn passphrase_in(path: &Path) -> Result<SecretString, Failure> {
    let bytes = files::read_private(path).map_err(Failure::usage)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line)
        .map_err(|_| Failure::usage(format!("`{}` is not text", path.display())))?;
    Ok(SecretString::from(text.trim_end_matches('\r').to_owned()))
}

/// Opens a store; `None` if its file does not exist.
pub fn open(context: &Context, path: &Path) -> Result<Option<Store>, Failure> {
    let Some(bytes) = files::read(path).map_err(Failure::usage)? else { return Ok(None) };
    let origin = path.display().to_string();
    let store = Store::open(&bytes, &origin, &identities(context)?, &prompt(context));
    store.map(Some).map_err(|error| {
        let failure = Failure::usage(error);
        if context.identity_origin == SettingOrigin::Default {
            failure.hint("name the private key with `--identity FILE` or `RUNBOOK_IDENTITY`")
        } else {
            failure
        }
    })
}

/// The recipients of a store: those in its `.recipients` file; else its passphrase; else the
/// operator's own keys, which are then written to a `.recipients` file.
pub fn recipients(context: &Context, path: &Path, store: &Store) -> Result<Recipients, Failure> {
    let recipients_file = files::recipients_path(path);
    if let Some(text) = files::read(&recipients_file).map_err(Failure::usage)? {
        let text = String::from_utf8_lossy(&text).into_owned();
        return Recipients::parse(&text, &recipients_file.display().to_string())
            .map_err(Failure::usage);
    }
    if let Some(passphrase) = store.passphrase(WorkFactor::default()) {
        return Ok(passphrase);
    }
    let own_recipients: Vec<String> =
        identities(context)?.recipients().map(str::to_owned).collect();
    if own_recipients.is_empty() {
        return Err(Failure::usage(format!("`{}` has no recipients", path.display()))
            .hint("make a key with `runbook secret keygen`")
            .hint(format!("or write one recipient a line into `{}`", recipients_file.display())));
    }
    let text = own_recipients.join("\n") + "\n";
    files::write_public(&recipients_file, text.as_bytes()).map_err(Failure::usage)?;
    Recipients::parse(&text, &recipients_file.display().to_string()).map_err(Failure::usage)
}

/// The public keys that are listed beside a store; `None` if there is no list that can be read.
pub fn listed_recipients(store: &Path) -> Option<BTreeSet<String>> {
    let text = files::read(&files::recipients_path(store)).ok()??;
    Some(listed_keys(&String::from_utf8_lossy(&text)))
}

/// The recipients that a run may encrypt a store to: those that were listed when its runbook was
/// read, which are part of what was reviewed. Else its passphrase.
pub fn reviewed_recipients(
    path: &Path,
    store: &Store,
    reviewed: &RecipientList,
) -> Result<Recipients, Failure> {
    let recipients_file = files::recipients_path(path);
    let shown = recipients_file.display().to_string();
    let text = files::read(&recipients_file).map_err(Failure::usage)?;
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
    if RecipientList::from(text.as_deref().map(listed_keys)) != *reviewed {
        return Err(Failure::refused(format!(
            "`{shown}` was changed since the runbook was read, so nobody has reviewed whom the \
             store would be encrypted to"
        ))
        .hint("look at the list; then begin a new run"));
    }
    match text {
        Some(text) => Recipients::parse(&text, &shown).map_err(Failure::usage),
        None => store.passphrase(WorkFactor::default()).ok_or_else(|| {
            Failure::usage(format!("`{}` has no recipients", path.display())).hint(format!(
                "list them in `{shown}`, and run `runbook secret rekey {}`",
                runbook_text::file_argument(&path.display().to_string())
            ))
        }),
    }
}

/// The recipients for a new store with a passphrase, which is asked for twice.
pub fn new_passphrase(context: &Context) -> Result<Recipients, Failure> {
    if let Some(path) = &context.passphrase_file {
        return Ok(Recipients::passphrase(
            require_minimum_length(passphrase_in(path)?)?,
            WorkFactor::default(),
        ));
    }
    let ask = |question| {
        question::ask_secret(context, question)
            .ok_or_else(|| Failure::usage("a passphrase is needed, and nobody can be asked"))
    };
    let (first, second): (SecretString, SecretString) =
        (ask("new passphrase")?, ask("the same again")?);
    if first.expose_secret() != second.expose_secret() {
        return Err(Failure::usage("the two passphrases differ; nothing was changed"));
    }
    Ok(Recipients::passphrase(require_minimum_length(first)?, WorkFactor::default()))
}

fn require_minimum_length(passphrase: SecretString) -> Result<SecretString, Failure> {
    if passphrase.expose_secret().chars().count() < 8 {
        return Err(Failure::usage(
            "a passphrase needs at least 8 characters; nothing was changed",
        ));
    }
    Ok(passphrase)
}

/// Encrypts a store to `recipients` and writes it, unless the operator could not open it any more.
pub fn write(
    context: &Context,
    path: &Path,
    store: &Store,
    recipients: &Recipients,
) -> Result<(), Failure> {
    let bytes = store.encrypt(recipients).map_err(Failure::usage)?;
    if recipients.keys().next().is_some()
        && let Err(error) = Store::open(
            &bytes,
            &path.display().to_string(),
            &identities(context)?,
            &prompt(context),
        )
    {
        return Err(Failure::usage(format!(
            "you could not open `{}` any more ({error}); nothing was changed",
            path.display()
        ))
        .hint("keep one of your own public keys among the recipients"));
    }
    files::write_public(path, &bytes).map_err(Failure::usage)
}
