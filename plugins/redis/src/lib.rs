//! The bundled plugin `redis`: looks at a server of Redis and its keys, and changes keys.

mod key;
mod ping;
mod remove;
mod server;
mod text_key;

use runbook_sdk::prelude::*;
use runbook_sdk::redis::{Database, Reply};

/// The database of the slot.
fn database() -> Database {
    Database::slot(runbook_sdk::slot!("db"))
}

/// The number in an answer.
fn number(reply: &Reply) -> Result<i64> {
    reply.integer().ok_or_else(unexpected)
}

/// The text in an answer.
fn text(reply: &Reply) -> Result<&str> {
    reply.text().ok_or_else(unexpected)
}

fn unexpected() -> Fault {
    Fault::assertion("redis.reply", "the server gave an answer of another form than expected")
}

runbook_sdk::plugin! {
    probes: { "ping" => ping::ping, "server" => server::server, "key" => key::key },
    steps: { "set" => text_key::Set, "delete" => text_key::Delete, "remove" => remove::Remove },
}
