//! Requests: paths, headers, secrets in them, addresses and redirects.

use super::{HeaderValue, Judged, Rule, too_narrow};
use crate::capability::Verb;
use crate::grant::Effective;
use crate::pattern::canonical_request_path;
use crate::targets::{HttpTarget, SecretPlace, TargetKind, unusable_header};
use url::Url;

/// Headers that any plugin may set.
const FREE_HEADERS: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "user-agent",
    "if-none-match",
    "if-modified-since",
];

pub(super) fn judge_request(
    effective: &Effective,
    slot: &str,
    target: &HttpTarget,
    path: &str,
    headers: &[(&str, HeaderValue<'_>)],
) -> Judged {
    let (plain, _) = canonical_request_path(path)
        .map_err(|error| (Rule::Path, format!("`{}`: {error}", path.escape_debug())))?;
    if !target.paths.is_empty() && !target.paths.iter().any(|pattern| pattern.matches(plain)) {
        let allowed: Vec<_> =
            target.paths.iter().map(|pattern| format!("`{}`", pattern.as_str())).collect();
        return Err((Rule::Path, format!("`{plain}` is none of {}", allowed.join(", "))));
    }
    headers.iter().try_for_each(|(name, value)| judge_header(effective, slot, target, name, *value))
}

pub(super) fn judge_header(
    effective: &Effective,
    slot: &str,
    target: &HttpTarget,
    name: &str,
    value: HeaderValue<'_>,
) -> Judged {
    let name = name.to_ascii_lowercase();
    let shown = name.escape_debug();
    if let Some(why) = unusable_header(&name) {
        return Err((Rule::Header, format!("`{shown}` {why}")));
    }
    if target.sets(&name) {
        return Err((Rule::Header, format!("`{shown}` is set by the target")));
    }
    match value {
        HeaderValue::Plain(text) if text.chars().any(|c| c.is_control() && c != '\t') => {
            Err((Rule::Header, format!("the value of `{shown}` has a control character")))
        }
        HeaderValue::Plain(_)
            if FREE_HEADERS.contains(&name.as_str()) || target.request_headers.contains(&name) =>
        {
            Ok(())
        }
        HeaderValue::Plain(_) => {
            Err((Rule::Header, format!("`{shown}` is not among `request_headers`")))
        }
        HeaderValue::Secret(secret_slot) => {
            judge_position(effective, slot, secret_slot, &SecretPlace::Header(name))
        }
    }
}

/// Whether the secret of `secret_slot` may go into this place of a request on `http_slot`.
pub(super) fn judge_position(
    effective: &Effective,
    http_slot: &str,
    secret_slot: &str,
    place: &SecretPlace,
) -> Judged {
    let denied = |why: &str| {
        let shown = match place {
            SecretPlace::Header(name) => format!("header `{name}`"),
            SecretPlace::Json(pointer) => format!("JSON `{}` of the body", pointer.escape_debug()),
            SecretPlace::Form(name) => format!("field `{}` of the form", name.escape_debug()),
        };
        Err((
            Rule::Position,
            format!(
                "secret slot `{}` in {shown} of `{http_slot}`: {why}",
                secret_slot.escape_debug()
            ),
        ))
    };
    if let Some(conditional) = effective.conditional_verb(secret_slot, Verb::SecretsUse)
        && !conditional.need.is_granted()
    {
        return denied(&too_narrow(conditional));
    }
    let Some(grant) = effective.get(secret_slot) else { return denied("the slot is not bound") };
    let TargetKind::Secret(secret) = &grant.target.kind else {
        return denied("the slot is not bound to a secret");
    };
    if !grant.verbs.contains(&Verb::SecretsUse) {
        return denied("`use` is not granted");
    }
    if secret
        .positions
        .iter()
        .any(|position| position.slot == http_slot && position.place == *place)
    {
        return Ok(());
    }
    let line = match place {
        SecretPlace::Header(name) => format!("header = {name:?}"),
        SecretPlace::Json(pointer) => format!("json = {pointer:?}"),
        SecretPlace::Form(name) => format!("form = {name:?}"),
    };
    denied(&format!(
        "it is not among the target's `positions`; add {{ slot = {http_slot:?}, {line} \
                     }} if that is right"
    ))
}

/// Whether the target has its tokens from this server.
pub(super) fn judge_token(target: &HttpTarget, server: &Url) -> Judged {
    if target.oauth2().is_some_and(|client| client.token_url == *server) {
        return Ok(());
    }
    Err((Rule::Auth, format!("`{server}` is not the token server of the target")))
}

pub(super) fn judge_redirect(target: &HttpTarget, base: &Url, to: &Url, hop: u32) -> Judged {
    if hop > target.redirects {
        return Err((
            Rule::Redirect,
            format!("the server redirects, and the target allows {} redirects", target.redirects),
        ));
    }
    let same_origin = base.scheme() == to.scheme()
        && base.host() == to.host()
        && base.port_or_known_default() == to.port_or_known_default();
    let prefix = base.path().trim_end_matches('/');
    let below =
        to.path().strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let (true, Some(rest)) =
        (same_origin && to.username().is_empty() && to.password().is_none(), below)
    else {
        return Err((
            Rule::Redirect,
            "the server redirects to another place than the target".to_owned(),
        ));
    };
    let path = if rest.is_empty() { "/" } else { rest };
    let (plain, _) =
        canonical_request_path(path).map_err(|error| (Rule::Redirect, error.to_string()))?;
    if target.paths.is_empty() || target.paths.iter().any(|pattern| pattern.matches(plain)) {
        return Ok(());
    }
    Err((
        Rule::Redirect,
        "the server redirects to a path that the target does not allow".to_owned(),
    ))
}
