//! A small Hub: one repository, its storage on another host, and what a user sees.
#![allow(dead_code, clippy::unwrap_used)] // Each test file uses its own part.

pub mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bsbr_hub::{Hub, HubConfig, HubError, LocalFile, Notice, Progress, Repository};
use server::{Reply, Request, Server};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use tempfile::TempDir;

/// The commit that `main` is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// A commit that `main` was.
pub const OLD: &str = "89abcdef0123456789abcdef0123456789abcdef";
pub const MODEL: &str = "owner/small-gpt2";

/// How a server may be made to answer otherwise.
pub type Fault = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

#[derive(Clone)]
struct Stored {
    content: Vec<u8>,
    large: bool,
}

/// The repository `owner/small-gpt2`, to be served.
pub struct Fixture {
    files: BTreeMap<String, Stored>,
    commit: String,
    fault: Fault,
    storage_fault: Fault,
}

/// The repository, served, and an empty cache.
pub struct Served {
    pub hub: Server,
    pub storage: Arc<Server>,
    pub folder: TempDir,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            commit: COMMIT.to_owned(),
            fault: Box::new(|_| None),
            storage_fault: Box::new(|_| None),
        }
    }
}

impl Fixture {
    /// A usual model, with files that are not needed.
    pub fn model() -> Self {
        Self::default()
            .file("config.json", "{\"model_type\": \"gpt2\"}")
            .file("tokenizer.json", "{}")
            .large("model.safetensors", weights())
            .file("README.md", "A model.")
            .file("vocab.json", "{}")
            .file("merges.txt", "")
            .large("pytorch_model.bin", b"pickle".to_vec())
            .large("tf_model.h5", b"tensors".to_vec())
    }

    /// A file in git itself.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(
            name.to_owned(),
            Stored {
                content: content.into(),
                large: false,
            },
        );
        self
    }

    /// A file in storage, on another host.
    pub fn large(mut self, name: &str, content: Vec<u8>) -> Self {
        self.files.insert(
            name.to_owned(),
            Stored {
                content,
                large: true,
            },
        );
        self
    }

    pub fn without(mut self, names: &[&str]) -> Self {
        self.files.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    pub fn commit(mut self, commit: &str) -> Self {
        self.commit = commit.to_owned();
        self
    }

    pub fn fault(
        mut self,
        fault: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        self.fault = Box::new(fault);
        self
    }

    pub fn storage_fault(
        mut self,
        fault: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        self.storage_fault = Box::new(fault);
        self
    }

    pub fn serve(self) -> Served {
        self.serve_in(tempfile::tempdir().unwrap())
    }

    /// Serves it to one who has a cache already.
    pub fn serve_in(self, folder: TempDir) -> Served {
        let Self {
            files,
            commit,
            fault,
            storage_fault,
        } = self;
        let objects: BTreeMap<String, Vec<u8>> = files
            .values()
            .map(|file| (format!("/{}", sha256(&file.content)), file.content.clone()))
            .collect();
        let storage = Arc::new(Server::start(move |request| {
            storage_fault(request).unwrap_or_else(|| {
                let path = request.path.split('?').next().unwrap();
                objects
                    .get(path)
                    .map_or(Reply::status(404), |content| part(request, content))
            })
        }));
        let address = storage.url();
        let hub = Server::start(move |request| {
            fault(request).unwrap_or_else(|| resolve(request, &files, &commit, &address))
        });
        Served {
            hub,
            storage,
            folder,
        }
    }
}

/// What the Hub answers to `/<repository>/resolve/<revision>/<file>`, and to
/// `/api/models/<repository>/revision/<revision>`.
fn resolve(
    request: &Request,
    files: &BTreeMap<String, Stored>,
    commit: &str,
    storage: &str,
) -> Reply {
    let no = |code: &str| Reply::status(404).header("X-Error-Code", code);
    let api = format!("/api/models/{MODEL}/revision/{commit}");
    if request.path == api {
        let siblings: Vec<String> = files
            .keys()
            .map(|name| format!("{{\"rfilename\": {name:?}}}"))
            .collect();
        let listing = format!("{{\"siblings\": [{}]}}", siblings.join(", "));
        return Reply::status(200).body(listing);
    }
    let Some((repository, rest)) = request.path.split_once("/resolve/") else {
        return no("RepoNotFound");
    };
    let Some((revision, file)) = rest.split_once('/') else {
        return no("EntryNotFound");
    };
    if ![format!("/{MODEL}"), format!("/datasets/{MODEL}")].contains(&repository.to_owned()) {
        return no("RepoNotFound");
    }
    if ![commit, "main", "v1", "refs%2Fpr%2F1"].contains(&revision) {
        return no("RevisionNotFound");
    }
    let Some(Stored { content, large }) = files.get(&file.replace("%20", " ")) else {
        return no("EntryNotFound").header("X-Repo-Commit", commit);
    };
    let reply = if *large {
        Reply::status(302)
            .header(
                "Location",
                format!("{storage}/{}?signature=secret", sha256(content)),
            )
            .header("X-Linked-ETag", format!("\"{}\"", sha256(content)))
            .header("X-Linked-Size", content.len())
            .header("ETag", "\"of-the-redirect\"")
    } else {
        part(request, content).header("ETag", format!("\"{}\"", git_sha1(content)))
    };
    reply.header("X-Repo-Commit", commit)
}

/// The content, or the part of it that is asked for.
pub fn part(request: &Request, content: &[u8]) -> Reply {
    match request.start() {
        None => Reply::status(200).body(content),
        Some(start) if start >= content.len() => Reply::status(416),
        Some(start) => Reply::status(206).body(&content[start..]).header(
            "Content-Range",
            format!("bytes {start}-{}/{}", content.len() - 1, content.len()),
        ),
    }
}

impl Served {
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    pub fn config(&self) -> HubConfig {
        let mut config = HubConfig::new(self.cache());
        config.endpoint = self.hub.url();
        config.backoff = Duration::from_millis(1);
        config.timeout = Duration::from_secs(10);
        config.retries = 2;
        config
    }

    pub fn client(&self) -> Hub {
        Hub::new(self.config()).unwrap()
    }

    /// The model at a revision, or at `main`.
    pub fn model(&self, revision: &str) -> Result<Model, HubError> {
        self.model_with(self.config(), revision, &mut Recorder::default())
    }

    pub fn model_with(
        &self,
        config: HubConfig,
        revision: &str,
        progress: &mut Recorder,
    ) -> Result<Model, HubError> {
        let repository = Repository::model(&format!("{MODEL}@{revision}")).unwrap();
        fetch(&Hub::new(config).unwrap(), &repository, progress)
    }

    /// Files of the hub that were asked for, each once, in order.
    pub fn asked(&self) -> Vec<String> {
        let mut files: Vec<String> = Vec::new();
        for seen in self.hub.seen() {
            let file = seen.path.rsplit('/').next().unwrap().to_owned();
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }

    /// Where the blob with this content is or would be.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.cache()
            .join("models--owner--small-gpt2")
            .join("blobs")
            .join(etag)
    }

    /// Stops the servers and keeps the cache.
    pub fn stop(self) -> TempDir {
        self.folder
    }
}

/// Some files of a repository.
#[derive(Debug)]
pub struct Model {
    pub folder: PathBuf,
    pub commit: String,
    pub confirmed: bool,
    pub files: Vec<LocalFile>,
}

impl Model {
    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of the file that was fetched last.
    pub fn weights(&self) -> PathBuf {
        self.files.last().unwrap().path.clone()
    }
}

/// Files as a model has them: a configuration, a tokenizer, and weights, of which a second form is
/// asked for where the first is not there.
pub fn fetch(
    hub: &Hub,
    repository: &Repository,
    progress: &mut Recorder,
) -> Result<Model, HubError> {
    let mut session = hub.open(repository, "config.json", progress)?;
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for forms in [
        ["config.json", "config.json"],
        ["tokenizer.json", "vocab.json"],
        ["model.safetensors", "pytorch_model.bin"],
    ] {
        let file = match session.find(forms[0])? {
            Some(file) => Some(file),
            None => session.find(forms[1])?,
        };
        match file {
            Some(file) => files.push(file),
            None => missing.push(forms[0].to_owned()),
        }
    }
    if !missing.is_empty() {
        return Err(session.missing(missing));
    }
    session.close()?;
    Ok(Model {
        folder: session.folder(),
        commit: session.commit().to_owned(),
        confirmed: session.is_confirmed(),
        files,
    })
}

/// What a user sees.
#[derive(Debug, Default)]
pub struct Recorder {
    pub started: Vec<(String, Option<u64>, u64)>,
    pub bytes: u64,
    pub finished: Vec<String>,
    pub notices: Vec<Notice>,
}

impl Progress for Recorder {
    fn start(&mut self, file: &str, size: Option<u64>, done: u64) {
        self.started.push((file.to_owned(), size, done));
    }

    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn finish(&mut self, file: &str) {
        self.finished.push(file.to_owned());
    }

    fn notice(&mut self, notice: &Notice) {
        self.notices.push(notice.clone());
    }
}

/// Bytes that no cut leaves alike.
pub fn weights() -> Vec<u8> {
    (0..300_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

pub fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

pub fn git_sha1(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    format!("{:x}", hash.finalize())
}

/// All files below a folder, sorted, links not followed.
pub fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(folder)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    found.sort();
    found
}
