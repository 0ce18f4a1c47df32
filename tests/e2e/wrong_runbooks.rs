//! Every mistake of `tests/wrong/*.toml` is answered by exactly what stands beside it: where it is, what is wrong, and what to do.
//!
//! The first line of the answer is the exit code. After a change of a message, `RUNBOOK_BLESS=1` writes the answers anew; read their diff.

use crate::{home, repository};
use std::fmt::Write as _;
use std::fs;

/// As many mistakes as are known to be made.
const LEAST: usize = 80;

#[test]
fn every_mistake_is_answered_as_it_stands_beside_it() {
    let folder = repository().join("tests/wrong");
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= LEAST, "only {} mistakes", files.len());
    let bless = std::env::var_os("RUNBOOK_BLESS").is_some();
    let env = home();
    for entry in fs::read_dir(folder.join("beside")).expect("what some of them nest is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        env.file(name, &fs::read_to_string(&path).expect("a runbook"));
    }
    let mut wrong = String::new();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        env.file(name, &fs::read_to_string(&path).expect("a runbook"));
        let finished = env.run(&["validate", name]);
        let found = format!("exit code {}\n{}", finished.status, finished.stderr);
        let answer = path.with_extension("txt");
        if bless {
            fs::write(&answer, &found).expect("the answer can be written");
        }
        let expected = fs::read_to_string(&answer).unwrap_or_default();
        if found != expected {
            let _ = write!(wrong, "\n{name}\n--- expected\n{expected}--- found\n{found}");
        }
        assert!(finished.status == 2 || finished.status == 6, "{name} is not refused: {found}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}
