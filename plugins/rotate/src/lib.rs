//! The bundled plugin `rotate`: gives a database role a new password that nobody sees.

use runbook_sdk::prelude::*;
use runbook_sdk::secrets::{PasswordState, RotatedRole, SecretSlot};

/// There is nothing to say: the slots name the role and its secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {}

/// Whether a new password was set.
#[derive(Serialize, JsonSchema)]
struct Output {
    /// Always true: the store has the new password, and a session was opened with it.
    rotated: bool,
}

struct Password;

fn secret() -> SecretSlot {
    SecretSlot::slot(slot!("secret"))
}

impl Step for Password {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, _input: &Input) -> Result<Proposal> {
        let status = secret().observe(slot!("admin"), slot!("login"))?;
        let RotatedRole { role, server, secret } = &status.rotated_role;
        let effects = vec![
            effect(
                "secrets.rotate",
                "secret",
                format!("make a new password and keep it in {secret}"),
            ),
            effect(
                "sql.execute",
                "admin",
                format!("set it as the password of role `{role}` at {server}"),
            ),
        ];
        let summary = format!("give role `{role}` at {server} a new password, kept in {secret}");
        Ok(Proposal { effects, summary, before: state(PasswordState::Kept) })
    }

    fn apply(_job: &Job, _input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let RotatedRole { role, server, secret } =
            secret().rotate(slot!("admin"), slot!("login"))?;
        let summary = format!("role `{role}` at {server} has a new password, kept in {secret}");
        Ok(Completion::changed(summary, Output { rotated: true }))
    }

    fn observe(_job: &Job, _input: &Input) -> Result<Json> {
        secret().observe(slot!("admin"), slot!("login")).map(|status| state(status.state))
    }

    fn undo(_job: &Job, _input: &Input, _before: &Json) -> Result<Completion<Json>> {
        let RotatedRole { role, server, secret } =
            secret().restore(slot!("admin"), slot!("login"))?;
        let summary = format!(
            "role `{role}` at {server} has the password again that {secret} had before the step"
        );
        Ok(Completion::changed(summary, Json::Null))
    }
}

/// What the host compares: whether the role has a password that this step made.
fn state(state: PasswordState) -> Json {
    let password = match state {
        PasswordState::Kept => "the value of the secret, not made by this step",
        PasswordState::Rotated => "the value of the secret, made by this step",
        PasswordState::HalfDone => "not the value of the secret: a rotation is half done",
    };
    json!({ "password": password })
}

runbook_sdk::plugin! {
    steps: { "password" => Password },
}
