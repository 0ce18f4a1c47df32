//! The body of a response, to which later steps can refer.

use runbook_sdk::bounded_list::LIST_BYTES;
use runbook_sdk::http::Response;
use runbook_sdk::prelude::*;

/// The part of a body that is kept in an output.
pub(crate) struct Body {
    /// The whole body, if it is JSON and short enough.
    pub(crate) json: Option<Json>,
    /// Why a JSON body is not kept; `None` if it is kept or the body is not JSON.
    not_kept_reason: Option<String>,
}

impl Body {
    pub(crate) fn from_response(response: &Response) -> Self {
        if !looks_like_json(response) {
            return Self { json: None, not_kept_reason: None };
        }
        let not_kept_reason = match response.whole() {
            Err(fault) => Some(fault.message),
            Ok(body) if body.len() > LIST_BYTES => {
                Some(format!("the body has {} bytes, and an output holds {LIST_BYTES}", body.len()))
            }
            Ok(_) => None,
        };
        let json = if not_kept_reason.is_none() {
            serde_json::from_slice(&response.body).ok()
        } else {
            None
        };
        Self { json, not_kept_reason }
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.not_kept_reason.is_some()
    }

    /// The summary; with the reason, if a JSON body is not in the output.
    pub(crate) fn annotate(&self, summary: String) -> String {
        match &self.not_kept_reason {
            Some(why) => format!("{summary}; its JSON is not in the output: {why}"),
            None => summary,
        }
    }
}

/// Whether a body is JSON, by its content type or its first character. Parsing would not decide it,
/// because the body may have been cut off.
fn looks_like_json(response: &Response) -> bool {
    let is_declared = response.header("content-type").is_some_and(|kind| kind.contains("json"));
    is_declared
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
    fn json_is_kept_whole_or_the_summary_says_why_it_is_not() {
        let whole = Body::from_response(&response("application/json", "{\"a\":1}"));
        assert_eq!(
            (whole.json.clone(), whole.annotate("200".to_owned())),
            (Some(json!({ "a": 1 })), "200".to_owned())
        );
        let truncated =
            Body::from_response(&Response { truncated: true, ..response("text/plain", " [1,2") });
        assert!(truncated.is_truncated() && truncated.json.is_none());
        assert!(truncated.annotate("200".to_owned()).contains("`max_body`"));
        let large = Body::from_response(&response(
            "application/json",
            &format!("\"{}\"", "x".repeat(LIST_BYTES)),
        ));
        assert!(large.is_truncated() && large.json.is_none());
    }

    #[test]
    fn a_body_that_is_not_json_is_not_called_truncated() {
        let page =
            Body::from_response(&Response { truncated: true, ..response("text/html", "<p>") });
        assert!(!page.is_truncated() && page.json.is_none());
    }
}
