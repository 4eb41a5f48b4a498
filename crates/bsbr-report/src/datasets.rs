//! Datasets as data: what is read from `assets/experiments/datasets.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ReportError;
use crate::spec::{parse, read, spec_error};

/// The file, beside the specifications, of the datasets that texts may come from.
pub const DATASETS: &str = "datasets.toml";

/// The name of the generated texts, which are no dataset.
pub const STORYBOOK: &str = "storybook";

/// The files of a dataset on the Hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// What command lines call it.
    pub id: String,
    /// What tables call it.
    pub label: String,
    /// The repository, `owner/name`.
    pub repository: String,
    /// The commit of it.
    pub revision: String,
    /// What is in which column.
    pub columns: Columns,
    /// The files of each split.
    pub splits: Splits,
}

/// What is in which column of a dataset's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Columns {
    /// A line of WikiText a row.
    Lines {
        /// The column of the line.
        text: String,
    },
    /// An article and its highlights a row.
    Articles {
        /// The column of the article.
        article: String,
        /// The column of its highlights, one a line.
        highlights: String,
    },
}

/// Files of a dataset by split, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// What models learn from.
    pub train: Vec<String>,
    /// What choices are made on.
    pub validation: Vec<String>,
    /// What is reported.
    pub test: Vec<String>,
}

impl DatasetSpec {
    /// The files that experiments read: of texts the beginning of the training split, for
    /// calibration, and the test split; of articles the test split.
    pub fn needed(&self) -> (&[String], &[String]) {
        let training = match self.columns {
            Columns::Lines { .. } => self.splits.train.get(..1).unwrap_or_default(),
            Columns::Articles { .. } => &[],
        };
        (training, &self.splits.test)
    }
}

/// A dataset whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDataset {
    /// What it is.
    pub spec: DatasetSpec,
    /// Files of the training split, as far as they are needed.
    pub training: Vec<PathBuf>,
    /// Files of the test split.
    pub test: Vec<PathBuf>,
}

/// Every dataset, and those that a model reads that was not trained on storybook.
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
    /// [`ReportError`] where it cannot be read, names a dataset twice, or its default is none.
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
    /// What there is, in words, where there is none of that id.
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
