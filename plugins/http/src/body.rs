//! The body of an answer, as later steps can refer to it.

use runbook_sdk::http::Response;
use runbook_sdk::kept::LIST_BYTES;
use runbook_sdk::prelude::*;

/// The part of a body that is kept in an output.
pub(crate) struct Body {
    /// The whole body, if it is JSON and short enough.
    pub(crate) json: Option<Json>,
    /// Why a JSON body is not kept; `None` if it is.
    cut: Option<String>,
}

impl Body {
    pub(crate) fn of(response: &Response) -> Self {
        if !looks_like_json(response) {
            return Self { json: None, cut: None };
        }
        let cut = match response.whole() {
            Err(fault) => Some(fault.message),
            Ok(body) if body.len() > LIST_BYTES => {
                Some(format!("the body has {} bytes, and an output holds {LIST_BYTES}", body.len()))
            }
            Ok(_) => None,
        };
        let json = if cut.is_none() { serde_json::from_slice(&response.body).ok() } else { None };
        Self { json, cut }
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.cut.is_some()
    }

    /// A summary, with the reason if the output has no body although it should.
    pub(crate) fn note(&self, summary: String) -> String {
        match &self.cut {
            Some(why) => format!("{summary}; its JSON is not in the output: {why}"),
            None => summary,
        }
    }
}

/// Whether a body is JSON, by its type or its first character: the rest of a body that was cut
/// tells nothing.
fn looks_like_json(response: &Response) -> bool {
    let named = response.header("content-type").is_some_and(|kind| kind.contains("json"));
    named
        || response
            .body
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            .is_some_and(|byte| matches!(byte, b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::http::Timing;

    fn response(kind: &str, body: &str) -> Response {
        let timing = Timing { dns_us: 0, connect_us: 0, tls_us: 0, first_byte_us: 0, total_us: 0 };
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Response {
            status: 200,
            headers,
            body: body.as_bytes().to_vec(),
            truncated: false,
            peer: String::new(),
            timing,
            path: "/".to_owned(),
        }
    }

    #[test]
    fn json_is_kept_whole_or_it_is_said_that_it_is_not() {
        let whole = Body::of(&response("application/json", "{\"a\":1}"));
        assert_eq!(
            (whole.json.clone(), whole.note("200".to_owned())),
            (Some(json!({ "a": 1 })), "200".to_owned())
        );
        let cut = Body::of(&Response { truncated: true, ..response("text/plain", " [1,2") });
        assert!(cut.is_truncated() && cut.json.is_none());
        assert!(cut.note("200".to_owned()).contains("`max_body`"));
        let large =
            Body::of(&response("application/json", &format!("\"{}\"", "x".repeat(LIST_BYTES))));
        assert!(large.is_truncated() && large.json.is_none());
    }

    #[test]
    fn a_page_that_is_no_json_misses_nothing() {
        let page = Body::of(&Response { truncated: true, ..response("text/html", "<p>") });
        assert!(!page.is_truncated() && page.json.is_none());
    }
}
