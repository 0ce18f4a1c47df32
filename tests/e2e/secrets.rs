use crate::home;
use std::process::Command;

#[test]
fn a_secret_goes_in_and_comes_out_and_is_never_shown_on_the_way() {
    let env = home();
    let public = env.run(&["secret", "keygen"]).status(0).out("age1").stdout;
    env.run_with_input(&["secret", "set", "prod.age#orders-db", "--note", "the orders database"], "s3cret\n")
        .status(0)
        .without("s3cret");
    env.run(&["secret", "list", "prod.age"]).status(0).out("orders-db").out("the orders database").without("s3cret");
    assert_eq!(env.run(&["secret", "get", "prod.age#orders-db"]).status(0).stdout, "s3cret");
    assert!(!env.read("prod.age").contains("s3cret"));
    assert_eq!(env.read("prod.age.recipients").trim(), public.trim());
}

#[test]
fn the_age_tool_reads_what_we_write() {
    let env = home();
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    env.run_with_input(&with_key(&["secret", "set", "prod.age#token"]), "abc").status(0);
    let age = runbook_tests::program(&["/usr/bin/age", "/usr/local/bin/age"], "age");
    let output = Command::new(age).args(["-d", "-i", "key.txt", "prod.age"]).current_dir(env.path()).output().expect("age runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("abc"));
}

#[test]
fn a_wrong_key_and_a_wrong_name_are_clear_errors() {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#token"], "abc").status(0);
    env.run(&["secret", "get", "prod.age#tokem"]).status(2).err("did you mean `token`?");
    env.run(&["secret", "get", "none.age#token"]).status(2).err("there is no secret store");
    env.run(&["secret", "keygen", "--output", "other.txt"]).status(0);
    env.run(&["--identity", "other.txt", "secret", "get", "prod.age#token"]).status(2).err("prod.age").without("abc");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let env = home();
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    std::fs::set_permissions(env.path().join("key.txt"), std::fs::Permissions::from_mode(0o644)).expect("a mode can be set");
    env.run(&["--identity", "key.txt", "secret", "list", "x.age"]).status(2);
    env.run_with_input(&["--identity", "key.txt", "secret", "set", "x.age#a"], "abc").status(2).err("chmod 600");
}

#[test]
fn an_empty_value_changes_nothing() {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#token"], "\n").status(2).err("the value is empty");
    assert!(!env.path().join("prod.age").exists());
}

fn with_key<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--identity", "key.txt"], arguments].concat()
}
