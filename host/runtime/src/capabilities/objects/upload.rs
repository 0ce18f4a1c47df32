//! Copies a file to an object: in one request if it is small, or else in parts, which appear as one
//! object when the last is there. A part that was cut is sent again.

use super::failure::{Problem, Refusal};
use super::store::{
    MAX_ANSWER, Store, StoreRequest, add_condition, error_inside, etag, plain_etag, put_headers,
    read_all,
};
use super::{MAX_ATTEMPTS, pause, xml};
use crate::bindings::runbook::objects::types::{Artifact, Condition};
use crate::blocking;
use crate::capabilities::files::FilesSlot;
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host};
use hyper::Method;
use hyper::body::Bytes;
use runbook_authority::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};

/// The size of a part, unless the object needs more than [`MAX_PARTS`] of them. A file that is not
/// larger is sent in one request.
const PART: u64 = 8 << 20;

/// The most parts of an object; stores allow 10,000.
const MAX_PARTS: u64 = 9_000;

/// A file, and what it has.
struct Source {
    file: File,
    size: u64,
    digest: String,
}

/// An object that is put, and what must be true of the one that is there.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) store: Store<'a>,
    pub(super) key: &'a str,
    pub(super) condition: &'a Condition,
}

impl Host {
    /// Writes an object in one request.
    pub(super) async fn put_object(
        &mut self,
        destination: Destination<'_>,
        content: Bytes,
        commit: &Commit,
    ) -> Result<Artifact, Problem> {
        let Destination { store, key, condition } = destination;
        let digest = Digest::from_sha256(Sha256::digest(&content).into()).to_string();
        let full_key = store.target.full_key(key);
        let mut request = StoreRequest::new(Method::PUT, &full_key);
        request.headers = put_headers(store.target, &digest)?;
        add_condition(&mut request.headers, condition)?;
        let size_bytes = content.len() as u64;
        request.body = content;
        let response = self.ask(store, request, commit).await?;
        Ok(Artifact { size_bytes, digest, etag: etag(&response.head.headers)? })
    }

    /// Writes an object from a file.
    pub(super) async fn upload_object(
        &mut self,
        destination: Destination<'_>,
        files: FilesSlot,
        path: &str,
        commit: &Commit,
    ) -> Result<Artifact, Problem> {
        let mut source = open(destination.store, &files, path).await?;
        if source.size <= PART {
            let bytes = source.read(PART, (&files, path)).await?;
            if Digest::from_sha256(Sha256::digest(&bytes).into()).to_string() != source.digest {
                return Err(changed(path));
            }
            return self.put_object(destination, bytes.into(), commit).await;
        }
        let upload = self.begin_upload(destination, &source.digest).await?;
        let sent = self.send_parts(destination, &upload, &mut source, (&files, path)).await;
        let completed = match sent {
            Ok(parts) => self.complete_upload(destination, &upload, &parts, &source, commit).await,
            Err(problem) => Err(problem),
        };
        if completed.is_err() && !commit.is_sent() {
            self.abort_upload(destination, &upload).await;
        }
        completed
    }

    /// Begins an object of parts. Nothing is seen of it before it is complete.
    async fn begin_upload(
        &mut self,
        Destination { store, key, .. }: Destination<'_>,
        digest: &str,
    ) -> Result<String, Problem> {
        let full_key = store.target.full_key(key);
        let mut request = StoreRequest::new(Method::POST, &full_key);
        request.query = &[("uploads", "")];
        request.headers = put_headers(store.target, digest)?;
        let mut response = self.ask(store, request, &Commit::default()).await?;
        let within = self.remaining(store.target.timeout);
        let fields = xml::fields(&read_all(&mut response, MAX_ANSWER, within).await?)?;
        let id = fields.get("UploadId");
        let is_id = (1..=1024).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if !is_id {
            let what = "the answer does not name the upload that was begun";
            return Err(Problem::Protocol(what.to_owned()));
        }
        Ok(id.to_owned())
    }

    /// Sends every part and returns their tags.
    async fn send_parts(
        &mut self,
        destination: Destination<'_>,
        upload: &str,
        source: &mut Source,
        file: (&FilesSlot, &str),
    ) -> Result<Vec<String>, Problem> {
        let part_size = part_size(source.size);
        let mut hash = Sha256::new();
        let mut tags = Vec::new();
        let mut left = source.size;
        while left > 0 {
            let bytes = Bytes::from(source.read(part_size.min(left), file).await?);
            if bytes.is_empty() {
                return Err(changed(file.1));
            }
            left -= bytes.len() as u64;
            hash.update(&bytes);
            let number = (tags.len() + 1).to_string();
            tags.push(self.send_part(destination, (upload, &number), bytes).await?);
        }
        if Digest::from_sha256(hash.finalize().into()).to_string() != source.digest {
            return Err(changed(file.1));
        }
        Ok(tags)
    }

    async fn send_part(
        &mut self,
        Destination { store, key, .. }: Destination<'_>,
        (upload, number): (&str, &str),
        bytes: Bytes,
    ) -> Result<String, Problem> {
        let full_key = store.target.full_key(key);
        let query = [("partNumber", number), ("uploadId", upload)];
        let mut attempt = 0;
        loop {
            let mut request = StoreRequest::new(Method::PUT, &full_key);
            request.query = &query;
            request.body = bytes.clone();
            attempt += 1;
            match self.ask(store, request, &Commit::default()).await {
                Ok(response) => return etag(&response.head.headers),
                Err(problem) if problem.is_transient() && attempt < MAX_ATTEMPTS => {
                    pause(attempt).await;
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    /// Makes one object of the parts.
    async fn complete_upload(
        &mut self,
        destination: Destination<'_>,
        upload: &str,
        parts: &[String],
        source: &Source,
        commit: &Commit,
    ) -> Result<Artifact, Problem> {
        let Destination { store, key, condition } = destination;
        let listed: String = parts
            .iter()
            .zip(1..)
            .map(|(tag, number)| {
                let tag = xml::escaped(&format!("\"{tag}\""));
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
            })
            .collect();
        let full_key = store.target.full_key(key);
        let query = [("uploadId", upload)];
        let mut request = StoreRequest::new(Method::POST, &full_key);
        request.query = &query;
        request.body =
            format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>").into();
        add_condition(&mut request.headers, condition)?;
        let artifact = |etag| {
            let digest = source.digest.clone();
            Artifact { size_bytes: source.size, digest, etag }
        };
        match self.completed_tag(store, request, commit).await {
            Ok(tag) => Ok(artifact(tag)),
            Err(problem) if problem.is_transient() && commit.is_sent() => {
                // No answer came. The object itself says whether it was made.
                let found = self.object_head(store, key).await.ok();
                let made = found.filter(|object| {
                    object.size_bytes == source.size
                        && object.sha256.as_ref() == Some(&source.digest)
                });
                made.map(|object| artifact(object.etag)).ok_or(problem)
            }
            Err(problem) => Err(problem),
        }
    }

    async fn completed_tag(
        &mut self,
        store: Store<'_>,
        request: StoreRequest<'_>,
        commit: &Commit,
    ) -> Result<String, Problem> {
        let mut response = self.ask(store, request, commit).await?;
        let within = self.remaining(store.target.timeout);
        let fields = xml::fields(&read_all(&mut response, MAX_ANSWER, within).await?)?;
        if let Some(problem) = error_inside(&fields) {
            if let Problem::Status(Refusal { status: 412, .. }) = &problem {
                commit.mark_rolled_back();
            }
            return Err(problem);
        }
        plain_etag(fields.get("ETag"))
            .ok_or_else(|| Problem::Protocol("the answer has no tag of the object".to_owned()))
    }

    /// Lets the store forget the parts. If it cannot be reached, they stay until its own rule for
    /// unfinished uploads removes them.
    async fn abort_upload(
        &mut self,
        Destination { store, key, .. }: Destination<'_>,
        upload: &str,
    ) {
        let full_key = store.target.full_key(key);
        let query = [("uploadId", upload)];
        let mut request = StoreRequest::new(Method::DELETE, &full_key);
        request.query = &query;
        let _ = self.ask(store, request, &Commit::default()).await;
    }
}

/// Opens a file and computes its digest.
async fn open(store: Store<'_>, files: &FilesSlot, path: &str) -> Result<Source, Problem> {
    let limit = store.target.max_copy.0;
    let (slot, name) = (files.clone(), path.to_owned());
    let opened = blocking::run(move |stop| -> io::Result<Source> {
        let mut file = slot.open()?.file(&name)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut chunk = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut chunk)?;
            if stop.is_set() {
                return Err(blocking::StopFlag::error());
            }
            if count == 0 || size > limit {
                break;
            }
            hash.update(&chunk[..count]);
            size += count as u64;
        }
        file.rewind()?;
        let digest = Digest::from_sha256(hash.finalize().into()).to_string();
        Ok(Source { file, size, digest })
    });
    let source = opened.await.map_err(|error| Problem::Fault(files.fault(path, &error)))?;
    if source.size > limit {
        return Err(Problem::TooLarge { limit, key: "max_copy" });
    }
    Ok(source)
}

impl Source {
    /// The next bytes, fewer only at the end.
    async fn read(
        &mut self,
        count: u64,
        (files, path): (&FilesSlot, &str),
    ) -> Result<Vec<u8>, Problem> {
        let fault = |error: io::Error| Problem::Fault(files.fault(path, &error));
        // Both have one position in the file.
        let file = self.file.try_clone().map_err(fault)?;
        let read = blocking::run(move |_| {
            let mut bytes = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
            file.take(count).read_to_end(&mut bytes).map(|_| bytes)
        });
        read.await.map_err(fault)
    }
}

/// Whole MiB, so that no object has more than [`MAX_PARTS`].
fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(MAX_PARTS).div_ceil(1 << 20) << 20)
}

fn changed(path: &str) -> Problem {
    let message = format!("`{}` was changed while it was copied", path.escape_debug());
    Problem::Fault(Fault::new(FaultClass::Conflict, "objects.file-changed", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_more_parts_than_a_store_allows() {
        for size in [1, PART, PART + 1, PART * MAX_PARTS, PART * MAX_PARTS + 1, 5 << 40] {
            let part = part_size(size);
            assert!(size.div_ceil(part) <= MAX_PARTS, "{size}");
            assert!(part >= PART, "{size}");
        }
    }
}
