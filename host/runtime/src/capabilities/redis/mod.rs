//! One database of a server of Redis or Valkey.
//!
//! Each call has a connection of its own, over the judged connector of the host. Before a name is
//! resolved the gate judges the command by its own table; then it judges it again by the table of
//! the server, on the same connection on which the command is sent next.

mod connection;
mod facts;
mod failure;

use crate::bindings::runbook::redis::types::Item;
use crate::bindings::runbook::redis::{reader, types, writer};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use crate::net::allowed_addresses::Server;
use crate::net::tls::{ServerVerification, encrypt};
use ::redis::Value;
use connection::{Connection, Stream};
use failure::{Failure, Sent};
use runbook_authority::pattern::RedisCommand;
use runbook_authority::targets::{RedisTarget, RedisTls};
use runbook_authority::{GateRequest, Target, Verb};
use runbook_secrets::Scrubber;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn read(&mut self, slot: String, command: Vec<Vec<u8>>) -> Result<Vec<Item>, Fault> {
        let verb = Verb::RedisRead;
        self.enter(&GateRequest::Redis { slot: &slot, verb, command: &command })?;
        self.send(&slot, verb, &command, None).await
    }
}

impl writer::Host for HostCall<'_> {
    async fn write(&mut self, slot: String, command: Vec<Vec<u8>>) -> Result<Vec<Item>, Fault> {
        let verb = Verb::RedisWrite;
        self.enter(&GateRequest::Redis { slot: &slot, verb, command: &command })?;
        let commit = self.begin_uncommitted(&slot, verb, 1);
        self.send(&slot, verb, &command, Some(commit)).await
    }
}

fn redis_target(target: &Target) -> &RedisTarget {
    target.redis().expect("the gate lets commands of Redis through on redis targets only")
}

/// A command that the gate has allowed by its own table.
struct AllowedCommand<'a> {
    slot: &'a str,
    verb: Verb,
    arguments: &'a [Vec<u8>],
    /// For a command that may change something: whether it was sent.
    commit: Option<Commit>,
    within: Duration,
}

impl AllowedCommand<'_> {
    fn sent(&self) -> Sent {
        match &self.commit {
            Some(commit) if commit.is_sent() => Sent::Change,
            Some(_) | None => Sent::Nothing,
        }
    }
}

/// Whether a TLS handshake is under way, for the message if the time is over.
#[derive(Debug, Default)]
struct Handshake(AtomicBool);

impl Handshake {
    fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// The failure if the time is over now.
    fn timed_out(&self, within: Duration) -> Failure {
        if self.0.load(Ordering::Acquire) {
            Failure::NoTls(within)
        } else {
            Failure::TimedOut(within)
        }
    }
}

/// Names the key of the target that is the likely reason for a connection that broke at once.
fn with_tls_hint(redis: &RedisTarget, failure: Failure) -> Failure {
    match (&redis.tls, failure) {
        (RedisTls::Off, Failure::Unanswered(reason)) => Failure::Unanswered(format!(
            "{reason}; a server that wants TLS ends a connection without it: if it does, remove \
             `tls = \"off\"`"
        )),
        (RedisTls::Off | RedisTls::Required, failure) => failure,
    }
}

impl Host {
    /// Sends a command that the gate has allowed, and returns the answer.
    async fn send(
        &mut self,
        slot: &str,
        verb: Verb,
        arguments: &[Vec<u8>],
        commit: Option<Commit>,
    ) -> Result<Vec<Item>, Fault> {
        let target = self.target(slot)?;
        let redis = redis_target(&target);
        let within = self.remaining(redis.timeout);
        let command = AllowedCommand { slot, verb, arguments, commit, within };
        let place = format!("{}:{}", redis.host, redis.port);
        let handshake = Handshake::default();
        let done = tokio::time::timeout(within, self.answer(redis, &command, &handshake)).await;
        let answer = done.unwrap_or_else(|_| Err(handshake.timed_out(within)));
        let value = answer.map_err(|why| {
            let why = with_tls_hint(redis, why);
            self.scrubbed_fault(why.into_fault(&place, command.sent()))
        })?;
        let mut items = Vec::new();
        push_items(&mut items, value);
        self.count_transferred(items.iter().map(|item| bytes_of_item(item).len()).sum());
        match shown_secret(&items, &self.scrubber()) {
            Some(name) => {
                let message = format!("{place}: the answer shows secret `{name}`");
                Err(Fault::new(FaultClass::Denied, "redis.secret", message))
            }
            None => Ok(items),
        }
    }

    async fn answer(
        &mut self,
        redis: &RedisTarget,
        command: &AllowedCommand<'_>,
        handshake: &Handshake,
    ) -> Result<Value, Failure> {
        let server = (command.slot, command.verb, command.within);
        let mut connection = self.redis_connection(redis, server, handshake).await?;
        let facts = facts::of(&mut connection, command.arguments).await?;
        let (slot, verb, arguments) = (command.slot, command.verb, command.arguments);
        let facts = facts.as_ref();
        self.enter(&GateRequest::RedisFacts { slot, verb, command: arguments, facts })
            .map_err(Failure::Refused)?;
        if let Some(commit) = &command.commit {
            commit.mark_sent().map_err(Failure::Refused)?;
        }
        let answer = connection.send(arguments).await;
        if let (Err(Failure::Server(error)), Some(commit)) = (&answer, &command.commit)
            && error.is_before_the_command()
            && RedisCommand::parse(arguments).is_ok_and(|command| !command.may_fail_in_the_middle())
        {
            commit.mark_rolled_back();
        }
        answer
    }

    /// A connection to the server of a target, at an address that the gate has allowed, logged in
    /// and with the database of the target.
    async fn redis_connection(
        &mut self,
        redis: &RedisTarget,
        server: (&str, Verb, Duration),
        handshake: &Handshake,
    ) -> Result<Connection, Failure> {
        let stream = self.redis_stream(redis, server, handshake).await?;
        let limit = usize::try_from(redis.max_bytes.0).unwrap_or(usize::MAX);
        let mut connection = Connection::open(stream, limit).await?;
        if let Some(name) = &redis.password {
            let password = self.secret(name).await.map_err(Failure::Refused)?;
            connection.log_in(&redis.user, &password).await?;
        }
        connection.select(redis.database).await?;
        Ok(connection)
    }

    async fn redis_stream(
        &mut self,
        redis: &RedisTarget,
        (slot, verb, within): (&str, Verb, Duration),
        handshake: &Handshake,
    ) -> Result<Box<dyn Stream>, Failure> {
        let config = match redis.tls {
            RedisTls::Off => None,
            RedisTls::Required => {
                let (keys, verification) = (&redis.tls_keys, ServerVerification::Certificate);
                let config = self.client_config(keys, verification, &[], "redis.tls").await;
                Some(config.map_err(Failure::Refused)?)
            }
        };
        let (host, port) = (redis.host.as_str(), redis.port);
        let server = Server { slot, verb, host, port, timeout: within };
        let route = self.route(&server).await.map_err(Failure::Connect)?;
        let (stream, _) = route.connect().await.map_err(Failure::Connect)?;
        Ok(match config {
            None => Box::new(stream),
            Some(config) => {
                handshake.begin();
                let encrypted = encrypt(stream, host, config).await.map_err(Failure::Tls)?;
                handshake.end();
                Box::new(encrypted)
            }
        })
    }

    /// Tries whether the server of a slot answers and lets its user in. No command of a plugin is
    /// sent.
    pub(super) async fn reach_redis(&mut self, slot: &str, verb: Verb) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let redis = redis_target(&target);
        let within = self.remaining(redis.timeout);
        let place = format!("{}:{}", redis.host, redis.port);
        let handshake = Handshake::default();
        let tried = tokio::time::timeout(within, async {
            let server = (slot, verb, within);
            let mut connection = self.redis_connection(redis, server, &handshake).await?;
            connection.ask(&[b"PING"]).await
        });
        let answer = tried.await.unwrap_or_else(|_| Err(handshake.timed_out(within)));
        answer.map_err(|why| with_tls_hint(redis, why).into_fault(&place, Sent::Nothing))?;
        Ok(format!("`{}` can use database {} (Redis)", redis.user, redis.database))
    }
}

/// Writes a reply as a list of items. Forms of RESP 3, which is not spoken here, become those of
/// RESP 2.
fn push_items(items: &mut Vec<Item>, value: Value) {
    let length = |count: usize| Item::Sequence(u32::try_from(count).unwrap_or(u32::MAX));
    match value {
        Value::Int(number) => items.push(Item::Integer(number)),
        Value::BulkString(bytes) | Value::BigNumber(bytes) => items.push(Item::Text(bytes)),
        Value::SimpleString(status) => items.push(Item::Status(status)),
        Value::Okay => items.push(Item::Status("OK".to_owned())),
        Value::Boolean(is_true) => items.push(Item::Integer(is_true.into())),
        Value::Double(number) => items.push(Item::Text(number.to_string().into_bytes())),
        Value::VerbatimString { text, .. } => items.push(Item::Text(text.into_bytes())),
        Value::Array(parts) | Value::Set(parts) | Value::Push { data: parts, .. } => {
            items.push(length(parts.len()));
            parts.into_iter().for_each(|part| push_items(items, part));
        }
        Value::Map(pairs) => {
            items.push(length(pairs.len().saturating_mul(2)));
            for (key, value) in pairs {
                push_items(items, key);
                push_items(items, value);
            }
        }
        Value::Attribute { data, .. } => push_items(items, *data),
        Value::ServerError(error) => items.push(Item::Failure(format!(
            "{} {}",
            error.code(),
            error.details().unwrap_or_default()
        ))),
        // Nil, and the variants of a later version of the library.
        _ => items.push(Item::Nil),
    }
}

/// The name of a secret that a reply shows. An answer with the secret replaced would be wrong, and
/// an undo would write it back, so the plugin gets no answer.
fn shown_secret(items: &[Item], scrubber: &Scrubber) -> Option<String> {
    let bytes: Vec<u8> = items.iter().flat_map(bytes_of_item).copied().collect();
    scrubber.find_shown_secret(&bytes).map(str::to_owned)
}

fn bytes_of_item(item: &Item) -> &[u8] {
    match item {
        Item::Nil | Item::Sequence(_) | Item::Integer(_) => &[],
        Item::Text(bytes) => bytes,
        Item::Status(text) | Item::Failure(text) => text.as_bytes(),
    }
}

#[cfg(test)]
mod tests;
