//! `http:post`

use crate::body::Body;
use crate::expectation::{Expectation, Header, Status};
use runbook_sdk::http::Endpoint;
use runbook_sdk::prelude::*;
use std::collections::BTreeMap;

/// What to send, and what the answer must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path below the target's address; its own if absent.
    #[serde(default = "root")]
    path: String,
    /// The body, which is sent as JSON: a table as an object, a text as a JSON text in quotes.
    body: Json,
    /// The status, or a list; any from 200 to 299 if absent.
    status: Option<Status>,
    /// Headers that the answer must have: a text that each contains, or `{ equals = "…" }`.
    headers: Option<BTreeMap<String, Header>>,
    /// Text that the answer must contain.
    contains: Option<String>,
    /// Text that the answer must be, byte for byte.
    body_equals: Option<String>,
    /// Values at paths such as `id` of a JSON answer.
    json: Option<BTreeMap<String, Json>>,
}

fn root() -> String {
    "/".to_owned()
}

/// What the server answered.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The status code of the answer, such as 200.
    status: u16,
    /// The answer, if it is JSON.
    body: Option<Json>,
    /// Whether it is JSON and too long to be kept: then `body` is absent, and the summary says why.
    truncated: bool,
}

pub(crate) struct Post;

impl Step for Post {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let summary =
            format!("POST {} with {} bytes of JSON", input.path, input.body.to_string().len());
        Ok(Proposal::one(effect("http.post", &input.path, summary), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let endpoint = Endpoint::slot(slot!("target")).header("content-type", "application/json");
        let response = endpoint.post(&input.path, input.body.to_string().as_bytes())?;
        let expectation = Expectation {
            status: input.status.as_ref(),
            headers: input.headers.as_ref(),
            contains: input.contains.as_deref(),
            body_equals: input.body_equals.as_deref(),
            json: input.json.as_ref(),
        };
        let assertions = expectation.compare(&response);
        if !assertions.all_hold() {
            return Err(Fault::assertion("http.answer", assertions.failures().join("; ")));
        }
        let body = Body::from_response(&response);
        let summary = body.annotate(format!("answered {}", response.status));
        let output =
            Output { status: response.status, truncated: body.is_truncated(), body: body.json };
        Ok(Completion::changed(summary, output))
    }
}
