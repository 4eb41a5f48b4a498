//! What can go wrong between a specification and its page.

use std::path::PathBuf;

/// An experiment that cannot be read, run, recorded or rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A place that cannot be written.
    #[error(transparent)]
    Output(#[from] bsbr_files::FileError),
    /// A file or folder that cannot be changed or removed.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A specification, arm or reported figure that is not as it should be.
    #[error("{path}: {message}")]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A setting of an experiment that is missing, of the wrong type or out of bounds.
    #[error("experiment {experiment}: `{table}`: {message}")]
    Setting {
        /// The experiment.
        experiment: String,
        /// `settings` or `counts`.
        table: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A claim or number of the overview that reads what is not there.
    #[error("overview: “{text}”: {message}")]
    Overview {
        /// Its words.
        text: String,
        /// What is wrong.
        message: String,
    },
    /// A measurement that the specification does not declare.
    #[error("experiment {experiment} measured what its specification does not declare: {message}")]
    Undeclared {
        /// The experiment.
        experiment: String,
        /// What is not declared, and what is.
        message: String,
    },
    /// Records of a program that was built of files that are in no commit.
    #[error(
        "{count} records in {path} were made by a program with uncommitted changes, the first of \
         them {first}; commit, build and measure again"
    )]
    Uncommitted {
        /// The folder of records.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first unit.
        first: String,
    },
    /// An experiment without an implementation.
    #[error("there is no experiment called {name}; there are {known}")]
    UnknownExperiment {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A record that cannot be understood.
    #[error("{path} is not a record ({message}); delete it, and the unit is run again")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A record of the benchmark that cannot be understood.
    #[error("{path} is not a record of the benchmark ({message}); measure it anew or delete it")]
    BenchRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A page without the place for what is measured.
    #[error("{path} has no line `{begin}` with a line `{end}` after it, between which tables go")]
    Page {
        /// The file.
        path: PathBuf,
        /// The line before the tables.
        begin: &'static str,
        /// The line after them.
        end: &'static str,
    },
    /// A line of votes that cannot be understood.
    #[error("{path}, line {line}: {message}; correct or delete the line")]
    Votes {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A model that cannot be loaded.
    #[error(transparent)]
    Load(#[from] bsbr_convert::LoadError),
    /// A model that is no reference: some of its layers are not dense.
    #[error("{path}: layer {layer} is {arm}, but the arms are made here; give the dense model")]
    NotDense {
        /// The folder.
        path: PathBuf,
        /// The first layer that is not dense.
        layer: usize,
        /// Its arm.
        arm: &'static str,
    },
    /// A model that cannot be converted.
    #[error(transparent)]
    Convert(#[from] bsbr_convert::ConvertError),
    /// A model configuration that cannot be used.
    #[error(transparent)]
    Config(#[from] bsbr_gpt2::ConfigError),
    /// An input that the model cannot take.
    #[error(transparent)]
    Input(#[from] bsbr_gpt2::InputError),
    /// Text that cannot be turned into tokens.
    #[error(transparent)]
    Tokenizer(#[from] bsbr_data::tokenizer::TokenizerError),
    /// A model that cannot be fine-tuned.
    #[error(transparent)]
    Train(#[from] bsbr_train::TrainError),
    /// A fine-tuned model that cannot be kept.
    #[error(transparent)]
    Save(#[from] bsbr_convert::SaveError),
    /// Fine-tuning without a place for what comes of it.
    #[error("there is no folder to keep fine-tuned models in; give the lab one")]
    NoModelFolder,
    /// A tensor that cannot be read back.
    #[error("cannot read a tensor back: {0}")]
    Tensor(String),
    /// A file of texts that cannot be read.
    #[error(transparent)]
    Dataset(#[from] bsbr_data::dataset::DatasetError),
    /// Two datasets of articles where one is summarised.
    #[error("both {first} and {second} hold articles to be summarised; name one of them")]
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
    /// An article that is not there.
    #[error("{name} has no article {index}; the file changed while it was read")]
    NoArticle {
        /// The dataset.
        name: String,
        /// Which, from 0.
        index: u64,
    },
    /// Texts that are too short for what is asked of them.
    #[error(
        "{path} has {found} tokens beside what is kept for calibration, but {needed} are needed for \
         texts of {length} tokens; give a longer file"
    )]
    ShortText {
        /// The file.
        path: PathBuf,
        /// Its tokens, without those for calibration.
        found: usize,
        /// Tokens needed.
        needed: usize,
        /// Tokens of a text.
        length: usize,
    },
    /// An image that cannot be encoded or decoded.
    #[error("an image cannot be coded: {0}")]
    Image(String),
    /// JSON that cannot be written.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Stopped on request, before the last unit.
    #[error("stopped after {done} of {total} units; the same command goes on from there")]
    Stopped {
        /// Units that are recorded.
        done: usize,
        /// Units of the run.
        total: usize,
    },
}
