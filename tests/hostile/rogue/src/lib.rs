//! A hostile plugin: each operation tries one attack.
#![allow(clippy::unwrap_used, reason = "it is meant to go wrong")]

use runbook_sdk::prelude::*;

/// No input.
#[derive(Deserialize, JsonSchema)]
struct NoInput {}

/// A path to request or read.
#[derive(Deserialize, JsonSchema)]
struct PathInput {
    /// What to ask for.
    path: String,
}

/// The text that an operation got.
#[derive(Serialize, JsonSchema)]
struct TextOutput {
    /// Text.
    text: String,
}

fn report_text(text: impl Into<String>) -> Result<Report<TextOutput>> {
    Ok(Report::pass("done", TextOutput { text: text.into() }))
}

fn noop(_job: &Job, _input: NoInput) -> Result<Report<TextOutput>> {
    let now = clock::now_ms();
    report_text(if now > 0 { "now" } else { "never" })
}

fn panic(_job: &Job, _input: NoInput) -> Result<Report<TextOutput>> {
    let nothing: Option<u8> = std::hint::black_box(None);
    report_text(nothing.expect("the reason of the panic").to_string())
}

fn allocate(_job: &Job, _input: NoInput) -> Result<Report<TextOutput>> {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn recurse(_job: &Job, _input: NoInput) -> Result<Report<TextOutput>> {
    #[expect(unconditional_recursion, reason = "that is what it does")]
    fn deeper(level: u64) -> u64 {
        let block = std::hint::black_box([level; 64]);
        std::hint::black_box(deeper(level + 1)) + block[3]
    }
    report_text(deeper(0).to_string())
}

fn spin(_job: &Job, _input: NoInput) -> Result<Report<TextOutput>> {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn shout(_job: &Job, _input: NoInput) -> Result<Report<TextOutput>> {
    for number in 0..20_000 {
        info!("line {number}");
    }
    report_text("shouted")
}

fn knock(_job: &Job, _input: NoInput) -> Result<Report<TextOutput>> {
    loop {
        if let Err(fault) = http::Endpoint::slot(slot!("api")).get("/")
            && fault.code == "limit.host-calls"
        {
            return Err(fault);
        }
    }
}

fn get(_job: &Job, input: PathInput) -> Result<Report<TextOutput>> {
    report_text(http::Endpoint::slot(slot!("api")).get(&input.path)?.text())
}

fn read(_job: &Job, input: PathInput) -> Result<Report<TextOutput>> {
    report_text(String::from_utf8_lossy(&files::Directory::slot(slot!("directory")).read(&input.path)?).into_owned())
}

fn tell(_job: &Job, input: PathInput) -> Result<Report<TextOutput>> {
    let secret = String::from_utf8_lossy(&secrets::SecretSlot::slot(slot!("key")).reveal()?).into_owned();
    warn!("it is {secret}");
    if input.path == "fault" {
        return Err(Fault::invalid("rogue.told", format!("it is {secret}")));
    }
    Ok(Report::pass(format!("it is {secret}"), TextOutput { text: format!("it is {secret}") }))
}

/// The actions to run, which the proposal does not contain.
#[derive(Deserialize, JsonSchema)]
struct ActionsInput {
    /// Each with its verb, its object, and its arguments.
    actions: Vec<(String, String, Vec<String>)>,
}

/// The results of the actions.
#[derive(Serialize, JsonSchema)]
struct ActionResults {
    /// `done`, or the code of the fault.
    results: Vec<String>,
}

/// Proposes nothing, and then runs the given actions.
struct UnplannedActions;

fn run_action(verb: &str, object: &str, arguments: &[String]) -> Result<()> {
    let database = sql::Database::slot(slot!("db"));
    let none: &[sql::Value] = &[];
    let statements: Vec<_> = arguments.iter().map(|argument| (argument.as_str(), none)).collect();
    match verb {
        "sql.execute" => database.execute(object, params![]).map(drop),
        "sql.transaction" => database.transaction(&statements).map(drop),
        "files.write" => files::Directory::slot(slot!("out")).write(object, b"x").map(drop),
        "process.run" => {
            let program = process::Program::slot(slot!("program"));
            arguments.iter().fold(program, process::Program::argument).run().map(drop)
        }
        other => Err(Fault::invalid("rogue.verb", other)),
    }
}

impl Step for UnplannedActions {
    type Input = ActionsInput;
    type Output = ActionResults;

    fn plan(_job: &Job, _input: &ActionsInput) -> Result<Proposal> {
        Ok(Proposal::nothing("nothing at all", Json::Null))
    }

    fn apply(_job: &Job, input: &ActionsInput, _proposal: &Proposal) -> Result<Completion<ActionResults>> {
        let run_one = |(verb, object, arguments): &(String, String, Vec<String>)| match run_action(verb, object, arguments) {
            Ok(()) => "done".to_owned(),
            Err(fault) => fault.code,
        };
        Ok(Completion::changed("done", ActionResults { results: input.actions.iter().map(run_one).collect() }))
    }
}

runbook_sdk::plugin! {
    probes: {
        "noop" => noop, "panic" => panic, "allocate" => allocate, "recurse" => recurse, "spin" => spin,
        "shout" => shout, "knock" => knock, "get" => get, "read" => read, "tell" => tell,
    },
    steps: { "depart" => UnplannedActions },
}
