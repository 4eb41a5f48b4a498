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
#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(windows)]
use std::os::windows::fs::symlink_file as symlink;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo};

use crate::error::HubError;
use crate::etag::Etag;
use crate::names::{Repository, is_commit};
use crate::progress::{Notice, Progress};

/// A repository's folder in the cache, for the files of one commit.
#[derive(Debug)]
pub(crate) struct RepositoryCache {
    layout: CacheRepo,
    root: PathBuf,
    /// The file with the last known commit of the revision.
    reference: PathBuf,
    /// Empty if it is unknown.
    pub(crate) commit: String,
}

impl RepositoryCache {
    /// At the revision's commit, or at the last known one of a branch or tag.
    pub(crate) fn new(cache: &Path, repository: &Repository) -> Self {
        let repo = repository.to_hf();
        let root = cache.join(repo.folder_name());
        let mut new = Self {
            reference: root.join("refs").join(repository.revision()),
            root,
            layout: Cache::new(cache.to_owned()).repo(repo),
            commit: repository.revision().to_owned(),
        };
        if !repository.is_pinned() {
            new.commit = new.last_known().unwrap_or_default();
        }
        new
    }

    fn last_known(&self) -> Option<String> {
        let text = fs::read_to_string(&self.reference).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Stores the commit as that of the revision.
    pub(crate) fn remember(&self) -> Result<(), HubError> {
        if self.last_known().as_ref() == Some(&self.commit) {
            return Ok(());
        }
        self.layout
            .create_ref(&self.commit)
            .map_err(HubError::io("write", &self.reference))
    }

    /// The folder with the files of the commit.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.layout.pointer_path(&self.commit)
    }

    /// A file of the commit, if it is in the cache.
    pub(crate) fn file(&self, file: &str) -> Option<PathBuf> {
        let path = self.snapshot().join(file);
        path.is_file().then_some(path)
    }

    /// Whether the commit is known not to have the file.
    pub(crate) fn is_absent(&self, file: &str) -> bool {
        self.absent(file).is_file()
    }

    /// Records that the commit does not have the file, which cannot change.
    pub(crate) fn mark_absent(&self, file: &str) -> Result<(), HubError> {
        place(&self.absent(file), |new| File::create(new).map(drop))
    }

    fn absent(&self, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(&self.commit).join(file)
    }

    /// The paths of the commit's files, if they are known.
    pub(crate) fn listing(&self) -> Option<Vec<String>> {
        serde_json::from_slice(&fs::read(self.listed()).ok()?).ok()
    }

    /// Stores the paths of the commit's files, which cannot change.
    pub(crate) fn remember_listing(&self, files: &[String]) -> Result<(), HubError> {
        place(&self.listed(), |new| {
            fs::write(new, serde_json::to_vec(files)?)
        })
    }

    fn listed(&self) -> PathBuf {
        let name = format!("{}.json", self.commit);
        self.root.join("listings").join(name)
    }

    /// The path of the content with this ETag.
    pub(crate) fn blob(&self, etag: &Etag) -> PathBuf {
        self.layout.blob_path(etag.as_str())
    }

    /// The path of its partial download.
    pub(crate) fn part(&self, etag: &Etag) -> PathBuf {
        self.layout.blob_path(&format!("{}.part", etag.as_str()))
    }

    /// Waits until no other process downloads the same content. None does so until the file is
    /// dropped.
    pub(crate) fn lock(
        &self,
        etag: &Etag,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<File, HubError> {
        let path = self.layout.blob_path(&format!("{}.lock", etag.as_str()));
        create_parent(&path)?;
        let lock = File::create(&path).map_err(HubError::io("write", &path))?;
        let locked = match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                progress.notice(&Notice::Waiting {
                    file: file.to_owned(),
                });
                lock.lock()
            }
            outcome => outcome.map_err(io::Error::from),
        };
        locked.map_err(HubError::io("lock", path))?;
        Ok(lock)
    }

    /// Links content to its name in the commit's folder.
    pub(crate) fn link(&self, file: &str, etag: &Etag) -> Result<PathBuf, HubError> {
        let path = self.snapshot().join(file);
        let blob = self.blob(etag);
        // A relative link through the repository's folder, so that the cache can be moved.
        let up = file.split('/').map(|_| "..");
        let target: PathBuf = up.chain(["..", "blobs", etag.as_str()]).collect();
        // A hard link or a copy if the system does not support links.
        place(&path, |new| {
            symlink(&target, new)
                .or_else(|_| fs::hard_link(&blob, new))
                .or_else(|_| fs::copy(&blob, new).map(drop))
        })?;
        Ok(path)
    }
}

/// Creates a file under a temporary name, and then gives it its own.
fn place(path: &Path, create: impl FnMut(&Path) -> io::Result<()>) -> Result<(), HubError> {
    let folder = create_parent(path)?;
    tempfile::Builder::new()
        .make_in(folder, create)
        .and_then(|new| new.persist(path).map_err(io::Error::from))
        .map_err(HubError::io("write", path))
}

/// The folder of a path, created if needed.
fn create_parent(path: &Path) -> Result<&Path, HubError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(HubError::io("create", parent))?;
    Ok(parent)
}
