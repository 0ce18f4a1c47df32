//! The origins beside that of the base to which an `http` target may be redirected.

use super::HostPath;
use super::base_url::{HttpBase, parse_base};
use runbook_document::{Reader, Spanned};
use url::Url;

/// Reads `redirect_origins = ["https://cdn.example"]`. Each is a scheme, a host and a port. One
/// that could never be followed is an error.
pub(super) fn read_redirect_origins(
    reader: &mut Reader<'_>,
    base: Option<&HttpBase>,
    redirects: u32,
    socket: Option<&HostPath>,
) -> Vec<Url> {
    let Some(texts) = reader.optional::<Vec<Spanned<String>>>("redirect_origins") else {
        return Vec::new();
    };
    if let Some(reason) = no_effect(redirects, socket).filter(|_| !texts.value.is_empty()) {
        let message = format!("`redirect_origins` has no effect: {reason}");
        reader.error("E0108", texts.span, message, "which redirects?");
        return Vec::new();
    }
    let mut origins = Vec::new();
    for text in texts.value {
        match parse_origin(&text.value, base) {
            Ok(origin) => origins.push(origin),
            Err(reason) => {
                let message = format!(
                    "`{}` cannot be a redirect origin: {reason}",
                    text.value.escape_debug()
                );
                reader.error("E0103", text.span, message, "such as `https://cdn.example`");
            }
        }
    }
    origins
}

fn no_effect(redirects: u32, socket: Option<&HostPath>) -> Option<&'static str> {
    if socket.is_some() {
        Some("a target with a `socket` is redirected only within itself")
    } else if redirects == 0 {
        Some("`redirects` says how many are followed, and it is 0")
    } else {
        None
    }
}

fn parse_origin(text: &str, base: Option<&HttpBase>) -> Result<Url, &'static str> {
    let origin = parse_base(text)?;
    if origin.path() != "/" {
        return Err("it has a path; an origin is a scheme, a host and a port");
    }
    if text.contains('*') {
        return Err("it is a pattern; each origin is written out");
    }
    if let Some(HttpBase::Url(base)) = base {
        if base.origin() == origin.origin() {
            return Err("it is the origin of the target itself, to which every redirect may lead");
        }
        if base.scheme() == "https" && origin.scheme() == "http" {
            return Err("the target is encrypted, and no redirect leads from `https` to `http`");
        }
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use crate::targets::http::tests::messages;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port_that_a_redirect_can_lead_to() {
        for origin in [
            "https://cdn.example/path",
            "https://cdn.example/?a=b",
            "https://user@cdn.example",
            "cdn.example",
            "ftp://cdn.example",
            "https://*.example",
            "*",
            "http://h",
            "http://h:80/",
        ] {
            let line = format!("redirects = 1\nredirect_origins = [\"{origin}\"]");
            assert!(messages(&line).starts_with("E0103 "), "{origin}: {}", messages(&line));
        }
        for origin in ["https://cdn.example", "https://h", "http://h:8080", "http://10.0.0.1/"] {
            let line = format!("redirects = 1\nredirect_origins = [\"{origin}\"]");
            assert_eq!(messages(&line), "", "{origin}");
        }
        for line in [
            "redirect_origins = [\"https://cdn.example\"]",
            "redirects = 0\nredirect_origins = [\"https://cdn.example\"]",
            "redirects = 1\nsocket = \"/run/a.sock\"\nredirect_origins = [\"https://c.example\"]",
        ] {
            assert!(messages(line).starts_with("E0108 "), "{line}: {}", messages(line));
        }
        assert_eq!(messages("redirect_origins = []"), "");
    }

    #[test]
    fn nothing_but_the_target_sets_the_cookies_that_it_keeps() {
        for key in ["request_headers = [\"Cookie\"]", "headers = { COOKIE = \"a=b\" }"] {
            let found = messages(&format!("cookies = true\n{key}"));
            assert!(found.starts_with("E0108 "), "{key}: {found}");
            assert_eq!(messages(&format!("cookies = false\n{key}")), "", "{key}");
        }
        assert_eq!(messages("cookies = true"), "");
    }
}
