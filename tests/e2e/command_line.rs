use crate::home;

#[test]
fn every_exit_status_is_documented() {
    let out = home().run(&["help", "exit-codes"]).status(0).stdout;
    for code in ["  0  ", "  1  ", "  2  ", "  3  ", "  4  ", "  5  ", "  6  ", "  7  ", "124  ", "130  ", "143  "] {
        assert!(out.contains(code), "{code:?} in\n{out}");
    }
}

#[test]
fn completions_are_scripts_for_each_shell() {
    for (shell, sign) in
        [("bash", "-F _clap_complete_runbook runbook"), ("zsh", "#compdef runbook"), ("fish", "--command runbook")]
    {
        home().run(&["completions", shell]).status(0).out(sign);
    }
}

#[test]
fn bundled_plugins_are_listed_and_inspected_without_running_them() {
    let env = home();
    let list = env.run(&["plugin", "list"]).status(0).stdout;
    for operation in
        ["http:get", "postgres:dump", "docker:stop", "sqlite:backup", "webhook:post", "slack:post", "sql:query", "smoke:run"]
    {
        assert!(list.contains(operation), "{operation} in\n{list}");
    }
    env.run(&["plugin", "inspect", "docker"]).status(0).out("docker.stop").out("runbook:docker/control@1.0.0").out("sha256:");
    env.run(&["plugin", "inspect", "dokcer"]).status(2).err("did you mean `docker`?");
}

#[test]
fn doctor_says_where_everything_is() {
    home().run(&["doctor"]).status(0).out("journal can be written").out("ok");
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    home().run(&["exek"]).status(2).err("exek");
}

#[test]
fn runs_of_a_new_journal_are_none() {
    home().run(&["runs"]).status(0).err("no run has been made yet");
}

#[test]
fn version_is_printed() {
    home().run(&["--version"]).status(0).out("runbook 0.1.0");
}
