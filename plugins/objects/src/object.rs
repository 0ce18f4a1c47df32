//! `objects:object`

use crate::{age_s, find, number};
use runbook_sdk::prelude::*;

/// The object, and what it must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its key, below the prefix of the target.
    key: String,
    /// Whether it must exist; true if absent.
    exists: Option<bool>,
    /// Older is a failure.
    max_age: Option<Span>,
    /// Smaller is a failure, in bytes.
    min_bytes: Option<u64>,
    /// Larger is a failure, in bytes.
    max_bytes: Option<u64>,
}

/// What it is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Whether it exists.
    exists: bool,
    /// Its size in bytes.
    size_bytes: Option<u64>,
    /// Its age in seconds, by the clock of the store.
    age_s: Option<f64>,
    /// Its tag.
    etag: Option<String>,
    /// Its digest, as whoever wrote it has said.
    sha256: Option<String>,
}

pub(crate) fn object(_job: &Job, input: Input) -> Result<Report<Output>> {
    let key = &input.key;
    let must_exist = input.exists.unwrap_or(true);
    let Some(info) = find(key)? else {
        let output =
            Output { exists: false, size_bytes: None, age_s: None, etag: None, sha256: None };
        return Ok(Report::pass_if(!must_exist, format!("there is no `{key}`"), output));
    };
    let (size, age) = (Size(info.size_bytes), age_s(info.modified_ms));
    let mut wrong = Vec::new();
    if !must_exist {
        wrong.push("it exists".to_owned());
    }
    if let Some(max) = input.max_age
        && age > max.0.as_secs_f64()
    {
        wrong.push(format!("it is older than {} s", max.as_secs()));
    }
    if let Some(min) = input.min_bytes
        && size.0 < min
    {
        wrong.push(format!("it is smaller than {}", Size(min)));
    }
    if let Some(max) = input.max_bytes
        && size.0 > max
    {
        wrong.push(format!("it is larger than {}", Size(max)));
    }
    let mut summary = format!("`{key}` has {size} and is {age:.0} s old");
    if !wrong.is_empty() {
        summary = format!("{summary}: {}", wrong.join(", "));
    }
    let output = Output {
        exists: true,
        size_bytes: Some(info.size_bytes),
        age_s: Some(age),
        etag: Some(info.etag),
        sha256: info.sha256,
    };
    Ok(Report::pass_if(wrong.is_empty(), summary, output)
        .measure(measurement("size", number(size.0), "B"))
        .measure(measurement("age", age, "s")))
}
