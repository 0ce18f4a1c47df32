//! Compiled code on disk, so that a second start compiles nothing.
//!
//! What is loaded from here is run as native code. So the folder and each file must belong to this
//! user alone, and the digest must match; otherwise the component is compiled again, and the reason
//! is reported.

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use wasmtime::Engine;

/// A folder for compiled code.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// Why the cache is not used; the component is compiled instead.
#[derive(Debug, thiserror::Error)]
pub enum CacheProblem {
    /// Other users can access the folder.
    #[error("the cache folder `{}` {reason}; it must be a folder of yours with mode 0700", folder.display())]
    Folder {
        /// The folder of the cache.
        folder: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Other users can access a file, or it is damaged.
    #[error("the cached file `{}` {reason}; it is compiled again", file.display())]
    File {
        /// The file with the compiled code.
        file: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system does not let the cache be read or written.
    #[error("the cache at `{}` cannot be used", path.display())]
    Io {
        /// The file or folder that was read or written.
        path: PathBuf,
        /// The error that the system gave.
        #[source]
        source: io::Error,
    },
}

const DIGEST: usize = 32;

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The compiled code of a component, if it is there and can be trusted as much as this program
    /// itself.
    pub(crate) fn load(&self, key: &str) -> Result<Option<Vec<u8>>, CacheProblem> {
        self.check_folder()?;
        let path = self.path(key);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(CacheProblem::Io { path, source: error.into() }),
        };
        let io = |source| CacheProblem::Io { path: path.clone(), source };
        let metadata = file.metadata().map_err(io)?;
        let wrong = |reason| Err(CacheProblem::File { file: path.clone(), reason });
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return wrong("is not a file of yours");
        }
        if metadata.mode() & 0o077 != 0 {
            return wrong("can be opened by others");
        }
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        file.read_to_end(&mut content).map_err(io)?;
        let Some(code) = content.len().checked_sub(DIGEST) else { return wrong("is damaged") };
        let digest = content.split_off(code);
        if Sha256::digest(&content).as_slice() != digest {
            return wrong("is damaged");
        }
        Ok(Some(content))
    }

    /// Keeps compiled code. Two programs that do so at once both succeed: the last one's file
    /// stays, and both are the same.
    pub(crate) fn store(&self, key: &str, code: &[u8]) -> Result<(), CacheProblem> {
        self.check_folder()?;
        let path = self.path(key);
        let temporary = self.folder.join(format!(".{key}.{}.partial", std::process::id()));
        let written =
            write_private(&temporary, code).and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|source| {
            let _ = std::fs::remove_file(&temporary);
            CacheProblem::Io { path, source }
        })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.cwasm"))
    }

    fn check_folder(&self) -> Result<(), CacheProblem> {
        let folder = &self.folder;
        let io = |source| CacheProblem::Io { path: folder.clone(), source };
        let metadata = match std::fs::symlink_metadata(folder) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)
                    .map_err(io)?;
                std::fs::symlink_metadata(folder).map_err(io)?
            }
            Err(error) => return Err(io(error)),
        };
        let wrong = |reason| Err(CacheProblem::Folder { folder: folder.clone(), reason });
        if !metadata.is_dir() {
            return wrong("is not a folder");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return wrong("belongs to somebody else");
        }
        if metadata.mode() & 0o077 != 0 {
            return wrong("can be opened by others");
        }
        Ok(())
    }
}

fn write_private(path: &Path, code: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // What a killed program of the same number left behind is in the way.
    let _ = std::fs::remove_file(path);
    let mut file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(code)?;
    file.write_all(&Sha256::digest(code))?;
    file.sync_all()
}

/// The name of a component's compiled code: its digest, and that of everything in the engine that
/// shapes the code.
pub(crate) fn key(engine: &Engine, digest: &runbook_authority::Digest) -> String {
    let mut hash = HashInto(Sha256::new());
    digest.as_str().hash(&mut hash);
    engine.precompile_compatibility_hash().hash(&mut hash);
    let full = runbook_authority::Digest::from_sha256(hash.0.finalize().into());
    full.as_str().trim_start_matches("sha256:").to_owned()
}

/// Feeds everything that is hashed into SHA-256.
struct HashInto(Sha256);

impl Hasher for HashInto {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.clone().finalize();
        u64::from_le_bytes(hash[..8].try_into().expect("eight bytes of thirty-two"))
    }
}
