//! `postgres:dump`

use crate::{database, directory, last_line, program};
use runbook_sdk::prelude::*;

/// Where the dump is written, and by which arguments.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path below the directory. Compressed if it ends in `.zst`. Must not be there yet.
    file: String,
    /// Arguments of the program; each must fit the target's pattern. `--format=plain --no-password`
    /// if absent.
    #[serde(default = "default_dump_arguments")]
    arguments: Vec<String>,
}

fn default_dump_arguments() -> Vec<String> {
    vec!["--format=plain".to_owned(), "--no-password".to_owned()]
}

/// The file that was written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Path below the directory.
    file: String,
    /// Bytes of the file.
    size_bytes: u64,
    /// How many bytes the program wrote, before compression.
    dump_bytes: u64,
    /// `sha256:<hex>` of the file.
    digest: String,
}

pub(crate) struct Dump;

/// The state that the host compares: whether the file exists.
fn file_state(file: &str) -> Result<Json> {
    match directory().stat(file) {
        Ok(_) => Ok(json!({ "exists": true })),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(json!({ "exists": false })),
        Err(fault) => Err(fault),
    }
}

impl Step for Dump {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let before = file_state(&input.file)?;
        if before["exists"] == json!(true) {
            return Err(Fault::conflict(
                "postgres.file-exists",
                format!("`{}` is there already; a dump never replaces a file", input.file),
            ));
        }
        let size: String = database()
            .query("select pg_size_pretty(pg_database_size(current_database())) as size", &[])?
            .first()?
            .get("size")?;
        let summary = format!("dump the database ({size} on disk) to `{}`", input.file);
        let file = effect("files.write", &input.file, format!("write it to `{}`", input.file));
        Ok(Proposal {
            effects: vec![effect("process.run", "pg_dump", summary.clone()), file],
            summary,
            before,
        })
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let program =
            input.arguments.iter().fold(program(), runbook_sdk::process::Program::argument);
        let program_output = program.run_to_file(slot!("directory"), &input.file)?;
        if program_output.exit_code != 0 {
            let message = format!(
                "the program ended with {}: {}",
                program_output.exit_code,
                last_line(&program_output)
            );
            return Err(Fault::assertion("postgres.dump-failed", message));
        }
        if program_output.produced_bytes == 0 {
            return Err(Fault::assertion("postgres.dump-empty", "the program wrote nothing"));
        }
        let output = Output {
            file: input.file.clone(),
            size_bytes: program_output.size_bytes,
            dump_bytes: program_output.produced_bytes,
            digest: program_output.digest,
        };
        Ok(Completion::changed(
            format!(
                "{} in `{}`, {} before compression",
                Size(output.size_bytes),
                output.file,
                Size(output.dump_bytes)
            ),
            output,
        ))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        file_state(&input.file)
    }

    fn undo(_job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        if before["exists"] == json!(true) {
            return Ok(Completion::unchanged("the file was there before", Json::Null));
        }
        match directory().remove(&input.file) {
            Ok(()) => Ok(Completion::changed(format!("removed `{}`", input.file), Json::Null)),
            Err(fault) if fault.class == FaultClass::NotFound => {
                Ok(Completion::unchanged("there is no such file", Json::Null))
            }
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::last_line;
    use runbook_sdk::process::Output;

    fn output(stderr: &[u8], truncated: bool) -> Output {
        let digest = String::new();
        Output {
            exit_code: 1,
            stdout: Vec::new(),
            stderr: stderr.to_vec(),
            truncated,
            size_bytes: 0,
            produced_bytes: 0,
            digest,
        }
    }

    #[test]
    fn the_last_line_says_why_a_program_failed() {
        assert_eq!(
            last_line(&output(b"notice\npg_dump: error: no such database\n\n", false)),
            "pg_dump: error: no such database"
        );
        assert_eq!(last_line(&output(b"\n", false)), "it said nothing");
        assert!(
            last_line(&output(b"notice\n", true)).contains("`max_output`"),
            "the reason may be in what was cut"
        );
    }
}
