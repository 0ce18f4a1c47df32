//! The cache of compiled code on disk, so that a second start compiles nothing.
//!
//! Code from the cache runs as native code. So the folder and each file must belong to this user,
//! no other user may access them, and the digest must match; otherwise the component is compiled
//! again, and the reason is reported.

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

/// The length of a SHA-256 digest, in bytes.
const DIGEST_LENGTH: usize = 32;

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The compiled code of a component, if the cache has it and no other user could have changed
    /// it.
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
        let refuse = |reason| Err(CacheProblem::File { file: path.clone(), reason });
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return refuse("is not a file of yours");
        }
        if metadata.mode() & 0o077 != 0 {
            return refuse("can be opened by others");
        }
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        file.read_to_end(&mut content).map_err(io)?;
        let Some(code) = content.len().checked_sub(DIGEST_LENGTH) else {
            return refuse("is damaged");
        };
        let digest = content.split_off(code);
        if Sha256::digest(&content).as_slice() != digest {
            return refuse("is damaged");
        }
        Ok(Some(content))
    }

    /// Writes compiled code into the cache. If two programs do this at once, both succeed: they
    /// write the same content, and the last file stays.
    pub(crate) fn store(&self, key: &str, code: &[u8]) -> Result<(), CacheProblem> {
        self.check_folder()?;
        let path = self.path(key);
        let temporary_path = self.folder.join(format!(".{key}.{}.partial", std::process::id()));
        let written = write_private(&temporary_path, code)
            .and_then(|()| std::fs::rename(&temporary_path, &path));
        written.map_err(|source| {
            let _ = std::fs::remove_file(&temporary_path);
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
        let refuse = |reason| Err(CacheProblem::Folder { folder: folder.clone(), reason });
        if !metadata.is_dir() {
            return refuse("is not a folder");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return refuse("belongs to somebody else");
        }
        if metadata.mode() & 0o077 != 0 {
            return refuse("can be opened by others");
        }
        Ok(())
    }
}

fn write_private(path: &Path, code: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A killed program with the same process id may have left this file.
    let _ = std::fs::remove_file(path);
    let mut file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(code)?;
    file.write_all(&Sha256::digest(code))?;
    file.sync_all()
}

/// The key of a component's compiled code: a digest of the component's digest and of the engine
/// settings that affect the code.
pub(crate) fn key(engine: &Engine, digest: &runbook_authority::Digest) -> String {
    let mut hash = Sha256Hasher(Sha256::new());
    digest.as_str().hash(&mut hash);
    engine.precompile_compatibility_hash().hash(&mut hash);
    let full = runbook_authority::Digest::from_sha256(hash.0.finalize().into());
    full.as_str().trim_start_matches("sha256:").to_owned()
}

/// A [`Hasher`] that computes SHA-256.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.clone().finalize();
        u64::from_le_bytes(hash[..8].try_into().expect("eight bytes of thirty-two"))
    }
}
