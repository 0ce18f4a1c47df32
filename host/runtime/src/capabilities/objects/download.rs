//! Copies an object to a file. A body that is cut is asked for again from where it ended.

use super::failure::Problem;
use super::store::{Store, StoreRequest, info, next_bytes, quoted};
use super::{MAX_ATTEMPTS, pause};
use crate::bindings::runbook::objects::types::{Artifact, ObjectInfo};
use crate::blocking;
use crate::capabilities::files::FilesSlot;
use crate::capabilities::files::stream::{FileWriter, IfExists};
use crate::capabilities::http::SignedResponse;
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host};
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue, IF_MATCH, RANGE};
use hyper::{Method, StatusCode};
use runbook_authority::Digest;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;

/// How many bytes are written to the file at once.
const CHUNK: usize = 1 << 20;

/// A file that is being written, and the digest of what it has.
struct Copy {
    /// `None` while a thread writes.
    writer: Option<FileWriter>,
    hash: Sha256,
    size: u64,
}

impl Host {
    pub(super) async fn download_object(
        &mut self,
        store: Store<'_>,
        key: &str,
        files: FilesSlot,
        path: &str,
    ) -> Result<Artifact, Problem> {
        let file_fault = |error: std::io::Error| Problem::Fault(files.fault(path, &error));
        let (slot, name) = (files.clone(), path.to_owned());
        let begun = blocking::run(move |_| slot.open()?.create_plain(&name, IfExists::Refuse));
        let writer = begun.await.map_err(file_fault)?;
        let mut copy = Copy { writer: Some(writer), hash: Sha256::new(), size: 0 };
        let mut begun: Option<ObjectInfo> = None;
        let mut attempt = 0;
        let whole = loop {
            let before = copy.size;
            let (rest, problem) = match self.object_from(store, key, before, begun.as_ref()).await {
                Ok((object, response)) => {
                    let whole = begun.get_or_insert(object).clone();
                    (Some(whole), self.copy_body(store, response, &mut copy, (&files, path)).await)
                }
                Err(problem) => (None, Err(problem)),
            };
            match (rest, problem) {
                (Some(whole), Ok(())) if copy.size == whole.size_bytes => break whole,
                (_, Ok(())) => {
                    let what = "the object has another length than its headers say";
                    return Err(Problem::Protocol(what.to_owned()));
                }
                (_, Err(problem)) => {
                    attempt = if copy.size > before { 1 } else { attempt + 1 };
                    if !problem.is_transient() || attempt == MAX_ATTEMPTS {
                        return Err(problem);
                    }
                    pause(attempt).await;
                }
            }
        };
        finish(copy, &whole, store, files, path).await
    }

    /// The object from an offset on, and what its headers say of the whole.
    async fn object_from(
        &mut self,
        store: Store<'_>,
        key: &str,
        offset: u64,
        begun: Option<&ObjectInfo>,
    ) -> Result<(ObjectInfo, SignedResponse), Problem> {
        let full_key = store.target.full_key(key);
        let mut request = StoreRequest::new(Method::GET, &full_key);
        if let Some(begun) = begun {
            request.headers = range_headers(offset, &begun.etag)?;
        }
        let response =
            self.ask(store, request, &Commit::default()).await.map_err(
                |problem| match problem {
                    Problem::Status(refusal) if matches!(refusal.status, 412 | 416) => {
                        Problem::Replaced
                    }
                    other => other,
                },
            )?;
        let object = info(key, &response.head.headers)?;
        let Some(begun) = begun else {
            let limit = store.target.max_copy.0;
            if object.size_bytes > limit {
                return Err(Problem::TooLarge { limit, key: "max_copy" });
            }
            return Ok((object, response));
        };
        if object.etag != begun.etag {
            return Err(Problem::Replaced);
        }
        let expected =
            format!("bytes {offset}-{}/{}", begun.size_bytes.saturating_sub(1), begun.size_bytes);
        let range = response.head.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        if response.head.status != StatusCode::PARTIAL_CONTENT || range != Some(&*expected) {
            let what = "the store does not send the part of the object that was asked for";
            return Err(Problem::Protocol(what.to_owned()));
        }
        Ok((object, response))
    }

    /// Adds a body to the copy, as far as it comes.
    async fn copy_body(
        &mut self,
        store: Store<'_>,
        mut response: SignedResponse,
        copy: &mut Copy,
        (files, path): (&FilesSlot, &str),
    ) -> Result<(), Problem> {
        loop {
            let within = self.remaining(store.target.timeout);
            let mut chunk = Vec::new();
            let mut end = None;
            while chunk.len() < CHUNK && end.is_none() {
                match next_bytes(&mut response, within).await {
                    Ok(Some(data)) => chunk.extend_from_slice(&data),
                    Ok(None) => end = Some(Ok(())),
                    // What has come before the cut is kept.
                    Err(problem) => end = Some(Err(problem)),
                }
            }
            copy.hash.update(&chunk);
            copy.size += chunk.len() as u64;
            let limit = store.target.max_copy.0;
            if copy.size > limit {
                return Err(Problem::TooLarge { limit, key: "max_copy" });
            }
            copy.write(chunk).await.map_err(|error| Problem::Fault(files.fault(path, &error)))?;
            if let Some(end) = end {
                return end;
            }
        }
    }
}

impl Copy {
    async fn write(&mut self, chunk: Vec<u8>) -> std::io::Result<()> {
        let Some(mut writer) = self.writer.take() else { return Err(blocking::StopFlag::error()) };
        let (writer, written) = blocking::run(move |_| {
            let written = writer.write_all(&chunk);
            (writer, written)
        })
        .await;
        self.writer = Some(writer);
        written
    }
}

fn range_headers(offset: u64, etag: &str) -> Result<HeaderMap, Problem> {
    let range = HeaderValue::from_str(&format!("bytes={offset}-"))
        .map_err(|_| Problem::Protocol("a range would not be ASCII".to_owned()))?;
    Ok(HeaderMap::from_iter([(RANGE, range), (IF_MATCH, quoted(etag)?)]))
}

/// Gives the file its name, if its bytes have the digest that is written beside the object.
async fn finish(
    copy: Copy,
    whole: &ObjectInfo,
    store: Store<'_>,
    files: FilesSlot,
    path: &str,
) -> Result<Artifact, Problem> {
    let Copy { writer, hash, size } = copy;
    let digest = Digest::from_sha256(hash.finalize().into()).to_string();
    super::check_digest(whole, &digest, store)?;
    let slot = files.clone();
    let completed =
        blocking::run(move |_| slot.complete(writer.ok_or_else(blocking::StopFlag::error)?)).await;
    let written = completed.map_err(|error| Problem::Fault(files.fault(path, &error)))?;
    if written.digest.to_string() != digest {
        let message = "the file does not have the bytes that were written to it".to_owned();
        return Err(Problem::Fault(Fault::new(FaultClass::Unknown, "objects.file", message)));
    }
    Ok(Artifact { size_bytes: size, digest, etag: whole.etag.clone() })
}
