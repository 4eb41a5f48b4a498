//! A repository in the cache, in the layout that `hf-hub` and `huggingface_hub` share.
//!
//! ```text
//! models--owner--name/
//!   refs/main               the commit of the branch when it was last resolved
//!   snapshots/<commit>/…    the files of a commit, as links to blobs
//!   blobs/<etag>            their content; <etag>.part during the download
//!   .no_exist/<commit>/…    files that the commit is known not to have
//!   listings/<commit>.json  the paths of all its files; other tools ignore this
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::{Cache, CacheRepo};

use crate::error::HubError;
use crate::etag::Etag;
use crate::names::{Repository, is_commit};
use crate::progress::{Notice, Progress};

/// A repository's folder in the cache.
#[derive(Debug)]
pub(crate) struct RepositoryCache {
    layout: CacheRepo,
    root: PathBuf,
    revision: String,
}

/// Excludes other processes from a download until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl RepositoryCache {
    pub(crate) fn new(cache: &Path, repository: &Repository) -> Self {
        let repo = repository.to_hf();
        Self {
            root: cache.join(repo.folder_name()),
            revision: repository.revision().to_owned(),
            layout: Cache::new(cache.to_owned()).repo(repo),
        }
    }

    /// The last known commit of the revision.
    pub(crate) fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let text = fs::read_to_string(self.root.join("refs").join(&self.revision)).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Stores the commit of the revision.
    pub(crate) fn remember(&self, commit: &str) -> Result<(), HubError> {
        if self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        self.layout
            .create_ref(commit)
            .map_err(HubError::io("write", self.root.join("refs")))
    }

    /// The folder with the files of a commit.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// A file of a commit, if it is in the cache.
    pub(crate) fn file(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(file);
        path.is_file().then_some(path)
    }

    /// Whether the commit is known not to have the file.
    pub(crate) fn is_absent(&self, commit: &str, file: &str) -> bool {
        self.absent(commit, file).is_file()
    }

    /// Records that the commit does not have the file, which cannot change.
    pub(crate) fn mark_absent(&self, commit: &str, file: &str) -> Result<(), HubError> {
        let path = self.absent(commit, file);
        create_parent(&path)?;
        File::create(&path)
            .map(drop)
            .map_err(HubError::io("write", path))
    }

    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }

    /// The paths of a commit's files, if they are known.
    pub(crate) fn listing(&self, commit: &str) -> Option<Vec<String>> {
        let text = fs::read(self.listed(commit)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Stores the paths of a commit's files, which cannot change.
    pub(crate) fn remember_listing(&self, commit: &str, files: &[String]) -> Result<(), HubError> {
        let path = self.listed(commit);
        create_parent(&path)?;
        let new = self.unique(&path, "new");
        serde_json::to_vec(files)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(HubError::io("write", path))
    }

    fn listed(&self, commit: &str) -> PathBuf {
        self.root.join("listings").join(format!("{commit}.json"))
    }

    /// A name beside a path, unique for every thread of every process.
    fn unique(&self, path: &Path, end: &str) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut new = path.to_owned().into_os_string();
        new.push(format!(".{}-{number}.{end}", std::process::id()));
        PathBuf::from(new)
    }

    /// The path of the content with this ETag.
    pub(crate) fn blob(&self, etag: &Etag) -> PathBuf {
        self.layout.blob_path(etag.as_str())
    }

    /// The path of its partial download.
    pub(crate) fn part(&self, etag: &Etag) -> PathBuf {
        self.layout.blob_path(&format!("{}.part", etag.as_str()))
    }

    /// Waits until no other process downloads the same content.
    pub(crate) fn lock(
        &self,
        etag: &Etag,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<Lock, HubError> {
        let path = self.layout.blob_path(&format!("{}.lock", etag.as_str()));
        create_parent(&path)?;
        let lock = File::create(&path).map_err(HubError::io("write", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.notice(&Notice::Waiting {
                    file: file.to_owned(),
                });
                lock.lock().map_err(HubError::io("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(HubError::io("lock", &path)(error)),
        }
        Ok(Lock { _file: lock })
    }

    /// Links content to its name in a commit's folder.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &Etag) -> Result<PathBuf, HubError> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        // A relative link through the repository's folder, so that the cache can be
        // moved.
        let mut target = PathBuf::new();
        for _ in 0..file.split('/').count() + 1 {
            target.push("..");
        }
        let target = target.join("blobs").join(etag.as_str());
        let new = self.unique(&path, "link");
        place(&self.blob(etag), &target, &new)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(HubError::io("write", &path))?;
        Ok(path)
    }
}

/// A link if the system supports it, otherwise a copy.
fn place(blob: &Path, target: &Path, new: &Path) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, new)
        .or_else(|_| fs::hard_link(blob, new))
        .or_else(|_| fs::copy(blob, new).map(drop))
}

#[cfg(unix)]
fn symlink(target: &Path, new: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, new)
}

#[cfg(windows)]
fn symlink(target: &Path, new: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, new)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn create_parent(path: &Path) -> Result<(), HubError> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(HubError::io("create", parent)),
        None => Ok(()),
    }
}
