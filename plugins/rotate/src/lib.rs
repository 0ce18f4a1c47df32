//! The bundled plugin `rotate`: gives a database role a new password that nobody sees.

use runbook_sdk::prelude::*;
use runbook_sdk::secrets::SecretSlot;

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
        let effects = vec![
            effect("secrets.rotate", "secret", "make a new password and keep it in the store"),
            effect("sql.execute", "admin", "set it as the password of the role of `login`"),
        ];
        let summary = "give the role of `login` a new password".to_owned();
        // No plugin can compare two passwords.
        Ok(Proposal { effects, summary, before: Json::Null })
    }

    fn apply(_job: &Job, _input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        secret().rotate(slot!("admin"), slot!("login"))?;
        Ok(Completion::changed("the role has a new password", Output { rotated: true }))
    }

    fn undo(_job: &Job, _input: &Input, _before: &Json) -> Result<Completion<Json>> {
        secret().restore(slot!("admin"), slot!("login"))?;
        Ok(Completion::changed("the role has its old password again", Json::Null))
    }
}

runbook_sdk::plugin! {
    steps: { "password" => Password },
}
