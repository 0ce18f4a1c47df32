//! A hostile plugin: each operation tries one attack.
#![allow(clippy::unwrap_used, reason = "it is meant to go wrong")]

use runbook_sdk::prelude::*;

/// Nothing.
#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// A path.
#[derive(Deserialize, JsonSchema)]
struct Path {
    /// What to ask for.
    path: String,
}

/// What was had.
#[derive(Serialize, JsonSchema)]
struct Had {
    /// Text.
    text: String,
}

fn had(text: impl Into<String>) -> Result<Report<Had>> {
    Ok(Report::pass("done", Had { text: text.into() }))
}

fn noop(_job: &Job, _input: Nothing) -> Result<Report<Had>> {
    let now = clock::now_ms();
    had(if now > 0 { "now" } else { "never" })
}

fn panic(_job: &Job, _input: Nothing) -> Result<Report<Had>> {
    let nothing: Option<u8> = std::hint::black_box(None);
    had(nothing.expect("the reason of the panic").to_string())
}

fn allocate(_job: &Job, _input: Nothing) -> Result<Report<Had>> {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn recurse(_job: &Job, _input: Nothing) -> Result<Report<Had>> {
    #[expect(unconditional_recursion, reason = "that is what it does")]
    fn deeper(level: u64) -> u64 {
        let block = std::hint::black_box([level; 64]);
        std::hint::black_box(deeper(level + 1)) + block[3]
    }
    had(deeper(0).to_string())
}

fn spin(_job: &Job, _input: Nothing) -> Result<Report<Had>> {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn shout(_job: &Job, _input: Nothing) -> Result<Report<Had>> {
    for number in 0..20_000 {
        info!("line {number}");
    }
    had("shouted")
}

fn knock(_job: &Job, _input: Nothing) -> Result<Report<Had>> {
    loop {
        if let Err(fault) = http::Endpoint::slot(slot!("api")).get("/")
            && fault.code == "limit.host-calls"
        {
            return Err(fault);
        }
    }
}

fn get(_job: &Job, input: Path) -> Result<Report<Had>> {
    had(http::Endpoint::slot(slot!("api")).get(&input.path)?.text())
}

fn read(_job: &Job, input: Path) -> Result<Report<Had>> {
    had(String::from_utf8_lossy(&files::Directory::slot(slot!("directory")).read(&input.path)?).into_owned())
}

fn tell(_job: &Job, input: Path) -> Result<Report<Had>> {
    let secret = String::from_utf8_lossy(&secrets::SecretSlot::slot(slot!("key")).reveal()?).into_owned();
    warn!("it is {secret}");
    if input.path == "fault" {
        return Err(Fault::invalid("rogue.told", format!("it is {secret}")));
    }
    Ok(Report::pass(format!("it is {secret}"), Had { text: format!("it is {secret}") }))
}

/// What to do, whatever was proposed.
#[derive(Deserialize, JsonSchema)]
struct Deeds {
    /// Each a verb, what it is done to, and what is done.
    deeds: Vec<(String, String, Vec<String>)>,
}

/// What came of each.
#[derive(Serialize, JsonSchema)]
struct Came {
    /// `done`, or the code of the fault.
    of: Vec<String>,
}

/// Proposes nothing, and does what it is told.
struct Depart;

fn deed(verb: &str, object: &str, words: &[String]) -> Result<()> {
    let database = sql::Database::slot(slot!("db"));
    let none: &[sql::Value] = &[];
    let statements: Vec<_> = words.iter().map(|word| (word.as_str(), none)).collect();
    match verb {
        "sql.execute" => database.execute(object, params![]).map(drop),
        "sql.transaction" => database.transaction(&statements).map(drop),
        "files.write" => files::Directory::slot(slot!("out")).write(object, b"x").map(drop),
        "process.run" => {
            let program = process::Program::slot(slot!("program"));
            words.iter().fold(program, process::Program::argument).run().map(drop)
        }
        other => Err(Fault::invalid("rogue.verb", other)),
    }
}

impl Step for Depart {
    type Input = Deeds;
    type Output = Came;

    fn plan(_job: &Job, _input: &Deeds) -> Result<Proposal> {
        Ok(Proposal::nothing("nothing at all", Json::Null))
    }

    fn apply(_job: &Job, input: &Deeds, _proposal: &Proposal) -> Result<Completion<Came>> {
        let came = |(verb, object, words): &(String, String, Vec<String>)| match deed(verb, object, words) {
            Ok(()) => "done".to_owned(),
            Err(fault) => fault.code,
        };
        Ok(Completion::changed("done", Came { of: input.deeds.iter().map(came).collect() }))
    }
}

runbook_sdk::plugin! {
    probes: {
        "noop" => noop, "panic" => panic, "allocate" => allocate, "recurse" => recurse, "spin" => spin,
        "shout" => shout, "knock" => knock, "get" => get, "read" => read, "tell" => tell,
    },
    steps: { "depart" => Depart },
}
