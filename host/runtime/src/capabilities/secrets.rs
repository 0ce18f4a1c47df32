//! Secrets: facts about the secret that a slot is bound to, and its plain text if that is granted.

use crate::bindings::runbook::secrets::{metadata, reveal};
use crate::fault::Fault;
use crate::host::{Host, HostCall};
use runbook_authority::{GateRequest, Verb};

impl metadata::Host for HostCall<'_> {
    async fn describe(&mut self, slot: String) -> Result<metadata::SecretInfo, Fault> {
        let name = self.secret_name(&slot, Verb::SecretsDescribe)?;
        let facts = self.describe_secret(&name).await?;
        let millis =
            |time: jiff::Timestamp| u64::try_from(time.as_millisecond()).unwrap_or_default();
        Ok(metadata::SecretInfo {
            name: facts.name,
            changed_ms: facts.changed.map(millis),
            expires_ms: facts.expires.map(millis),
        })
    }
}

impl reveal::Host for HostCall<'_> {
    async fn reveal(&mut self, slot: String) -> Result<Vec<u8>, Fault> {
        let name = self.secret_name(&slot, Verb::SecretsReveal)?;
        // From now on the scrubber knows the secret, and removes it from logs and responses.
        Ok(self.secret(&name).await?.expose().to_vec())
    }
}

impl Host {
    /// Reads the secret from its source.
    pub(super) async fn reach_secret(&mut self, slot: &str) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let name = target.secret().map(|secret| secret.secret.clone()).ok_or_else(Fault::denied)?;
        let facts = self.describe_secret(&name).await?;
        let changed =
            facts.changed.map(|changed| format!("; it was set on {}", changed.strftime("%F")));
        Ok(format!("it can be read{}", changed.unwrap_or_default()))
    }

    /// The name in `[secrets]` that a slot is bound to, if `verb` may be used on the slot.
    fn secret_name(&mut self, slot: &str, verb: Verb) -> Result<String, Fault> {
        self.enter(&GateRequest::Secret { slot, verb })?;
        let target = self.target(slot)?;
        target.secret().map(|secret| secret.secret.clone()).ok_or_else(Fault::denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::runbook::secrets::{metadata::Host as _, reveal::Host as _};
    use crate::fault::FaultClass;
    use crate::testing::host;
    use std::path::Path;

    const TARGETS: &str = "[targets.key]\nsecret = \"token\"\n";

    #[tokio::test]
    async fn a_secret_is_described_without_its_value_and_revealed_only_if_granted() {
        let mut describe_host =
            host(&[("key", &["secrets.describe"], "key")], TARGETS, Path::new("/"));
        let info =
            metadata::Host::describe(&mut HostCall::new(&mut describe_host), "key".to_owned())
                .await
                .unwrap();
        assert_eq!((info.name.as_str(), info.changed_ms), ("token", Some(0)));
        assert_eq!(
            HostCall::new(&mut describe_host).reveal("key".to_owned()).await.unwrap_err().class,
            FaultClass::Denied
        );
        assert!(describe_host.scrubber().is_empty(), "it was never fetched");
    }

    #[tokio::test]
    async fn a_revealed_secret_is_scrubbed_from_then_on() {
        let mut reveal_host = host(&[("key", &["secrets.reveal"], "key")], TARGETS, Path::new("/"));
        assert_eq!(
            HostCall::new(&mut reveal_host).reveal("key".to_owned()).await.unwrap(),
            b"s3cr3t-t0ken"
        );
        assert_eq!(reveal_host.scrubber().text("a s3cr3t-t0ken b"), "a [secret token] b");
        assert_eq!(
            HostCall::new(&mut reveal_host).describe("key".to_owned()).await.unwrap_err().class,
            FaultClass::Denied
        );
    }
}
