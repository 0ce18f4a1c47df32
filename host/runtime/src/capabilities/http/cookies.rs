//! The cookies of a target with `cookies = true`: they live in memory for one call of a plugin, and
//! each slot has its own. The plugin neither sees nor sets them.
//!
//! Only the target's own origin sets cookies and gets them back. So no list of public suffixes is
//! needed: whatever `Domain` says, a cookie goes to no other host.

use cookie_store::{CookieStore, RawCookie};
use hyper::header::{HeaderMap, SET_COOKIE};
use std::collections::BTreeMap;
use url::Url;

/// The most cookies of one slot, and the most bytes of one cookie with its attributes: what a
/// browser keeps at least (RFC 6265, section 6.1).
const MAX_COOKIES: usize = 50;
const MAX_COOKIE: usize = 4096;

/// The cookies of each slot, for one call of a plugin.
#[derive(Default)]
pub(super) struct CookieJars(BTreeMap<String, CookieStore>);

impl CookieJars {
    /// The value of the header `Cookie` for a request to `url`, an address of the target's own
    /// origin; `None` if there is no cookie for it.
    pub(super) fn header(&self, slot: &str, url: &Url) -> Option<String> {
        let is_encrypted = url.scheme() == "https";
        let matching = self.0.get(slot)?.matches(url);
        let mut cookies: Vec<_> = matching
            .into_iter()
            .filter(|cookie| is_encrypted || !cookie.secure().unwrap_or_default())
            .collect();
        // Those with the longest path are first (RFC 6265, section 5.4).
        cookies.sort_by(|one, other| {
            let (one_path, other_path): (&str, &str) = (&one.path, &other.path);
            (other_path.len(), one.name()).cmp(&(one_path.len(), other.name()))
        });
        let pairs: Vec<_> =
            cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Keeps the cookies that a response of `url` sets.
    pub(super) fn keep(&mut self, slot: &str, url: &Url, headers: &HeaderMap) {
        let jar = self.0.entry(slot.to_owned()).or_default();
        let lines = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        for line in lines.filter(|line| line.len() <= MAX_COOKIE) {
            let Ok(cookie) = RawCookie::parse(line) else { continue };
            let has_room = jar.iter_any().count() < MAX_COOKIES;
            if has_room && may_be_set(&cookie, url) {
                // What the store refuses, such as a cookie for another domain, is no cookie.
                let _ = jar.insert_raw(&cookie, url);
            }
        }
    }
}

/// Whether a server may set a cookie over this connection. The prefixes are those of browsers.
fn may_be_set(cookie: &RawCookie<'_>, url: &Url) -> bool {
    let is_secure = cookie.secure().unwrap_or_default();
    let name = cookie.name().to_ascii_lowercase();
    let is_encrypted = url.scheme() == "https";
    let is_host_cookie = cookie.domain().is_none() && cookie.path() == Some("/");
    let has_prefix = |prefix: &str| name.starts_with(prefix);
    (is_encrypted || !is_secure)
        && (is_secure || !(has_prefix("__secure-") || has_prefix("__host-")))
        && (is_host_cookie || !has_prefix("__host-"))
}
