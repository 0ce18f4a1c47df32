//! Judges HTTP requests: paths, headers, secrets in them, and redirects.

use super::{HeaderValue, Judgment, Rule, withheld_reason};
use crate::capability::{Verb, VerbEffect};
use crate::grant::EffectiveGrants;
use crate::pattern::canonical_request_path;
use crate::targets::{HttpTarget, SecretPlace, TargetKind, unusable_header, unusable_service};
use std::path::Path;
use url::Url;

/// Headers that any plugin may set.
const ALWAYS_ALLOWED_HEADERS: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "user-agent",
    "if-none-match",
    "if-modified-since",
];

pub(super) fn judge_http_request(
    grants: &EffectiveGrants,
    slot: &str,
    target: &HttpTarget,
    path: &str,
    headers: &[(&str, HeaderValue<'_>)],
) -> Judgment {
    let (path_only, _) = canonical_request_path(path)
        .map_err(|error| (Rule::Path, format!("`{}`: {error}", path.escape_debug())))?;
    if !target.paths.is_empty() && !target.paths.iter().any(|pattern| pattern.matches(path_only)) {
        let allowed_paths: Vec<_> =
            target.paths.iter().map(|pattern| format!("`{}`", pattern.as_str())).collect();
        return Err((Rule::Path, format!("`{path_only}` is none of {}", allowed_paths.join(", "))));
    }
    headers.iter().try_for_each(|(name, value)| judge_header(grants, slot, target, name, *value))
}

pub(super) fn judge_header(
    grants: &EffectiveGrants,
    slot: &str,
    target: &HttpTarget,
    name: &str,
    value: HeaderValue<'_>,
) -> Judgment {
    let name = name.to_ascii_lowercase();
    let shown_name = name.escape_debug();
    if let Some(why) = unusable_header(&name) {
        return Err((Rule::Header, format!("`{shown_name}` {why}")));
    }
    if target.sets(&name) {
        return Err((Rule::Header, format!("`{shown_name}` is set by the target")));
    }
    match value {
        HeaderValue::Plain(text) if text.chars().any(|c| c.is_control() && c != '\t') => {
            Err((Rule::Header, format!("the value of `{shown_name}` has a control character")))
        }
        HeaderValue::Plain(_)
            if ALWAYS_ALLOWED_HEADERS.contains(&name.as_str())
                || target.request_headers.contains(&name) =>
        {
            Ok(())
        }
        HeaderValue::Plain(_) => {
            Err((Rule::Header, format!("`{shown_name}` is not among `request_headers`")))
        }
        HeaderValue::Secret(secret_slot) => {
            judge_position(grants, slot, secret_slot, &SecretPlace::Header(name))
        }
    }
}

/// Judges whether the secret of `secret_slot` may go into this place of a request on `http_slot`.
pub(super) fn judge_position(
    grants: &EffectiveGrants,
    http_slot: &str,
    secret_slot: &str,
    place: &SecretPlace,
) -> Judgment {
    let deny = |why: &str| {
        let place_text = match place {
            SecretPlace::Header(name) => format!("header `{name}`"),
            SecretPlace::Json(pointer) => format!("JSON `{}` of the body", pointer.escape_debug()),
            SecretPlace::Form(name) => format!("field `{}` of the form", name.escape_debug()),
        };
        Err((
            Rule::Position,
            format!(
                "secret slot `{}` in {place_text} of `{http_slot}`: {why}",
                secret_slot.escape_debug()
            ),
        ))
    };
    if let Some(conditional) = grants.conditional_verb(secret_slot, Verb::SecretsUse)
        && !conditional.need.is_granted()
    {
        return deny(&withheld_reason(conditional));
    }
    let Some(grant) = grants.get(secret_slot) else { return deny("the slot is not bound") };
    let TargetKind::Secret(secret) = &grant.target.kind else {
        return deny("the slot is not bound to a secret");
    };
    if !grant.verbs.contains(&Verb::SecretsUse) {
        return deny("`use` is not granted");
    }
    if secret
        .positions
        .iter()
        .any(|position| position.slot == http_slot && position.place == *place)
    {
        return Ok(());
    }
    let place_entry = match place {
        SecretPlace::Header(name) => format!("header = {name:?}"),
        SecretPlace::Json(pointer) => format!("json = {pointer:?}"),
        SecretPlace::Form(name) => format!("form = {name:?}"),
    };
    deny(&format!(
        "it is not among the target's `positions`; add {{ slot = {http_slot:?}, {place_entry} \
                     }} if that is right"
    ))
}

/// Whether the target has its tokens from this server.
pub(super) fn judge_token(target: &HttpTarget, server: &Url) -> Judgment {
    if target.token_url().is_some_and(|url| url == *server) {
        return Ok(());
    }
    Err((Rule::Auth, format!("`{server}` is not the token server of the target")))
}

/// Whether the health of a service may be asked for.
pub(super) fn judge_health(target: &HttpTarget, service: &str) -> Judgment {
    if let Some(reason) = unusable_service(service) {
        return Err((Rule::Service, format!("`{}` {reason}", service.escape_debug())));
    }
    match &target.services {
        Some(services) if !service.is_empty() && !services.iter().any(|known| known == service) => {
            Err((Rule::Service, format!("`{service}` is not among `services`")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether the target is reached through this socket.
pub(super) fn judge_socket(target: &HttpTarget, path: &Path) -> Judgment {
    if target.socket.as_ref().is_some_and(|socket| socket.real() == path) {
        return Ok(());
    }
    Err((Rule::Socket, format!("`{}` is not the socket of the target", path.display())))
}

/// Whether a connection to `host` over a network may be made for the target. With a socket, only
/// its token server is reached in this way.
pub(super) fn judge_network(target: &HttpTarget, host: &str) -> Judgment {
    let is_token_server =
        || target.oauth2().is_some_and(|client| client.token_url.host_str() == Some(host));
    if target.socket.is_none() || is_token_server() {
        return Ok(());
    }
    Err((Rule::Socket, "the target is reached through its socket alone".to_owned()))
}

/// One hop of a redirect.
pub(super) struct Hop<'a> {
    /// The base address of the target.
    pub(super) base: &'a Url,
    /// The address that redirects.
    pub(super) from: &'a Url,
    /// The address that it points to.
    pub(super) to: &'a Url,
    /// The number of hops, this one included.
    pub(super) number: u32,
}

pub(super) fn judge_redirect(target: &HttpTarget, verb: Verb, hop: &Hop<'_>) -> Judgment {
    let deny = |reason: &str| Err((Rule::Redirect, reason.to_owned()));
    let Hop { base, from, to, number } = hop;
    if *number > target.redirects {
        return Err((
            Rule::Redirect,
            format!("the server redirects, and the target allows {} redirects", target.redirects),
        ));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return deny("the server redirects to an address with a user name or a password");
    }
    if from.scheme() == "https" && to.scheme() != "https" {
        return deny("the server redirects from `https` to an address that is not encrypted");
    }
    if base.origin() == to.origin() {
        return judge_own_path(target, base, to);
    }
    if !target.redirect_origins.iter().any(|origin| origin.origin() == to.origin()) {
        return Err((
            Rule::Redirect,
            format!(
                "the server redirects to another place than the target, `{}`; add it to \
                 `redirect_origins` of the target if that is right",
                to.origin().ascii_serialization()
            ),
        ));
    }
    if verb.effect() == VerbEffect::Change {
        return deny("the server redirects a change to another origin, and only a read goes there");
    }
    canonical_request_path(to.path())
        .map(|_| ())
        .map_err(|error| (Rule::Redirect, error.to_string()))
}

/// Whether a path at the target's own origin is below its base and one of its `paths`.
fn judge_own_path(target: &HttpTarget, base: &Url, to: &Url) -> Judgment {
    let prefix = base.path().trim_end_matches('/');
    let path_below_base =
        to.path().strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(rest) = path_below_base else {
        return Err((
            Rule::Redirect,
            "the server redirects to another place than the target".to_owned(),
        ));
    };
    let path = if rest.is_empty() { "/" } else { rest };
    let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path_and_query = format!("{path}{query}");
    let (path_only, _) = canonical_request_path(&path_and_query)
        .map_err(|error| (Rule::Redirect, error.to_string()))?;
    if target.paths.is_empty() || target.paths.iter().any(|pattern| pattern.matches(path_only)) {
        return Ok(());
    }
    Err((
        Rule::Redirect,
        "the server redirects to a path that the target does not allow".to_owned(),
    ))
}

/// Whether a plugin's header may go to another origin than that of the target: only one of those
/// that any plugin may set, and no secret.
pub fn crosses_origins(name: &str) -> bool {
    ALWAYS_ALLOWED_HEADERS.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}
