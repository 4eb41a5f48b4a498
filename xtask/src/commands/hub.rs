//! Models and datasets by their name on the Hugging Face Hub.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use bsbr_convert::{FileSource, GatherError, gather};
use bsbr_hub::{Hub, HubConfig, HubError, ModelSource, Notice, Progress, Repository, Session};
use bsbr_report::datasets::DatasetSpec;
use indicatif::ProgressBar;

use crate::assets;

/// A file of every model, which is requested first.
const CONFIG: &str = "config.json";

/// Options for fetching models and datasets.
#[derive(Debug, clap::Args)]
pub struct HubArgs {
    /// Use only downloaded files of the Hub, without the network (also HF_HUB_OFFLINE=1)
    #[arg(long)]
    offline: bool,
}

/// A model's folder and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder.
    pub folder: PathBuf,
    /// The repository, `owner/name`, and the commit; `None` for a local folder.
    pub base: Option<(String, String)>,
}

impl Found {
    /// The repository's name without its owner.
    pub fn name(&self) -> Option<&str> {
        let (repository, _) = self.base.as_ref()?;
        repository.rsplit('/').next()
    }
}

impl HubArgs {
    /// The folder of `model`: itself, or that of a repository's files in the cache.
    ///
    /// # Errors
    ///
    /// Why the files are unavailable, and what to do.
    pub fn find(&self, model: &Path) -> Result<Found> {
        let own = |folder: &Path| Found {
            folder: folder.to_owned(),
            base: None,
        };
        // The default is a folder even if it is missing, not a name.
        if model == assets::bundled() {
            assets::check(model)?;
            return Ok(own(model));
        }
        let text = model.display().to_string();
        let context = || format!("--model {text}");
        let source = ModelSource::from_str(&text).with_context(context)?;
        let repository = match &source {
            ModelSource::Folder(folder) => return Ok(own(folder)),
            ModelSource::Repository(repository) => repository,
        };
        let (folder, commit) = self.fetch(repository).with_context(context)?;
        let name = repository.name().to_owned();
        eprintln!("{name} at commit {commit}");
        Ok(Found {
            folder,
            base: Some((name, commit)),
        })
    }

    /// The folder with the files of a model from the Hub, and their commit.
    fn fetch(&self, repository: &Repository) -> Result<(PathBuf, String)> {
        let hub = self.client()?;
        let mut bars = Bars::new();
        let mut session = hub.open(repository, CONFIG, &mut bars)?;
        match gather(&mut Fetched(&mut session)) {
            Ok(()) => {}
            Err(GatherError::Missing(files)) => return Err(session.missing(files).into()),
            Err(error) => return Err(error.into()),
        }
        session.close()?;
        Ok((session.folder(), session.commit().to_owned()))
    }

    /// The named files of a dataset, from the cache or downloaded.
    ///
    /// # Errors
    ///
    /// Why the files are unavailable, and what to do.
    pub fn files(&self, dataset: &DatasetSpec, names: &[String]) -> Result<Vec<PathBuf>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let name = format!("{}@{}", dataset.repository, dataset.revision);
        let repository = Repository::dataset(&name)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let snapshot = self
            .client()?
            .files(&repository, &names, &mut Bars::new())
            .with_context(|| format!("{}, from {repository}", dataset.label))?;
        Ok(snapshot.files.into_iter().map(|file| file.path).collect())
    }

    fn client(&self) -> Result<Hub> {
        Ok(Hub::new(self.config(HubConfig::from_env()?))?)
    }

    /// The settings of the environment, overridden by those of the command line.
    pub fn config(&self, from_env: HubConfig) -> HubConfig {
        HubConfig {
            offline: from_env.offline || self.offline,
            ..from_env
        }
    }
}

/// The files of a repository.
struct Fetched<'a, 'b>(&'a mut Session<'b>);

impl FileSource for Fetched<'_, '_> {
    type Error = HubError;

    fn list(&mut self) -> Result<Option<Vec<String>>, HubError> {
        self.0.list()
    }

    fn fetch(&mut self, name: &str, max: Option<u64>) -> Result<Option<PathBuf>, HubError> {
        let file = self.0.find_within(name, max)?;
        Ok(file.map(|file| file.path))
    }
}

/// A progress bar per file.
struct Bars {
    bar: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let form = "{msg} {bar:24} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        Self {
            bar: super::bar(0, form),
        }
    }
}

impl Progress for Bars {
    fn start(&mut self, file: &str, size: Option<u64>, done: u64) {
        self.bar.reset();
        self.bar.set_length(size.unwrap_or(done));
        self.bar.set_position(done);
        self.bar.set_message(file.to_owned());
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn finish(&mut self, file: &str) {
        let position = self.bar.position();
        self.bar.suspend(|| eprintln!("{file}: {position} bytes"));
        self.bar.reset();
    }

    fn notice(&mut self, notice: &Notice) {
        self.bar.suspend(|| eprintln!("{notice}"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Found, HubArgs};
    use crate::assets;

    #[test]
    fn a_folder_is_used_as_it_is() {
        let hub = HubArgs { offline: true };
        let folder = tempfile::tempdir().expect("a folder");
        for model in [folder.path(), &assets::bundled()] {
            let found = hub.find(model).expect("a folder");
            let expected = Found {
                folder: model.to_owned(),
                base: None,
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_no_name() {
        let hub = HubArgs { offline: true };
        let error = hub
            .find(Path::new("./no/such/folder"))
            .expect_err("no folder");
        let text = format!("{error:#}");
        assert!(text.contains("--model ./no/such/folder"), "{text}");
        assert!(text.contains("folder"), "{text}");
    }
}
