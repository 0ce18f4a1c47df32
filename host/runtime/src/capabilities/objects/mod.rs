//! The objects below one prefix of a bucket, over S3.
//!
//! Each request goes through the judged connector of `http` slots, is signed with the keys of the
//! target, and is never redirected. Nothing of the environment is read.

mod download;
mod failure;
mod store;
mod upload;
mod xml;

use crate::bindings::runbook::objects::types::{Artifact, Condition, Listing, Object, ObjectInfo};
use crate::bindings::runbook::objects::{reader, types, writer};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use failure::{Problem, Sent};
use hyper::Method;
use runbook_authority::gate::ObjectName;
use runbook_authority::targets::ObjectsTarget;
use runbook_authority::{Digest, GateRequest, Target, Verb};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use store::{Store, StoreRequest, info, milliseconds, plain_etag, read_all};
use upload::Destination;

/// How often a part of a copy is tried.
const MAX_ATTEMPTS: u32 = 5;

/// The most bytes of one page of a list: 1,000 keys of 1,024 bytes, each byte escaped.
const MAX_PAGE: u64 = 8 << 20;

/// Pages without an object that a store may send one after the other.
const MAX_EMPTY_PAGES: u32 = 10;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn head(&mut self, slot: String, key: String) -> Result<ObjectInfo, Fault> {
        let verb = Verb::ObjectsHead;
        let target = self.object_target(&slot, verb, ObjectName::Key(&key))?;
        let store = Store { slot: &slot, verb, target: objects_target(&target) };
        let found = self.object_head(store, &key).await;
        self.object_fault(&target, Sent::Nothing, found)
    }

    async fn list(&mut self, slot: String, prefix: String) -> Result<Listing, Fault> {
        let verb = Verb::ObjectsList;
        let target = self.object_target(&slot, verb, ObjectName::Prefix(&prefix))?;
        let store = Store { slot: &slot, verb, target: objects_target(&target) };
        let found = self.object_list(store, &prefix).await;
        self.object_fault(&target, Sent::Nothing, found)
    }

    async fn get(&mut self, slot: String, key: String) -> Result<Object, Fault> {
        let verb = Verb::ObjectsGet;
        let target = self.object_target(&slot, verb, ObjectName::Key(&key))?;
        let store = Store { slot: &slot, verb, target: objects_target(&target) };
        let found = self.whole_object(store, &key).await;
        self.object_fault(&target, Sent::Nothing, found)
    }

    async fn download(
        &mut self,
        slot: String,
        key: String,
        directory: String,
        path: String,
    ) -> Result<Artifact, Fault> {
        let verb = Verb::ObjectsGet;
        let target = self.object_target(&slot, verb, ObjectName::Key(&key))?;
        let files = self.files(&directory, Verb::FilesWrite, &path)?;
        let store = Store { slot: &slot, verb, target: objects_target(&target) };
        let copied = self.download_object(store, &key, files, &path).await;
        self.copied_artifact(&target, Sent::Nothing, copied)
    }
}

impl writer::Host for HostCall<'_> {
    async fn put(
        &mut self,
        slot: String,
        key: String,
        content: Vec<u8>,
        condition: Condition,
    ) -> Result<Artifact, Fault> {
        let verb = Verb::ObjectsPut;
        let target = self.object_target(&slot, verb, ObjectName::Key(&key))?;
        let commit = self.begin_uncommitted(&slot, verb, 1);
        let objects = objects_target(&target);
        let store = Store { slot: &slot, verb, target: objects };
        let destination = Destination { store, key: &key, condition: &condition };
        let limit = objects.max_bytes.0;
        let put = if content.len() as u64 > limit {
            Err(Problem::TooLarge { limit, key: "max_bytes" })
        } else {
            self.put_object(destination, content.into(), &commit).await
        };
        self.copied_artifact(&target, sent(&commit), put)
    }

    async fn upload(
        &mut self,
        slot: String,
        key: String,
        directory: String,
        path: String,
        condition: Condition,
    ) -> Result<Artifact, Fault> {
        let verb = Verb::ObjectsPut;
        let target = self.object_target(&slot, verb, ObjectName::Key(&key))?;
        let commit = self.begin_uncommitted(&slot, verb, 1);
        let files = self.files(&directory, Verb::FilesRead, &path)?;
        let store = Store { slot: &slot, verb, target: objects_target(&target) };
        let destination = Destination { store, key: &key, condition: &condition };
        let copied = self.upload_object(destination, files, &path, &commit).await;
        self.copied_artifact(&target, sent(&commit), copied)
    }

    async fn delete(&mut self, slot: String, key: String, etag: String) -> Result<(), Fault> {
        let verb = Verb::ObjectsDelete;
        let target = self.object_target(&slot, verb, ObjectName::Key(&key))?;
        let commit = self.begin_uncommitted(&slot, verb, 1);
        let store = Store { slot: &slot, verb, target: objects_target(&target) };
        let deleted = self.delete_object(store, &key, &etag, &commit).await;
        self.object_fault(&target, sent(&commit), deleted)
    }
}

fn objects_target(target: &Target) -> &ObjectsTarget {
    target.objects().expect("the gate lets calls about objects through on objects targets only")
}

fn sent(commit: &Commit) -> Sent {
    if commit.is_sent() { Sent::Change } else { Sent::Nothing }
}

/// Waits before the same request is sent again.
async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(100) * 2_u32.saturating_pow(attempt.min(5))).await;
}

/// Compares the bytes with the digest that is written beside the object.
fn check_digest(object: &ObjectInfo, digest: &str, store: Store<'_>) -> Result<(), Problem> {
    match &object.sha256 {
        Some(said) if said != digest => {
            let key = store.target.full_key(&object.key);
            let message = format!(
                "`{}` has digest {digest}, and whoever wrote it says {said}",
                key.escape_debug()
            );
            Err(Problem::Fault(Fault::new(FaultClass::Assertion, "objects.digest", message)))
        }
        Some(_) | None => Ok(()),
    }
}

impl Host {
    fn object_target(
        &mut self,
        slot: &str,
        verb: Verb,
        name: ObjectName<'_>,
    ) -> Result<std::sync::Arc<Target>, Fault> {
        self.enter(&GateRequest::Objects { slot, verb, name })?;
        self.target(slot)
    }

    fn object_fault<T>(
        &self,
        target: &Target,
        sent: Sent,
        result: Result<T, Problem>,
    ) -> Result<T, Fault> {
        result.map_err(|why| self.scrubbed_fault(why.into_fault(&target.describe(), sent)))
    }

    fn copied_artifact(
        &mut self,
        target: &Target,
        sent: Sent,
        result: Result<Artifact, Problem>,
    ) -> Result<Artifact, Fault> {
        let artifact = self.object_fault(target, sent, result)?;
        self.count_transferred(usize::try_from(artifact.size_bytes).unwrap_or(usize::MAX));
        Ok(artifact)
    }

    async fn whole_object(&mut self, store: Store<'_>, key: &str) -> Result<Object, Problem> {
        let full_key = store.target.full_key(key);
        let request = StoreRequest::new(Method::GET, &full_key);
        let mut response = self.ask(store, request, &Commit::default()).await?;
        let info = info(key, &response.head.headers)?;
        let limit = store.target.max_bytes.0;
        if info.size_bytes > limit {
            return Err(Problem::TooLarge { limit, key: "max_bytes" });
        }
        let within = self.remaining(store.target.timeout);
        let content = read_all(&mut response, limit, within).await?;
        if content.len() as u64 != info.size_bytes {
            let what = "the object has another length than its headers say";
            return Err(Problem::Protocol(what.to_owned()));
        }
        let digest = Digest::from_sha256(Sha256::digest(&content).into()).to_string();
        check_digest(&info, &digest, store)?;
        self.refuse_shown_secret(&content)?;
        self.count_transferred(content.len());
        Ok(Object { info, content })
    }

    /// An object with a secret replaced would be another object, so the plugin gets none.
    fn refuse_shown_secret(&self, content: &[u8]) -> Result<(), Problem> {
        match self.scrubber().find_shown_secret(content) {
            None => Ok(()),
            Some(name) => {
                let message = format!("it shows the secret `{name}`, which a plugin is not shown");
                Err(Problem::Fault(Fault::new(FaultClass::Denied, "objects.secret", message)))
            }
        }
    }

    async fn object_list(&mut self, store: Store<'_>, prefix: &str) -> Result<Listing, Problem> {
        let full_prefix = store.target.full_key(prefix);
        let max_rows = usize::try_from(store.target.max_rows).unwrap_or(usize::MAX);
        let mut objects: Vec<ObjectInfo> = Vec::new();
        let mut token: Option<String> = None;
        let mut empty_pages = 0;
        loop {
            let page = self.list_page(store, &full_prefix, token.as_deref()).await?;
            empty_pages = if page.objects.is_empty() { empty_pages + 1 } else { 0 };
            for listed in page.objects {
                if objects.len() == max_rows {
                    return Ok(Listing { objects, cut: true });
                }
                let object = listed_info(store.target, &full_prefix, listed)?;
                if objects.last().is_some_and(|last| last.key >= object.key) {
                    let what = "the list of the store is not in the order of the keys";
                    return Err(Problem::Protocol(what.to_owned()));
                }
                self.refuse_shown_secret(object.key.as_bytes())?;
                objects.push(object);
            }
            match page.next {
                _ if !page.is_truncated => return Ok(Listing { objects, cut: false }),
                Some(next) if token.as_ref() != Some(&next) && empty_pages < MAX_EMPTY_PAGES => {
                    token = Some(next);
                }
                Some(_) | None => {
                    let what = "the list of the store goes on, and does not say with what";
                    return Err(Problem::Protocol(what.to_owned()));
                }
            }
        }
    }

    async fn list_page(
        &mut self,
        store: Store<'_>,
        prefix: &str,
        token: Option<&str>,
    ) -> Result<xml::Page, Problem> {
        let mut query = vec![("list-type", "2"), ("max-keys", "1000"), ("prefix", prefix)];
        query.extend(token.map(|token| ("continuation-token", token)));
        let mut request = StoreRequest::new(Method::GET, "");
        request.query = &query;
        let mut response =
            self.ask(store, request, &Commit::default()).await.map_err(|problem| {
                match problem {
                    // A list is empty, and not missing: it is the bucket that is not there.
                    Problem::Status(mut refusal) if refusal.status == 404 => {
                        "NoSuchBucket".clone_into(&mut refusal.code);
                        Problem::Status(refusal)
                    }
                    other => other,
                }
            })?;
        let within = self.remaining(store.target.timeout);
        Ok(xml::page(&read_all(&mut response, MAX_PAGE, within).await?)?)
    }

    async fn delete_object(
        &mut self,
        store: Store<'_>,
        key: &str,
        etag: &str,
        commit: &Commit,
    ) -> Result<(), Problem> {
        let if_match = store::quoted(etag)?;
        // Not every store checks the condition of a deletion, so it is checked here, too.
        let object = self.object_head(store, key).await?;
        if object.etag != etag {
            return Err(Problem::Replaced);
        }
        let full_key = store.target.full_key(key);
        let mut request = StoreRequest::new(Method::DELETE, &full_key);
        request.headers.insert(hyper::header::IF_MATCH, if_match);
        self.ask(store, request, commit).await.map(drop)
    }

    /// Tries whether the store of a slot answers and accepts its keys. One key is listed at most.
    pub(super) async fn reach_objects(&mut self, slot: &str, verb: Verb) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let objects = objects_target(&target);
        let store = Store { slot, verb, target: objects };
        let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", objects.prefix.as_str())];
        let mut request = StoreRequest::new(Method::GET, "");
        request.query = &query;
        let tried = self.ask(store, request, &Commit::default()).await.map(drop);
        self.object_fault(&target, Sent::Nothing, tried)?;
        Ok(format!("the keys may list s3://{}/{}", objects.bucket, objects.prefix))
    }
}

/// An object of a list, with its key relative to the prefix of the target.
fn listed_info(
    target: &ObjectsTarget,
    full_prefix: &str,
    listed: xml::ListedObject,
) -> Result<ObjectInfo, Problem> {
    let wrong = |what: &str| Problem::Protocol(format!("the list of the store has {what}"));
    if !listed.key.starts_with(full_prefix) {
        return Err(wrong("a key that does not begin with what was asked for"));
    }
    let key = listed.key.strip_prefix(&target.prefix).unwrap_or_default();
    let modified = listed.modified.parse().map_err(|_| wrong("an object without its time"))?;
    Ok(ObjectInfo {
        key: key.to_owned(),
        size_bytes: listed.size.parse().map_err(|_| wrong("an object without its size"))?,
        modified_ms: milliseconds(modified),
        etag: match listed.etag.as_str() {
            "" => String::new(),
            text => plain_etag(text).ok_or_else(|| wrong("a tag that is none"))?,
        },
        storage_class: listed.storage_class,
        sha256: None,
    })
}

#[cfg(test)]
mod tests;
