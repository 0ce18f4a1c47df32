//! `runbook fmt`: changes only the formatting of a file.

use crate::{home, repository};
use std::os::unix::fs::PermissionsExt as _;

const UNTIDY: &str = "format=1\n\n\n\n[runbook]\nname   = \"untidy\" # what it is called\n\
                      [[step]]\n   id=\"look\"\nuses = \"http:get\"\nwith={path=\"/\"}\n";

const TIDY: &str = "format = 1\n\n[runbook]\nname = \"untidy\" # what it is called\n[[step]]\n\
                    id = \"look\"\nuses = \"http:get\"\nwith = { path = \"/\" }\n";

#[test]
fn an_untidy_file_is_formatted_once() {
    let env = home();
    let path = env.file("r.toml", UNTIDY);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("it is ours");
    env.run(&["fmt", "--check", "r.toml"]).status(1).err("r.toml is not formatted");
    assert_eq!(env.read("r.toml"), UNTIDY, "`--check` changes nothing");
    env.run(&["fmt", "r.toml"]).status(0).err("formatted r.toml");
    assert_eq!(env.read("r.toml"), TIDY);
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o640);
    env.run(&["fmt", "--check", "r.toml"]).status(0);
}

#[test]
fn a_file_that_is_no_toml_is_reported_and_left_unchanged() {
    let env = home();
    env.file("r.toml", "format = [\n");
    env.run(&["fmt", "r.toml"]).status(2).err("r.toml:");
    assert_eq!(env.read("r.toml"), "format = [\n");
    env.run(&["fmt", "missing.toml"]).status(2).err("missing.toml");
}

#[test]
fn shipped_runbooks_are_formatted() {
    let env = home();
    for file in
        ["runbooks/quickstart.toml", "runbooks/emergency-db.toml", "docs/pictures/orders.toml"]
    {
        env.run(&["fmt", "--check", &repository().join(file).display().to_string()]).status(0);
    }
}
