//! Judges HTTP requests: paths, headers, secrets in them, and redirects.

use super::{HeaderValue, Judgment, Rule, withheld_reason};
use crate::capability::Verb;
use crate::grant::EffectiveGrants;
use crate::pattern::canonical_request_path;
use crate::targets::{HttpTarget, SecretPlace, TargetKind, unusable_header};
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
    if target.oauth2().is_some_and(|client| client.token_url == *server) {
        return Ok(());
    }
    Err((Rule::Auth, format!("`{server}` is not the token server of the target")))
}

pub(super) fn judge_redirect(target: &HttpTarget, base: &Url, to: &Url, hop: u32) -> Judgment {
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
    let path_below_base =
        to.path().strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let (true, Some(rest)) =
        (same_origin && to.username().is_empty() && to.password().is_none(), path_below_base)
    else {
        return Err((
            Rule::Redirect,
            "the server redirects to another place than the target".to_owned(),
        ));
    };
    let path = if rest.is_empty() { "/" } else { rest };
    let (path_only, _) =
        canonical_request_path(path).map_err(|error| (Rule::Redirect, error.to_string()))?;
    if target.paths.is_empty() || target.paths.iter().any(|pattern| pattern.matches(path_only)) {
        return Ok(());
    }
    Err((
        Rule::Redirect,
        "the server redirects to a path that the target does not allow".to_owned(),
    ))
}
