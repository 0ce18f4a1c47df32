//! Tries whether the server of a slot answers.

use super::connection::{Connection, Protocols};
use super::{Request, http_target};
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use hyper::Method;
use runbook_authority::gate::Rule;
use runbook_authority::pattern::PathPattern;
use runbook_authority::targets::HttpTarget;
use runbook_authority::{Verb, VerbEffect};

impl Host {
    /// Asks for the health of the server if the slot may. Otherwise sends HEAD or GET if it may, to the base or to the first path that the target names
    /// without a wildcard. Otherwise only connects.
    pub(in super::super) async fn reach_http_server(
        &mut self,
        slot: &str,
        verb: Verb,
    ) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let http = http_target(&target)?;
        if self.has_verb(slot, Verb::HttpHealth) {
            return self.reach_grpc_server(slot).await;
        }
        let request = [(Verb::HttpHead, Method::HEAD), (Verb::HttpGet, Method::GET)]
            .into_iter()
            .find(|(verb, _)| self.has_verb(slot, *verb))
            .zip(path_to_ask_for(http));
        let Some(((verb, method), path)) = request else {
            return self.connect_only(slot, verb).await;
        };
        let (headers, body, secrets) = (Vec::new(), Vec::new(), Vec::new());
        let asked = format!("{method} {path}");
        let slot_name = slot.to_owned();
        let request = Request { slot: slot_name, verb, method, path, headers, body, secrets };
        let response = match self.http(request).await {
            Ok(response) => response,
            Err(fault) if self.is_path_denial(&fault) => {
                return self.connect_only(slot, verb).await;
            }
            Err(fault) => return Err(fault),
        };
        let answer = format!("{asked} is answered with {} by {}", response.status, response.peer);
        match response.status {
            401 | 403 | 407 => {
                let message = format!("{}: {answer}", target.describe());
                Err(Fault::new(FaultClass::Denied, "http.login", message))
            }
            _ => Ok(answer),
        }
    }

    /// Any answer of a health service will do: what is tried is whether there is one.
    async fn reach_grpc_server(&mut self, slot: &str) -> Result<String, Fault> {
        let answer = self.health(slot.to_owned(), "").await?;
        Ok(format!("the health service of {} answers", answer.peer))
    }

    fn is_path_denial(&self, fault: &Fault) -> bool {
        fault.class == FaultClass::Denied
            && self.last_denied_rule().is_some_and(|rule| rule != Rule::Address)
    }

    async fn connect_only(&mut self, slot: &str, verb: Verb) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let http = http_target(&target)?;
        let base = self.base(http).await?;
        let server = (&base, &http.tls_keys);
        let opened = self.connect(http, (slot, verb), server, Protocols::Any).await;
        let Connection { peer, .. } =
            opened.map_err(|why| why.into_fault(&target.describe(), VerbEffect::Read))?;
        Ok(format!("{peer} accepts a connection; the slot lets no request be tried"))
    }
}

/// The base if the target does not limit the paths, or its first path without a wildcard.
fn path_to_ask_for(http: &HttpTarget) -> Option<String> {
    if http.paths.is_empty() {
        return Some("/".to_owned());
    }
    let mut paths = http.paths.iter().map(PathPattern::as_str);
    paths.find(|path| !path.contains('*')).map(str::to_owned)
}
