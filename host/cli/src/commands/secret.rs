//! `runbook secret`: the age-encrypted store.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::{ui, vault};
use clap::Subcommand;
use jiff::Timestamp;
use runbook_secrets::{Secret, Source, files, keygen};
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
    /// Print a secret's value
    Get {
        /// The store and the secret: `secrets/prod.age#orders-db`
        secret: String,
    },
    /// List the names in a store, with the day each was last changed; never a value
    List {
        /// The store: `secrets/prod.age`
        store: PathBuf,
    },
}

/// Runs `runbook secret`.
pub fn run(context: &Context, command: SecretCommand) -> Result<ExitStatus, Failure> {
    match command {
        SecretCommand::Keygen { output } => generate(context, output),
        SecretCommand::Set { secret, note, passphrase } => set(context, &secret, note, passphrase),
        SecretCommand::Get { secret } => get(context, &secret),
        SecretCommand::List { store } => list(context, &store),
    }
}

/// `age:PATH#NAME`; the `age:` may be left out.
fn source(text: &str) -> Result<Source, Failure> {
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
    ui::data(key.recipient())?;
    Ok(ExitStatus::Success)
}

fn set(context: &Context, secret: &str, note: Option<String>, passphrase: bool) -> Result<ExitStatus, Failure> {
    let source = source(secret)?;
    let path = source.path();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let value = read_value(context, source.name())?;
    let _hold = files::hold(path).map_err(Failure::usage)?;
    let existing = vault::open(context, path)?;
    let is_new = existing.is_none();
    let mut store = existing.unwrap_or_default();
    let recipients = match (is_new, passphrase) {
        (true, true) => vault::new_passphrase(context)?,
        (false, true) => {
            return Err(Failure::usage(format!("`{}` exists; `--passphrase` is only for a new store", path.display())));
        }
        (_, false) => vault::recipients(context, path, &store)?,
    };
    store.set(source.name(), value, Timestamp::now(), note).map_err(Failure::usage)?;
    let bytes = store.encrypt(&recipients).map_err(Failure::usage)?;
    files::write_public(path, &bytes).map_err(Failure::usage)?;
    ui::note(&format!("secret `{}` set in `{}`", source.name(), path.display()));
    Ok(ExitStatus::Success)
}

/// The value from the terminal, unseen, or from stdin, without the newline at its end.
fn read_value(context: &Context, name: &str) -> Result<Secret, Failure> {
    use runbook_secrets::ExposeSecret as _;
    let bytes = match ui::ask_secret(context, &format!("value of `{name}`")) {
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
    let store = existing(context, source.path())?;
    let Some(value) = store.get(source.name()) else {
        let failure = Failure::usage(format!("`{}` has no secret `{}`", source.path().display(), source.name()));
        return Err(match runbook_document::nearest(source.name(), store.names()) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("see `runbook secret list {}`", source.path().display())),
        });
    };
    ui::raw_data(value.expose())?;
    Ok(ExitStatus::Success)
}

fn list(context: &Context, path: &Path) -> Result<ExitStatus, Failure> {
    let store = existing(context, path)?;
    let width = store.names().map(str::len).max().unwrap_or(0);
    let mut text = String::new();
    for name in store.names() {
        let changed = store.changed(name).map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default();
        let note = store.note(name).unwrap_or_default();
        text.push_str(format!("{name:width$}  {changed}  {note}").trim_end());
        text.push('\n');
    }
    ui::data(&text)?;
    Ok(ExitStatus::Success)
}

fn existing(context: &Context, path: &Path) -> Result<runbook_secrets::Store, Failure> {
    vault::open(context, path)?.ok_or_else(|| {
        Failure::usage(format!("there is no secret store `{}`", path.display()))
            .hint(format!("make it with `runbook secret set {}#NAME`", path.display()))
    })
}
