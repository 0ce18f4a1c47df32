//! Follows redirects. The gate decides about each hop. To another origin than that of the target goes
//! nothing that says who asks: no header of the target, no secret, no cookie, no client certificate.

use super::auth::signed_form;
use super::cookies::CookieJars;
use super::exchange::ServerResponse;
use super::{Request, RequestHead, ask_for_encoding, header_name, header_value, own_headers};
use crate::bindings::runbook::http::types::{Header, HeaderValue};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host};
use hyper::header::COOKIE;
use runbook_authority::gate::crosses_origins;
use runbook_authority::targets::{HttpTarget, TlsKeys};
use runbook_authority::{GateRequest, Target, Verb, VerbEffect};
use runbook_secrets::Secret;
use url::Url;

/// Whose origin an address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OriginOwner {
    /// That of the target.
    Target,
    /// Another one, to which the target may be redirected.
    Other,
}

impl OriginOwner {
    fn of(url: &Url, base: &Url) -> Self {
        if url.origin() == base.origin() { Self::Target } else { Self::Other }
    }
}

impl Host {
    /// Sends a request, and follows the redirects that the target allows.
    pub(super) async fn send_with_redirects(
        &mut self,
        http: &HttpTarget,
        target: &Target,
        request: &Request,
        body: &Secret,
        commit: &Commit,
    ) -> Result<ServerResponse, Fault> {
        let base = self.base(http).await?;
        let head = self.head(http, request).await?;
        let invalid = |error: runbook_authority::pattern::PathError| {
            Fault::new(FaultClass::Invalid, "http.path", error.to_string())
        };
        let mut url = http.url(&base, &request.path).map_err(invalid)?;
        let mut hop = 0;
        loop {
            let server_response = match OriginOwner::of(&url, &base) {
                OriginOwner::Target => {
                    self.request_target((http, target), request, (&url, &head, body), commit)
                        .await?
                }
                OriginOwner::Other => {
                    let head = self.anonymous_head(http, request)?;
                    self.exchange(http, target, request, (&url, &head, body), commit).await?
                }
            };
            let Some(next_url) = next_hop(http, request.verb, &url, &server_response) else {
                return Ok(server_response);
            };
            hop += 1;
            self.enter(&GateRequest::Redirect {
                slot: &request.slot,
                verb: request.verb,
                base: &base,
                from: &url,
                to: &next_url,
                hop,
            })?;
            if OriginOwner::of(&next_url, &base) == OriginOwner::Other {
                self.refuse_secret_in(target, &next_url)?;
            }
            url = next_url;
        }
    }

    /// Sends a request to the target's own origin, with all that says who asks.
    async fn request_target(
        &mut self,
        (http, target): (&HttpTarget, &Target),
        request: &Request,
        (url, head, body): (&Url, &RequestHead, &Secret),
        commit: &Commit,
    ) -> Result<ServerResponse, Fault> {
        let mut head = head.clone();
        let signed_form = signed_form(http, url);
        let url = &*signed_form;
        self.authenticate((http, target), request, (url, body), &mut head.headers).await?;
        if http.cookies
            && let Some(cookies) = self.cookie_jars().header(&request.slot, url)
        {
            head.headers.insert(COOKIE, header_value("cookie", cookies.as_bytes())?);
        }
        let server_response =
            self.exchange(http, target, request, (url, &head, body), commit).await?;
        if server_response.status == 401 {
            self.forget_token(http, target);
        }
        if http.cookies {
            self.cookie_jars().keep(&request.slot, url, &server_response.headers);
        }
        Ok(server_response)
    }

    fn cookie_jars(&mut self) -> &mut CookieJars {
        self.storage.value()
    }

    /// The head of a request to another origin: harmless headers of the guest, unless they have a
    /// secret in them, and the authorities of the target without its client certificate.
    fn anonymous_head(&self, http: &HttpTarget, request: &Request) -> Result<RequestHead, Fault> {
        let scrubber = self.scrubber();
        let mut headers = own_headers();
        for Header { name, value } in request.headers.iter().filter(|h| crosses_origins(&h.name)) {
            match value {
                HeaderValue::Plain(text) if scrubber.text(text) == text.as_str() => {
                    headers.insert(header_name(name)?, header_value(name, text.as_bytes())?);
                }
                HeaderValue::Plain(_) | HeaderValue::Secret(_) => {}
            }
        }
        let form = ask_for_encoding(&mut headers, &request.method);
        let tls_keys = TlsKeys { ca: http.tls_keys.ca.clone(), client: None };
        Ok(RequestHead { headers, tls_keys, form })
    }

    /// Refuses an address of another origin that has a secret in it: the server has put it there.
    fn refuse_secret_in(&self, target: &Target, url: &Url) -> Result<(), Fault> {
        if self.scrubber().text(url.as_str()) == url.as_str() {
            return Ok(());
        }
        let message = format!(
            "{}: the server redirects to {} with a secret in the address, so the redirect was not \
             followed",
            target.describe(),
            url.origin().ascii_serialization()
        );
        Err(Fault::new(FaultClass::Assertion, "http.redirect", message))
    }
}

/// The address of a redirect that is followed; otherwise the guest gets the response itself. After
/// a change only 307 and 308 are followed, which repeat the request: after the other codes clients
/// send a GET instead, and that the plugin has not asked for.
fn next_hop(
    http: &HttpTarget,
    verb: Verb,
    url: &Url,
    server_response: &ServerResponse,
) -> Option<Url> {
    let is_redirect = match verb.effect() {
        VerbEffect::Read => matches!(server_response.status, 301 | 302 | 303 | 307 | 308),
        VerbEffect::Change => matches!(server_response.status, 307 | 308),
    };
    if http.redirects == 0 || !is_redirect {
        return None;
    }
    let location = server_response.headers.get(hyper::header::LOCATION)?;
    url.join(&String::from_utf8_lossy(location.as_bytes())).ok()
}
