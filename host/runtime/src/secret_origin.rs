//! Reads a secret whose origin is a program or a server, with exactly what that origin grants.

use crate::capabilities::VaultAnswer;
use crate::host::{CallId, Host, HostCall};
use crate::limits::CallLimits;
use crate::services::Services;
use jiff::Timestamp;
use runbook_authority::EffectiveGrants;
use runbook_authority::targets::{ProgramOutput, SecretOrigin, source_slot};
use runbook_contract::Mode;
use runbook_secrets::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long reading one secret may take, all retries of the system included.
const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// A secret with what its source knows of it.
#[derive(Clone)]
pub struct FetchedSecret {
    /// Its value.
    pub value: Secret,
    /// When the value was last set.
    pub changed: Option<Timestamp>,
    /// When the source stops giving it.
    pub expires: Option<Timestamp>,
}

/// Reads secret `name` by the target that its origin names: it runs the program or asks the
/// server. The gate decides, and the audit log records, as for a call of a plugin; `run` is the id
/// of the run. `None` if the origin names no target.
///
/// # Errors
/// Why it cannot be read, for the operator, without secrets.
pub async fn fetch_from_target(
    name: &str,
    origin: &SecretOrigin,
    run: &str,
    services: &Services,
) -> Option<Result<FetchedSecret, String>> {
    origin.target()?;
    let id = CallId {
        run: run.to_owned(),
        step: source_slot(name),
        attempt: 1,
        plugin: Arc::from("runbook"),
        digest: Arc::from(""),
    };
    let mut host = Host::new(
        Arc::new(EffectiveGrants::of_source(name, origin)),
        Mode::Effects,
        Arc::new(services.clone()),
        Arc::new(CallLimits::default()),
        id,
        Instant::now() + READ_TIMEOUT,
    );
    let slot = source_slot(name);
    let fetched = {
        let mut call = HostCall::new(&mut host);
        match origin {
            SecretOrigin::Program(ProgramOutput { target, arguments }) => {
                let verb = EffectiveGrants::program_verb(target);
                let printed = call.program_secret((verb, &slot), arguments.clone(), name).await;
                printed.map(|value| FetchedSecret { value, changed: None, expires: None })
            }
            SecretOrigin::Vault(value) => call.vault_value(&slot, value).await.map(
                |VaultAnswer { value, changed, deleted }| FetchedSecret {
                    value,
                    changed,
                    expires: deleted,
                },
            ),
            SecretOrigin::Age(_)
            | SecretOrigin::Sops(_)
            | SecretOrigin::Credential(_)
            | SecretOrigin::Variable(_) => return None,
        }
    };
    Some(fetched.map_err(|fault| host.with_denial_reason(fault).message))
}
