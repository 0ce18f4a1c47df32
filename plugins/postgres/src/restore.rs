//! `postgres:restore`

use crate::{directory, last_line, program};
use runbook_sdk::prelude::*;

/// Where the dump lies, and by which arguments it is restored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path below the directory, as `dump` wrote it.
    file: String,
    /// The digest that the file must have, as `dump` returned it.
    digest: Option<String>,
    /// Arguments of the program; each must fit the target's pattern.
    /// `--no-psqlrc --quiet --single-transaction --set=ON_ERROR_STOP=1 --no-password` if absent.
    #[serde(default = "default_restore_arguments")]
    arguments: Vec<String>,
}

fn default_restore_arguments() -> Vec<String> {
    ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--no-password"]
        .map(str::to_owned)
        .to_vec()
}

/// The file that was restored.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Path below the directory.
    file: String,
    /// `sha256:<hex>` of the file.
    digest: String,
}

pub(crate) struct Restore;

impl Step for Restore {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let file = directory().stat(&input.file)?;
        let summary = format!(
            "run `{}` ({}) against the database, all or nothing",
            input.file,
            Size(file.size_bytes)
        );
        Ok(Proposal::one(effect("process.run", "database", summary), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let digest = directory().digest(&input.file)?;
        if let Some(expected) = input.digest.as_ref().filter(|expected| **expected != digest) {
            return Err(Fault::conflict(
                "postgres.digest",
                format!("`{}` is {digest}, expected {expected}; nothing was restored", input.file),
            ));
        }
        let program =
            input.arguments.iter().fold(program(), runbook_sdk::process::Program::argument);
        let output = program.input_file(slot!("directory"), &input.file).run()?;
        if output.exit_code != 0 {
            let message =
                format!("the program ended with {}: {}", output.exit_code, last_line(&output));
            return Err(Fault::assertion("postgres.restore-failed", message));
        }
        Ok(Completion::changed(
            format!("restored from `{}`", input.file),
            Output { file: input.file.clone(), digest },
        ))
    }
}
