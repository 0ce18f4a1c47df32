//! The functions that read.

use super::directory::Entry;
use super::search::SearchLimits;
use super::{MAX_ENTRIES, blocking, decode, digest, file_info, listing, search, secret};
use crate::bindings::runbook::files::reader;
use crate::bindings::runbook::files::types::{
    FileEnd, FileInfo, LineCount, LineSearch, ListOptions, Listing,
};
use crate::fault::Fault;
use crate::host::HostCall;
use runbook_authority::Verb;
use std::io::Read as _;

/// How many lines `tail` returns at most.
const MAX_LINES: usize = 10_000;

impl reader::Host for HostCall<'_> {
    async fn read(&mut self, slot: String, path: String) -> Result<Vec<u8>, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let read = slot.run(path, move |slot, path| {
            let cap = slot.files().max_bytes.0.min(left);
            let mut content = Vec::new();
            slot.open()?.file(path)?.take(cap + 1).read_to_end(&mut content)?;
            if content.len() as u64 > cap {
                return Err(slot.too_large(cap));
            }
            secret::refuse(&content, &scrubber)?;
            Ok(content)
        });
        let content = read.await?;
        self.count_read(&name, content.len() as u64);
        Ok(content)
    }

    async fn read_decoded(&mut self, slot: String, path: String) -> Result<Vec<u8>, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let read = slot.run_long(path, move |slot, path, stop| {
            let cap = slot.files().max_bytes.0.min(left);
            let (file, encoding) = (slot.open()?.file(path)?, decode::Encoding::of(path));
            let mut stream = decode::DecodedFile::new(file, encoding, cap, &scrubber, stop)?;
            let mut content = Vec::new();
            stream.read_to_end(&mut content)?;
            if stream.is_cut() { Err(slot.too_large(cap)) } else { Ok(content) }
        });
        let content = read.await?;
        self.count_read(&name, content.len() as u64);
        Ok(content)
    }

    async fn entries(
        &mut self,
        slot: String,
        path: String,
        options: ListOptions,
    ) -> Result<Listing, Fault> {
        let slot = self.folder(&slot, &path)?;
        let scrubber = self.scrubber();
        slot.run_long(path, move |slot, path, stop| {
            let most = usize::try_from(options.max_entries)
                .map_or(MAX_ENTRIES, |most| most.min(MAX_ENTRIES));
            let (directory, target) = (slot.open()?, slot.files());
            let allows = |path: &str| target.allows_path(path);
            let found = listing::read(&directory, path, &options, most, allows, stop)?;
            found
                .entries
                .iter()
                .try_for_each(|entry| secret::refuse(entry.path.as_bytes(), &scrubber))?;
            let min_age_ms = u64::try_from(target.min_age.as_millis()).unwrap_or(u64::MAX);
            let listing::Found { entries, total, total_bytes, unnamed } = found;
            Ok(Listing { entries, total, total_bytes, unnamed, min_age_ms })
        })
        .await
    }

    async fn tail(
        &mut self,
        slot: String,
        path: String,
        max_lines: u32,
        rotated: bool,
    ) -> Result<FileEnd, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let earlier = if rotated { self.rotated(&name, &path).await? } else { Vec::new() };
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let max_lines = usize::try_from(max_lines).map_or(MAX_LINES, |most| most.min(MAX_LINES));
        let read = slot.run_long(path, move |slot, path, stop| {
            let kept = slot.files().max_bytes.0;
            let limits = SearchLimits { total: left, kept, scrubber: &scrubber, stop };
            search::tail(slot.log_files(path, &earlier)?, max_lines, &limits)
        });
        let (end, bytes) = read.await?;
        self.count_read(&name, bytes);
        Ok(end)
    }

    async fn count(
        &mut self,
        slot: String,
        path: String,
        line_search: LineSearch,
    ) -> Result<LineCount, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let earlier =
            if line_search.rotated { self.rotated(&name, &path).await? } else { Vec::new() };
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let read = slot.run_long(path, move |slot, path, stop| {
            let kept = slot.files().max_bytes.0;
            let limits = SearchLimits { total: left, kept, scrubber: &scrubber, stop };
            search::count(slot.log_files(path, &earlier)?, &line_search, &limits)
        });
        let count = read.await?;
        self.count_read(&name, count.bytes);
        Ok(count)
    }

    async fn list(&mut self, slot: String, path: String) -> Result<Vec<FileInfo>, Fault> {
        let slot = self.folder(&slot, &path)?;
        let scrubber = self.scrubber();
        slot.run(path, move |slot, path| {
            let entries = slot.open()?.list(path, MAX_ENTRIES)?;
            entries
                .iter()
                .try_for_each(|entry| secret::refuse(entry.name.as_bytes(), &scrubber))?;
            let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
            Ok(entries
                .into_iter()
                .map(|Entry { name, stat }| file_info(format!("{prefix}{name}"), &stat))
                .filter(|entry| slot.files().allows_path(&entry.path))
                .collect())
        })
        .await
    }

    async fn stat(&mut self, slot: String, path: String) -> Result<FileInfo, Fault> {
        let slot = self.files(&slot, Verb::FilesRead, &path)?;
        slot.run(path, |slot, path| Ok(file_info(path.to_owned(), &slot.open()?.stat(path)?))).await
    }

    async fn digest(&mut self, slot: String, path: String) -> Result<String, Fault> {
        let slot = self.files(&slot, Verb::FilesRead, &path)?;
        let work = move |stop: &blocking::StopFlag| {
            let mut file = slot
                .open()
                .and_then(|directory| directory.file(&path))
                .map_err(|error| slot.fault(&path, &error))?;
            digest(&mut file, stop)
                .map(|digest| digest.to_string())
                .map_err(|error| slot.fault(&path, &error))
        };
        blocking::run(work).await
    }
}
