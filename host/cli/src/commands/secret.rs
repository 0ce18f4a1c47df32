//! `runbook secret`: manages age-encrypted stores of secrets.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::question;
use crate::shared_arguments::ListFormat;
use crate::{secret_store, ui};
use clap::Subcommand;
use jiff::Timestamp;
use runbook_secrets::{Recipients, Secret, SecretReference, files, keygen, lock_store};
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Make a private key and print its public half
    Keygen {
        /// Where to write it [default: runbook/identity.txt in the configuration directory]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Set a secret; its value is read from stdin or asked for, never taken from the command line
    Set {
        /// The store and the secret: `secrets/prod.age#orders-db`
        secret: String,
        /// What it is for
        #[arg(long)]
        note: Option<String>,
        /// Encrypt a new store with a passphrase instead of keys
        #[arg(long)]
        passphrase: bool,
    },
    /// Give an existing secret a new value, read from stdin or asked for
    Rotate {
        /// The store and the secret: `secrets/prod.age#orders-db`
        secret: String,
    },
    /// Encrypt a store again, for the recipients that are listed beside it now
    Rekey {
        /// The store: `secrets/prod.age`
        store: PathBuf,
    },
    /// List whom a store is encrypted to; add and remove encrypt it again
    Recipients {
        /// The store: `secrets/prod.age`
        store: PathBuf,
        /// A public key (`age1…`, `ssh-ed25519 …`) that may open the store from now on; may be
        /// given several times
        #[arg(long, value_name = "KEY")]
        add: Vec<String>,
        /// A public key that may not open it any more; it still opens every older copy, so rotate
        /// the secrets too
        #[arg(long, value_name = "KEY")]
        remove: Vec<String>,
    },
    /// Print a secret's value
    Get {
        /// The store and the secret: `secrets/prod.age#orders-db`
        secret: String,
    },
    /// List the names in a store, with the day each was last changed; never a value
    List {
        /// The store: `secrets/prod.age`
        store: PathBuf,
        /// End with exit code 1 if a secret was not changed for this long, such as `90d`
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        max_age: Option<std::time::Duration>,
        /// text, or json: each secret as a line
        #[arg(long, value_enum, default_value = "text")]
        format: ListFormat,
    },
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    runbook_document::parse_duration(text)
        .ok_or_else(|| format!("`{text}` is not a duration such as `90d`"))
}

/// Runs one of the commands under `runbook secret`.
pub fn run(context: &Context, command: SecretCommand) -> Result<ExitStatus, Failure> {
    match command {
        SecretCommand::Keygen { output } => generate(context, output),
        SecretCommand::Set { secret, note, passphrase } => set(context, &secret, note, passphrase),
        SecretCommand::Get { secret } => get(context, &secret),
        SecretCommand::Rotate { secret } => rotate(context, &secret),
        SecretCommand::Rekey { store } => rekey(context, &store),
        SecretCommand::Recipients { store, add, remove } => {
            recipients(context, &store, &add, &remove)
        }
        SecretCommand::List { store, max_age, format } => list(context, &store, max_age, format),
    }
}

/// Parses `age:PATH#NAME`; `age:` may be left out.
fn source(text: &str) -> Result<SecretReference, Failure> {
    let full = if text.starts_with("age:") { text.to_owned() } else { format!("age:{text}") };
    full.parse().map_err(|error| Failure::usage(error).hint("write `secrets/prod.age#name`"))
}

fn generate(context: &Context, output: Option<PathBuf>) -> Result<ExitStatus, Failure> {
    let path = output.unwrap_or_else(|| context.identities[0].clone());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let key = keygen(Timestamp::now());
    files::write_private(&path, key.text().as_bytes()).map_err(Failure::usage)?;
    ui::note(&format!(
        "private key written to `{}`; keep it, and give the next line to whoever encrypts for you",
        path.display()
    ));
    ui::warn_if_unwritten(
        ui::data(key.recipient()),
        "the public key, which stands in that file, too",
    );
    Ok(ExitStatus::Success)
}

fn set(
    context: &Context,
    secret: &str,
    note: Option<String>,
    passphrase: bool,
) -> Result<ExitStatus, Failure> {
    let source = source(secret)?;
    let path = source.path();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let value = read_value(context, source.name())?;
    let _store_lock = lock_store(path).map_err(Failure::usage)?;
    let existing = secret_store::open(context, path)?;
    let is_new = existing.is_none();
    let mut store = existing.unwrap_or_default();
    let recipients = match (is_new, passphrase) {
        (true, true) => secret_store::new_passphrase(context)?,
        (false, true) => {
            return Err(Failure::usage(format!(
                "`{}` exists; `--passphrase` is only for a new store",
                path.display()
            )));
        }
        (_, false) => secret_store::recipients(context, path, &store)?,
    };
    store.set(source.name(), value, Timestamp::now(), note).map_err(Failure::usage)?;
    let bytes = store.encrypt(&recipients).map_err(Failure::usage)?;
    files::write_public(path, &bytes).map_err(Failure::usage)?;
    ui::note(&format!("secret `{}` set in `{}`", source.name(), path.display()));
    Ok(ExitStatus::Success)
}

/// Reads a value from the terminal without echo, or from stdin without the final newline.
fn read_value(context: &Context, name: &str) -> Result<Secret, Failure> {
    use runbook_secrets::ExposeSecret as _;
    let bytes = match question::ask_secret(context, &format!("value of `{name}`")) {
        Some(typed) => typed.expose_secret().as_bytes().to_vec(),
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().take(1 << 20).read_to_end(&mut bytes)?;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            bytes
        }
    };
    if bytes.is_empty() {
        return Err(Failure::usage("the value is empty; nothing was changed")
            .hint("give it on stdin, as in `printf %s \"$VALUE\" | runbook secret set …`"));
    }
    Ok(Secret::new(bytes))
}

fn get(context: &Context, secret: &str) -> Result<ExitStatus, Failure> {
    let source = source(secret)?;
    let store = require_store(context, source.path())?;
    let Some(value) = store.get(source.name()) else {
        let failure = Failure::usage(format!(
            "`{}` has no secret `{}`",
            source.path().display(),
            source.name()
        ));
        return Err(match runbook_document::nearest(source.name(), store.names()) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!(
                "see `runbook secret list {}`",
                runbook_text::file_argument(&source.path().display().to_string())
            )),
        });
    };
    if let Some(pending) = store.pending_rotation(source.name()) {
        ui::warning(&format!("secret `{}`: {pending}", source.name()));
    }
    ui::raw_data(value.expose())?;
    Ok(ExitStatus::Success)
}

fn rotate(context: &Context, secret: &str) -> Result<ExitStatus, Failure> {
    let source = source(secret)?;
    let path = source.path();
    // The lock is not held while somebody types.
    let value = read_value(context, source.name())?;
    let _store_lock = lock_store(path).map_err(Failure::usage)?;
    let mut store = require_store(context, path)?;
    let (old, changed) = require_secret(&store, path, secret, source.name())?;
    if old.expose() == value.expose() {
        return Err(Failure::usage("the new value is the old one; nothing was changed"));
    }
    let recipients = secret_store::recipients(context, path, &store)?;
    let now = Timestamp::now();
    store.set(source.name(), value, now, None).map_err(Failure::usage)?;
    secret_store::write(context, path, &store, &recipients)?;
    let age = ui::pluralize(days(now, changed), "day");
    ui::note(&format!(
        "secret `{}` rotated in `{}`; the old value was {age} old",
        source.name(),
        path.display()
    ));
    Ok(ExitStatus::Success)
}

/// The value of a secret, and when it was set.
fn require_secret(
    store: &runbook_secrets::Store,
    path: &Path,
    reference: &str,
    name: &str,
) -> Result<(Secret, Timestamp), Failure> {
    store.get(name).zip(store.changed(name)).ok_or_else(|| {
        let missing = format!("`{}` has no secret `{name}`; nothing was changed", path.display());
        let reference = runbook_text::file_argument(reference);
        Failure::usage(missing).hint(format!("make it with `runbook secret set {reference}`"))
    })
}

fn rekey(context: &Context, path: &Path) -> Result<ExitStatus, Failure> {
    let _store_lock = lock_store(path).map_err(Failure::usage)?;
    let store = require_store(context, path)?;
    let recipients = secret_store::recipients(context, path, &store)?;
    secret_store::write(context, path, &store, &recipients)?;
    let count = recipients.keys().count();
    let whom =
        if count == 0 { "its passphrase".to_owned() } else { ui::pluralize(count, "recipient") };
    ui::note(&format!("`{}` encrypted again, for {whom}", path.display()));
    Ok(ExitStatus::Success)
}

fn recipients(
    context: &Context,
    path: &Path,
    add: &[String],
    remove: &[String],
) -> Result<ExitStatus, Failure> {
    let _store_lock = lock_store(path).map_err(Failure::usage)?;
    let store = require_store(context, path)?;
    let current = secret_store::recipients(context, path, &store)?;
    if current.keys().next().is_none() {
        return Err(Failure::usage(format!(
            "`{}` is encrypted with a passphrase, so it has no recipients",
            path.display()
        )));
    }
    let mut keys: Vec<String> = current.keys().map(str::to_owned).collect();
    for key in remove {
        let before = keys.len();
        keys.retain(|known| known != key && !known.starts_with(&format!("{key} ")));
        if keys.len() == before {
            return Err(Failure::usage(format!(
                "`{key}` is not among the recipients; nothing was changed"
            ))
            .hint(format!(
                "see `runbook secret recipients {}`",
                runbook_text::file_argument(&path.display().to_string())
            )));
        }
    }
    keys.extend(add.iter().map(|key| key.trim().to_owned()));
    let recipients_file = files::recipients_path(path);
    let text = keys.join("\n") + "\n";
    let new_recipients =
        Recipients::parse(&text, &recipients_file.display().to_string()).map_err(Failure::usage)?;
    if !add.is_empty() || !remove.is_empty() {
        // The store is written first: if this is interrupted, the same command again corrects the
        // recipients file.
        secret_store::write(context, path, &store, &new_recipients)?;
        let listed: String = new_recipients.keys().flat_map(|key| [key, "\n"]).collect();
        files::write_public(&recipients_file, listed.as_bytes()).map_err(Failure::usage)?;
    }
    if !remove.is_empty() {
        ui::note(
            "who was removed can still open every older copy of the file: rotate the secrets \
                  that matter",
        );
    }
    ui::data(&new_recipients.keys().collect::<Vec<_>>().join("\n"))?;
    Ok(ExitStatus::Success)
}

fn days(now: Timestamp, earlier: Timestamp) -> usize {
    usize::try_from(now.duration_since(earlier).as_secs() / 86_400).unwrap_or(0)
}

fn list(
    context: &Context,
    path: &Path,
    max_age: Option<std::time::Duration>,
    format: ListFormat,
) -> Result<ExitStatus, Failure> {
    let store = require_store(context, path)?;
    let now = Timestamp::now();
    let mut status = ExitStatus::Success;
    let mut rows = Vec::new();
    for name in store.names() {
        let changed = store.changed(name).unwrap_or(now);
        let is_old =
            max_age.is_some_and(|limit| now.duration_since(changed).unsigned_abs() > limit);
        if is_old {
            status = ExitStatus::Failed;
        }
        let pending = store.pending_rotation(name);
        if format == ListFormat::Json {
            let days = days(now, changed);
            let rotated_by = pending.as_ref().map(|pending| &pending.run);
            ui::json(
                &json!({ "name": name, "changed": changed, "days": days, "too_old": is_old, "note": store.note(name), "pending_rotation_of_run": rotated_by }),
            )?;
            continue;
        }
        if let Some(pending) = pending {
            ui::warning(&format!("secret `{name}`: {pending}"));
        }
        let age = ui::pluralize(days(now, changed), "day");
        let verdict = if is_old { "TOO OLD: rotate it" } else { "" };
        let note = store.note(name).unwrap_or_default().to_owned();
        rows.push(vec![
            name.to_owned(),
            changed.strftime("%Y-%m-%d").to_string(),
            age,
            verdict.to_owned(),
            note,
        ]);
    }
    if format == ListFormat::Text {
        ui::text(&runbook_report::table(&rows))?;
    }
    Ok(status)
}

fn require_store(context: &Context, path: &Path) -> Result<runbook_secrets::Store, Failure> {
    secret_store::open(context, path)?.ok_or_else(|| {
        Failure::usage(format!("there is no secret store `{}`", path.display())).hint(format!(
            "make it with `runbook secret set {}`",
            runbook_text::file_argument(&format!("{}#NAME", path.display()))
        ))
    })
}
