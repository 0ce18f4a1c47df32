//! The bundled plugin `objects`: looks at objects of a store, and writes, copies and deletes them.

mod copy;
mod delete;
mod object;
mod objects;
mod put;

use runbook_sdk::objects::{Bucket, ObjectInfo};
use runbook_sdk::prelude::*;

/// The objects of the slot.
fn store() -> Bucket {
    Bucket::slot(runbook_sdk::slot!("store"))
}

/// What is known of an object; `None` if there is none.
fn find(key: &str) -> Result<Option<ObjectInfo>> {
    match store().head(key) {
        Ok(info) => Ok(Some(info)),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The state of an object for the journal: it differs for each content. `null` would say that
/// nothing was observed.
fn state(found: Option<&ObjectInfo>) -> Json {
    found.map_or_else(
        || json!({ "exists": false }),
        |info| json!({ "etag": info.etag, "size_bytes": info.size_bytes }),
    )
}

/// The refusal to replace an object: no undo could bring its content back.
fn occupied(key: &str) -> Fault {
    let message = format!(
        "`{key}` holds another object, and what it holds could not be put back: choose another key, \
         or delete it first"
    );
    Fault::conflict("objects.occupied", message)
}

/// The refusal to delete an object that this step did not write.
fn changed_since(key: &str) -> Fault {
    let message = format!("`{key}` was changed by somebody else since, and is left alone");
    Fault::conflict("objects.changed-since", message)
}

/// The age of a time in milliseconds since 1970, in seconds.
fn age_s(modified_ms: u64) -> f64 {
    number(clock::now_ms().saturating_sub(modified_ms)) / 1000.0
}

/// A number for a measurement.
#[expect(clippy::cast_precision_loss, reason = "sizes and ages are far below 2^52")]
fn number(value: u64) -> f64 {
    value as f64
}

runbook_sdk::plugin! {
    probes: { "object" => object::object, "objects" => objects::objects },
    steps: {
        "put" => put::Put,
        "upload" => copy::Upload,
        "download" => copy::Download,
        "delete" => delete::Delete,
    },
}
