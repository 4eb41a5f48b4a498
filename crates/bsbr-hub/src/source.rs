//! The source of a model.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::HubError;
use crate::names::Repository;

/// A local folder, or a repository of the Hub.
///
/// When parsed from text, an existing folder takes precedence over a repository of the same name,
/// as in `transformers`. Write `./name` or an absolute path to mean only a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelSource {
    /// A folder, which is used directly.
    Folder(PathBuf),
    /// A repository, whose files are downloaded or found in the cache.
    Repository(Repository),
}

impl FromStr for ModelSource {
    type Err = HubError;

    /// # Errors
    ///
    /// [`HubError::NoSuchFolder`] for text that can only be a path, [`HubError::InvalidName`] for
    /// text that is neither.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let only_a_path = path.is_absolute()
            || text.starts_with(['.', '/', '~'])
            || text.contains('\\')
            || text.ends_with('/')
            || text
                .split('@')
                .next()
                .is_some_and(|name| name.matches('/').count() > 1)
            || path.is_file();
        if only_a_path {
            return Err(HubError::NoSuchFolder {
                path: path.to_owned(),
            });
        }
        Repository::model(text).map(Self::Repository)
    }
}
