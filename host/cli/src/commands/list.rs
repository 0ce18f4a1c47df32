//! `runbook list`: lists the runbooks and suites of a project.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::kind_of_file::PROJECT_FILE;
use crate::project::{self, ListedParameter, ListedRunbook};
use crate::shared_arguments::ListFormat;
use crate::ui;
use clap::Args as ClapArgs;
use serde_json::json;

/// The arguments of `runbook list`.
#[derive(Debug, ClapArgs)]
pub struct ListArgs {
    /// text, or json: each runbook as a line
    #[arg(long, value_enum, default_value = "text")]
    pub format: ListFormat,
}

/// Lists the runbooks and suites of the project by name. Warns of files that cannot be read.
pub fn run(context: &Context, args: &ListArgs) -> Result<ExitStatus, Failure> {
    let (listed, unreadable) = project::runbooks(&context.project)?;
    for entry in &unreadable {
        let file = runbook_text::line(&entry.file.display().to_string()).into_owned();
        ui::warning(&format!(
            "`{file}` is not listed, because it cannot be read: {}",
            runbook_text::line(&entry.reason)
        ));
    }
    match args.format {
        ListFormat::Json => listed.iter().try_for_each(|entry| ui::json(&as_json(entry)))?,
        ListFormat::Text if listed.is_empty() => ui::note(&no_runbooks_note(context)),
        ListFormat::Text => {
            let headings =
                ["name", "what it does", "parameters", "file"].map(str::to_owned).to_vec();
            let rows: Vec<_> = ui::stdout_is_terminal()
                .then_some(headings)
                .into_iter()
                .chain(listed.iter().map(row))
                .collect();
            ui::text(&runbook_report::table(&rows))?;
        }
    }
    Ok(ExitStatus::Success)
}

fn no_runbooks_note(context: &Context) -> String {
    let folders: Vec<_> =
        context.project.folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
    format!(
        "there is no runbook in {}; a `{}` with `runbooks` says where they are",
        folders.join(", "),
        PROJECT_FILE
    )
}

fn row(entry: &ListedRunbook) -> Vec<String> {
    let title = if entry.is_suite && entry.title.is_empty() {
        "checks".to_owned()
    } else {
        entry.title.clone()
    };
    vec![entry.name.clone(), title, parameters(&entry.parameters), entry.file.display().to_string()]
}

/// The names of required parameters, then those of optional ones in brackets.
fn parameters(params: &[ListedParameter]) -> String {
    let required = params.iter().filter(|param| param.is_required).map(|param| param.name.clone());
    let others =
        params.iter().filter(|param| !param.is_required).map(|param| format!("[{}]", param.name));
    required.chain(others).collect::<Vec<_>>().join(" ")
}

fn as_json(entry: &ListedRunbook) -> serde_json::Value {
    let parameter = |param: &ListedParameter| json!({ "name": param.name, "required": param.is_required, "help": param.help });
    json!({
        "name": entry.name,
        "kind": if entry.is_suite { "suite" } else { "runbook" },
        "title": entry.title,
        "parameters": entry.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "file": entry.file.display().to_string(),
    })
}
