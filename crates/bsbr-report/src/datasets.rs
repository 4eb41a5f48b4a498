//! Datasets as data: the contents of `assets/experiments/datasets.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ReportError;
use crate::spec::{parse, read, spec_error};

/// The file that lists datasets, beside the specifications.
pub const DATASETS: &str = "datasets.toml";

/// The name of the generated texts, which are not a dataset.
pub const STORYBOOK: &str = "storybook";

/// The files of a dataset on the Hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// Its name on command lines.
    pub id: String,
    /// Its name in tables.
    pub label: String,
    /// The repository, `owner/name`.
    pub repository: String,
    /// The commit of the repository.
    pub revision: String,
    /// Its columns.
    pub columns: Columns,
    /// The files of each split.
    pub splits: Splits,
}

/// The columns of a dataset's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Columns {
    /// One line of WikiText per row.
    Lines {
        /// The column of the line.
        text: String,
    },
    /// One article with its highlights per row.
    Articles {
        /// The column of the article.
        article: String,
        /// The column of its highlights, one per line.
        highlights: String,
    },
}

/// Files of a dataset by split, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// For training.
    pub train: Vec<String>,
    /// For choices.
    pub validation: Vec<String>,
    /// For reported results.
    pub test: Vec<String>,
}

impl DatasetSpec {
    /// The files that experiments read: for texts the start of the training split, for
    /// calibration, and the test split; for articles the test split.
    pub fn needed(&self) -> (&[String], &[String]) {
        let training = match self.columns {
            Columns::Lines { .. } => self.splits.train.get(..1).unwrap_or_default(),
            Columns::Articles { .. } => &[],
        };
        (training, &self.splits.test)
    }
}

/// A dataset with local files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDataset {
    /// Its description.
    pub spec: DatasetSpec,
    /// Files of the training split, as far as needed.
    pub training: Vec<PathBuf>,
    /// Files of the test split.
    pub test: Vec<PathBuf>,
}

/// All datasets, and the defaults for models that were not trained on storybook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Ids of datasets.
    #[serde(default)]
    pub default: Vec<String>,
    /// The datasets.
    #[serde(default, rename = "dataset")]
    pub datasets: Vec<DatasetSpec>,
}

impl Catalogue {
    /// Reads [`DATASETS`] of a folder of specifications.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if it cannot be read, names a dataset twice, or its default does not
    /// exist.
    pub fn read(folder: &Path) -> Result<Self, ReportError> {
        let path = folder.join(DATASETS);
        let catalogue: Self = parse(&path, &read(&path)?)?;
        let ids: Vec<&str> = catalogue.ids().collect();
        if let Some(index) = (0..ids.len()).find(|&index| ids[..index].contains(&ids[index])) {
            let message = format!("dataset `{}` is named twice", ids[index]);
            return Err(spec_error(&path, message));
        }
        for id in &catalogue.default {
            catalogue
                .find(id)
                .map_err(|message| spec_error(&path, message))?;
        }
        Ok(catalogue)
    }

    /// The dataset of an id.
    ///
    /// # Errors
    ///
    /// The known ids, in words, if there is no such dataset.
    pub fn find(&self, id: &str) -> Result<&DatasetSpec, String> {
        let found = self.datasets.iter().find(|one| one.id == id);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.ids().collect();
            format!(
                "`{id}` is neither a file nor a dataset; there are {STORYBOOK}, {}",
                known.join(", ")
            )
        })
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        self.datasets.iter().map(|one| one.id.as_str())
    }
}
