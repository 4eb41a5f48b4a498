//! Names of repositories, their revisions and their files.

use std::fmt;
use std::str::FromStr;

use crate::error::HubError;

/// The length limit of owners, names and revisions, in characters.
const MAX_NAME: usize = 96;
/// The default branch.
const MAIN: &str = "main";

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepositoryKind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl fmt::Display for RepositoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        })
    }
}

/// A repository of the Hub at a revision: `owner/name@revision`.
///
/// Owner and revision are optional. The default revision is the branch `main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    kind: RepositoryKind,
    name: String,
    revision: String,
}

impl Repository {
    /// A model, from `owner/name` or `name`, and an optional `@revision`.
    ///
    /// # Errors
    ///
    /// [`HubError::InvalidName`] if the text is not a name.
    pub fn model(text: &str) -> Result<Self, HubError> {
        Self::parse(RepositoryKind::Model, text)
    }

    /// A dataset, from `owner/name` or `name`, and an optional `@revision`.
    ///
    /// # Errors
    ///
    /// [`HubError::InvalidName`] if the text is not a name.
    pub fn dataset(text: &str) -> Result<Self, HubError> {
        Self::parse(RepositoryKind::Dataset, text)
    }

    fn parse(kind: RepositoryKind, text: &str) -> Result<Self, HubError> {
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let invalid = |reason| HubError::InvalidName {
            name: text.to_owned(),
            reason,
        };
        check_name(name).map_err(invalid)?;
        check_revision(revision).map_err(invalid)?;
        Ok(Self {
            kind,
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> RepositoryKind {
        self.kind
    }

    /// `owner/name`, or `name` without an owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A branch, a tag or a commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a full commit id, which always means the same files.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }

    /// The same repository at a commit.
    pub(crate) fn at(&self, commit: &str) -> Self {
        Self {
            revision: commit.to_owned(),
            ..self.clone()
        }
    }

    /// The same as a type of `hf-hub`.
    pub(crate) fn to_hf(&self) -> hf_hub::Repo {
        let kind = match self.kind {
            RepositoryKind::Model => hf_hub::RepoType::Model,
            RepositoryKind::Dataset => hf_hub::RepoType::Dataset,
        };
        hf_hub::Repo::with_revision(self.name.clone(), kind, self.revision.clone())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}@{}", self.kind, self.name, self.revision)
    }
}

/// A model's name, as in [`Repository::model`].
impl FromStr for Repository {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        Self::model(text)
    }
}

/// Forty lower-case hexadecimal digits.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && is_hexadecimal(revision)
}

/// Whether text has only lower-case hexadecimal digits.
pub(crate) fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.matches('/').count() > 1 {
        return Err("it has more than one slash");
    }
    for part in name.split('/') {
        check_word(part)?;
        // The cache writes `owner/name` as `owner--name`.
        if part.contains("--") || part.contains("..") {
            return Err("`--` and `..` are not allowed in it");
        }
        if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
            return Err("a part of it starts or ends with `-` or `.`");
        }
    }
    if name.ends_with(".git") {
        return Err("it ends with `.git`");
    }
    Ok(())
}

fn check_revision(revision: &str) -> Result<(), &'static str> {
    for part in revision.split('/') {
        check_word(part)?;
        if part.starts_with('.') || part.ends_with('.') || part.contains("..") {
            return Err("a part of the revision starts or ends with `.` or contains `..`");
        }
    }
    Ok(())
}

fn check_word(word: &str) -> Result<(), &'static str> {
    if word.is_empty() {
        return Err("a part of it is empty");
    }
    if word.len() > MAX_NAME {
        return Err("a part of it is longer than 96 characters");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !word.bytes().all(allowed) {
        return Err("only ASCII letters, digits, `-`, `_` and `.` are allowed in its parts");
    }
    Ok(())
}

/// Refuses a path that is not a file inside a folder.
///
/// Paths come from untrusted files, and are joined to local folders.
pub(crate) fn check_path(path: &str) -> Result<(), HubError> {
    let reason = if path.is_empty() {
        "it is empty"
    } else if path.contains(['\\', ':']) || path.contains(char::is_control) {
        // Windows separators and drives are refused everywhere: files fetched on one system
        // should be usable on another.
        "backslashes, colons and control characters are not allowed in it"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it has an empty part, `.` or `..`, and may leave its folder"
    } else {
        return Ok(());
    };
    Err(HubError::InvalidPath {
        path: path.to_owned(),
        reason,
    })
}
