//! `runbook list`: lists the runbooks and suites of a project.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::kind_of_file::PROJECT_FILE;
use crate::project::{self, Listed, ListedParameter};
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

/// Lists the runbooks and suites of the project, by the names that commands take. It warns of a
/// file that cannot be read, and lists the others.
pub fn run(context: &Context, args: &ListArgs) -> Result<ExitStatus, Failure> {
    let (listed, unreadable) = project::runbooks(&context.project)?;
    for one in &unreadable {
        let file = runbook_text::line(&one.file.display().to_string()).into_owned();
        ui::warning(&format!(
            "`{file}` is not listed, because it cannot be read: {}",
            runbook_text::line(&one.reason)
        ));
    }
    match args.format {
        ListFormat::Json => listed.iter().try_for_each(|one| ui::json(&as_json(one)))?,
        ListFormat::Text if listed.is_empty() => ui::note(&nothing(context)),
        ListFormat::Text => {
            let headings =
                ["name", "what it does", "parameters", "file"].map(str::to_owned).to_vec();
            let rows: Vec<_> = ui::is_shown()
                .then_some(headings)
                .into_iter()
                .chain(listed.iter().map(row))
                .collect();
            ui::text(&runbook_report::table(&rows))?;
        }
    }
    Ok(ExitStatus::Success)
}

fn nothing(context: &Context) -> String {
    let folders: Vec<_> =
        context.project.folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
    format!(
        "there is no runbook in {}; a `{}` with `runbooks` says where they are",
        folders.join(", "),
        PROJECT_FILE
    )
}

fn row(one: &Listed) -> Vec<String> {
    let title =
        if one.is_suite && one.title.is_empty() { "checks".to_owned() } else { one.title.clone() };
    vec![one.name.clone(), title, parameters(&one.parameters), one.file.display().to_string()]
}

/// Those that have to be given as they are typed, then the others in brackets.
fn parameters(of: &[ListedParameter]) -> String {
    let required = of.iter().filter(|param| param.is_required).map(|param| param.name.clone());
    let others =
        of.iter().filter(|param| !param.is_required).map(|param| format!("[{}]", param.name));
    required.chain(others).collect::<Vec<_>>().join(" ")
}

fn as_json(one: &Listed) -> serde_json::Value {
    let parameter = |param: &ListedParameter| json!({ "name": param.name, "required": param.is_required, "help": param.help });
    json!({
        "name": one.name,
        "kind": if one.is_suite { "suite" } else { "runbook" },
        "title": one.title,
        "parameters": one.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "file": one.file.display().to_string(),
    })
}
