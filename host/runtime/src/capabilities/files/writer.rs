//! The functions that change something.

use super::stream::IfExists;
use super::{FilesSlot, blocking, leaves_all_as_it_was, prune, replace};
use crate::bindings::runbook::files::types::{ExistingFile, ExpectedFile, FileInfo, Pruned};
use crate::bindings::runbook::files::writer;
use crate::fault::Fault;
use crate::host::HostCall;
use runbook_authority::{GateRequest, Verb};
use rustix::io::Errno;
use std::io::Write as _;

impl writer::Host for HostCall<'_> {
    async fn write(&mut self, slot: String, path: String, content: Vec<u8>) -> Result<(), Fault> {
        let slot = self.files(&slot, Verb::FilesWrite, &path)?;
        self.count_written(content.len())?;
        self.count_transferred(content.len());
        slot.run(path, move |slot, path| {
            let mut file = slot.open()?.create_plain(path, IfExists::Replace)?;
            file.write_all(&content)?;
            slot.complete(file).map(|_| ())
        })
        .await
    }

    async fn remove(&mut self, slot: String, path: String) -> Result<(), Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRemove, &path)?;
        let paths = vec![path.clone()];
        let found = slot.clone().run_long(path.clone(), prune::stats_of(paths)).await?;
        self.judge_ages(&name, &found)?;
        slot.run(path, move |slot, path| match found.into_iter().next() {
            Some((_, Ok(stat))) => slot.remove_file(path, &stat),
            Some((_, Err(error))) => Err(error),
            None => Err(Errno::NOENT.into()),
        })
        .await
    }

    async fn replace(
        &mut self,
        slot: String,
        path: String,
        content: Vec<u8>,
        expected: ExpectedFile,
        backup: Option<String>,
    ) -> Result<String, Fault> {
        let name = slot;
        let paths = std::iter::once(path.as_str()).chain(backup.as_deref());
        let slot = self.files_at(&name, Verb::FilesWrite, paths)?;
        self.count_written(content.len())?;
        self.count_transferred(content.len());
        let work = move |slot: &FilesSlot, path: &str, stop: &blocking::StopFlag| {
            replace::replace(slot, path, &content, &expected, backup.as_deref(), stop)
        };
        slot.run_long(path, work).await.map(|digest| digest.to_string())
    }

    async fn rename(
        &mut self,
        slot: String,
        from: String,
        to: String,
        existing: ExistingFile,
    ) -> Result<(), Fault> {
        let (name, verb) = (slot, Verb::FilesRename);
        self.enter(&GateRequest::FileRename { slot: &name, verb, from: &from, to: &to })?;
        let slot = self.begin(&name, verb, 1)?;
        let if_exists = match existing {
            ExistingFile::Refuse => IfExists::Refuse,
            ExistingFile::Replace => {
                let verb = Verb::FilesWrite;
                self.enter(&GateRequest::Files { slot: &name, verb, path: &to })?;
                IfExists::Replace
            }
        };
        let replacing = (if_exists == IfExists::Replace)
            .then(|| self.begin_uncommitted(&name, Verb::FilesWrite, 1));
        slot.run(from, move |slot, from| {
            if let Some(commit) = &replacing {
                commit.mark_sent().map_err(|_| blocking::StopFlag::error())?;
            }
            slot.change(|directory| directory.rename(from, &to, if_exists)).inspect_err(|error| {
                if let Some(commit) = replacing.as_ref().filter(|_| leaves_all_as_it_was(error)) {
                    commit.mark_rolled_back();
                }
            })
        })
        .await
    }

    async fn prune(&mut self, slot: String, files: Vec<FileInfo>) -> Result<Pruned, Fault> {
        let (name, verb) = (slot, Verb::FilesRemove);
        if files.is_empty() {
            // Nothing is removed, but whether the slot may remove is judged as always.
            self.enter(&GateRequest::FileList { slot: &name, verb, path: "" })?;
            return Ok(Pruned { removed: Vec::new(), kept: Vec::new() });
        }
        let slot = self.files_at(&name, verb, files.iter().map(|file| file.path.as_str()))?;
        let paths = files.iter().map(|file| file.path.clone()).collect();
        let found = slot.clone().run_long(String::new(), prune::stats_of(paths)).await?;
        self.judge_ages(&name, &found)?;
        slot.run_long(String::new(), move |slot, _, stop| prune::prune(slot, files, found, stop))
            .await
    }
}
