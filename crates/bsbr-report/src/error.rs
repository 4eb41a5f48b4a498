//! Errors from specification to page.

use std::path::{Path, PathBuf};

/// An experiment that cannot be read, run, recorded or rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A path that cannot be written.
    #[error(transparent)]
    Output(#[from] bsbr_files::FileError),
    /// A file or folder that cannot be changed or removed.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An invalid file: a specification, an arm, a reported figure, votes, or a page without a place
    /// for tables.
    #[error("{path}: {message}")]
    Spec {
        /// The file.
        path: PathBuf,
        /// The error.
        message: String,
    },
    /// A setting of an experiment that is missing, of the wrong type or out of bounds.
    #[error("experiment {experiment}: `{table}`: {message}")]
    Setting {
        /// The experiment.
        experiment: String,
        /// `settings` or `counts`.
        table: &'static str,
        /// The error.
        message: String,
    },
    /// A claim or number of the overview whose data does not exist.
    #[error("overview: “{text}”: {message}")]
    Overview {
        /// Its words.
        text: String,
        /// The error.
        message: String,
    },
    /// A measurement that is not in the specification.
    #[error(
        "experiment {experiment} measured something that its specification does not declare: \
             {message}"
    )]
    Undeclared {
        /// The experiment.
        experiment: String,
        /// The undeclared name, and the declared ones.
        message: String,
    },
    /// Records of a program with uncommitted changes.
    #[error(
        "{count} records in {path} come from a program with uncommitted changes (first: {first}); \
         commit, build and measure again"
    )]
    Uncommitted {
        /// The folder of records.
        path: PathBuf,
        /// Their number.
        count: usize,
        /// The first unit.
        first: String,
    },
    /// Weights that cannot be packed as requested.
    #[error(transparent)]
    Pack(#[from] bsbr_gpt2::PackError),
    /// An experiment without an implementation.
    #[error("there is no experiment called {name}; there are {known}")]
    UnknownExperiment {
        /// The requested name.
        name: String,
        /// The known names.
        known: String,
    },
    /// An invalid record.
    #[error("{path} is not a record ({message}); delete it to run the unit again")]
    Record {
        /// The file.
        path: PathBuf,
        /// The error.
        message: String,
    },
    /// A model that cannot be loaded.
    #[error(transparent)]
    Load(#[from] bsbr_convert::LoadError),
    /// A model whose layers have several arms, where a single arm is required.
    #[error(
        "{name}: its layers have several arms ({arms}), but each row of these experiments has one; \
         use `evaluate` for such a model"
    )]
    SeveralArms {
        /// The model.
        name: String,
        /// The arms, by layer.
        arms: String,
    },
    /// A model that cannot be compared with the base.
    #[error("{name}: its {what} is {found}, but the base's is {expected}; evaluate it separately")]
    Unlike {
        /// The model.
        name: String,
        /// The differing property.
        what: &'static str,
        /// The model's value.
        found: String,
        /// The base's value.
        expected: String,
    },
    /// A model that cannot be converted.
    #[error(transparent)]
    Convert(#[from] bsbr_convert::ConvertError),
    /// An unusable model configuration.
    #[error(transparent)]
    Config(#[from] bsbr_gpt2::ConfigError),
    /// An input that the model cannot take.
    #[error(transparent)]
    Input(#[from] bsbr_gpt2::InputError),
    /// Text that cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] bsbr_data::tokenizer::TokenizerError),
    /// A model that cannot be fine-tuned.
    #[error(transparent)]
    Train(#[from] bsbr_train::TrainError),
    /// A fine-tuned model that cannot be saved.
    #[error(transparent)]
    Save(#[from] bsbr_convert::SaveError),
    /// Fine-tuning without an output folder.
    #[error("there is no folder for fine-tuned models; give the lab one")]
    NoModelFolder,
    /// A tensor that cannot be read back.
    #[error("cannot read a tensor back: {0}")]
    Tensor(String),
    /// A file of texts that cannot be read.
    #[error(transparent)]
    Dataset(#[from] bsbr_data::dataset::DatasetError),
    /// Two datasets of articles instead of one.
    #[error("both {first} and {second} hold articles to summarise; name only one of them")]
    TwoOfArticles {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// A domain that the texts do not have.
    #[error("no texts are called {name}")]
    NoDomain {
        /// The name.
        name: String,
    },
    /// Texts that are too short for the request.
    #[error(
        "{path} has {found} tokens besides the calibration part, but {needed} are needed for texts \
         of {length} tokens; give a longer file"
    )]
    ShortText {
        /// The file.
        path: PathBuf,
        /// Its tokens, without those for calibration.
        found: usize,
        /// Tokens needed.
        needed: usize,
        /// Tokens per text.
        length: usize,
    },
    /// An image that cannot be encoded or decoded.
    #[error("cannot encode an image: {0}")]
    Image(String),
    /// JSON that cannot be written.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The run was stopped before the last unit.
    #[error("stopped after {done} of {total} units; run the same command again to continue")]
    Stopped {
        /// Recorded units.
        done: usize,
        /// Units of the run.
        total: usize,
    },
}

impl ReportError {
    /// The error of a file or folder that cannot be changed or removed.
    pub(crate) fn writing(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    /// The error of a file or folder that cannot be read.
    pub(crate) fn reading(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}
