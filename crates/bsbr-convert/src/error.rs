//! Errors of reading a checkpoint, writing one, and conversion.

use std::io;
use std::path::{Path, PathBuf};

use crate::keys::KeyReport;
use crate::plan::PlanError;

/// A checkpoint that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system refused access to a file or folder.
    #[error("{}: {source}; check that it exists and can be read", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A required path that is not a plain file.
    #[error("{}: not a plain file; put the file itself there", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file above the size limit of its kind.
    #[error("{}: {found} bytes, expected at most {max}; this is not the file that its name says", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// Largest accepted size.
        max: u64,
    },
    /// A folder without weights.
    #[error(
        "{}: no weights found, expected one of {expected}; \
         give a folder as `save_pretrained` writes it", folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// The file names that were searched for.
        expected: &'static str,
    },
    /// The pointer that Git LFS leaves in place of a large file.
    #[error("{}: a Git LFS pointer, not the file itself; fetch it with `git lfs pull`", path.display())]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// An invalid `config.json`.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The error.
        source: bsbr_gpt2::ConfigError,
    },
    /// A configuration that contradicts the weight files.
    #[error(
        "{}: config.json has {said} as `{key}`, but the folder has {file}; use the config.json that was \
         saved with these weights", folder.display()
    )]
    WeightForm {
        /// The folder.
        folder: PathBuf,
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        said: String,
        /// The weights found.
        file: &'static str,
    },
    /// Weights in 8 bits that cannot be used in products.
    #[error("{}: {source}; load them in floating point", folder.display())]
    NotPacked {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        source: bsbr_gpt2::PackError,
    },
    /// An index of shards that cannot be read.
    #[error("{}: {message}; download the index again", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// The error.
        message: String,
    },
    /// An index with a shard outside its folder.
    #[error(
        "{}: the index lists tensor `{tensor}` in `{shard}`, which is outside the folder; shards \
         must be plain file names beside their index", index.display()
    )]
    ShardOutside {
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// The path given for it.
        shard: String,
    },
    /// A missing shard.
    #[error(
        "{}: shard `{shard}` (of tensor `{tensor}`) is missing; download it into the folder",
        index.display()
    )]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The shard.
        shard: String,
        /// A tensor that should be in the shard.
        tensor: String,
    },
    /// A tensor that is not in the shard that the index names.
    #[error("{}: tensor `{tensor}` is not in this shard, where the index lists it; download the \
             shard again", shard.display())]
    NotInShard {
        /// The shard.
        shard: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor in a shard that the index does not name, or places in another shard.
    #[error("{}: holds tensor `{tensor}`, which the index does not list there; shard and index are \
             from different checkpoints", shard.display())]
    NotInIndex {
        /// The shard.
        shard: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A file that is damaged, or not of the format of its name.
    #[error("{}: not a valid {format} file: {message}; download or save it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The expected format.
        format: &'static str,
        /// The error.
        message: String,
    },
    /// A tensor with an invalid description or invalid bytes.
    #[error("{}: tensor `{tensor}`: {message}; download or save the file again", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The error.
        message: String,
    },
    /// A pickle with a name that is not needed to describe tensors.
    #[error(
        "{}: the pickle names `{name}`, which does not describe a tensor; nothing was executed. If \
         you trust the file's source, load it in PyTorch and save its state dict as safetensors",
        path.display()
    )]
    ForbiddenName {
        /// The file.
        path: PathBuf,
        /// Module and name, as in the pickle.
        name: String,
    },
    /// A tensor of a type that weights cannot have.
    #[error(
        "{}: tensor `{tensor}` is {found}, expected F32, F16, BF16 or F64; \
         cast it before saving", path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
    },
    /// Names of which only some have the prefix.
    #[error(
        "some names start with `transformer.` (`{with}`) and others do not (`{without}`); \
         save the state dict of one model"
    )]
    MixedPrefix {
        /// A name with the prefix.
        with: String,
        /// A name without it.
        without: String,
    },
    /// Tensors that do not match the model of the configuration.
    #[error("the tensors do not fit the configuration: {0}")]
    Keys(Box<KeyReport>),
    /// An output layer that contradicts the configuration.
    #[error(
        "`lm_head.weight` differs from `wte.weight` but config.json ties them; \
         set `tie_word_embeddings` to false to use both"
    )]
    NotTied,
    /// Weights that are NaN or infinite.
    #[error(
        "not finite: {}; the checkpoint is damaged or was saved after training diverged \
         (allow non-finite weights to load it anyway)",
        first_of(tensors)
    )]
    NonFinite {
        /// The tensors that contain NaN or an infinity.
        tensors: Vec<String>,
    },
    /// Weights that are too large to compute with.
    #[error(
        "numbers above 1.8e19: {}; their squares are infinite, so results would be meaningless; \
         the checkpoint is damaged or was saved after training diverged (allow non-finite weights \
         to load it anyway)",
        first_of(tensors)
    )]
    TooLarge {
        /// The tensors that contain such a number.
        tensors: Vec<String>,
    },
}

/// A checkpoint that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A path that cannot be written.
    #[error(transparent)]
    Output(#[from] bsbr_files::FileError),
    /// A file that the operating system cannot read or write.
    #[error("{}: {source}; check that it exists, and that the disk has space", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Weights that the element type cannot represent.
    #[error("tensor `{tensor}` holds {found}, which {dtype} cannot hold; save as f32 or bf16")]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// A value that does not fit.
        found: f32,
        /// The requested element type.
        dtype: &'static str,
    },
    /// Weights that are NaN or infinite.
    #[error(
        "not finite: {}; training diverged, or compression bases were never calibrated",
        first_of(tensors)
    )]
    NonFinite {
        /// The tensors that contain NaN or an infinity.
        tensors: Vec<String>,
    },
    /// Products for which linear layers cannot be stored.
    #[error(
        "the weights of linear layers cannot be stored in {products}, only in int8; save them in \
         floating point, and pack them in {products} when the model is loaded"
    )]
    NotStored {
        /// The type of the products.
        products: &'static str,
    },
    /// Weights that 8 bits cannot represent.
    #[error(
        "tensor `{tensor}` holds non-finite numbers, which 8 bits cannot hold; save it in floating \
         point"
    )]
    NotInt8 {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that could not be copied from its device, or written.
    #[error("tensor `{tensor}`: {message}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// The error.
        message: String,
    },
    /// A configuration that cannot be written.
    #[error(transparent)]
    Config(#[from] bsbr_gpt2::ConfigError),
}

/// A conversion that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A plan that does not fit the model.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Settings that give no valid configuration.
    #[error(transparent)]
    Config(#[from] bsbr_gpt2::ConfigError),
    /// Calibration text that the model cannot take.
    #[error(transparent)]
    Input(#[from] bsbr_gpt2::InputError),
    /// Calibration text that gives no bases.
    #[error("no compression bases for layer {layer}: {source}")]
    Calibration {
        /// The layer.
        layer: usize,
        /// The error.
        source: bsbr_attention::CalibrationError,
    },
}

impl LoadError {
    /// Adds a path to a system error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// A damaged file of a known format.
    pub(crate) fn malformed(
        path: &Path,
        format: &'static str,
        message: impl std::fmt::Display,
    ) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            format,
            message: shorten(&message.to_string(), 300),
        }
    }

    /// A tensor with an invalid description.
    pub(crate) fn tensor(path: &Path, tensor: &str, message: impl std::fmt::Display) -> Self {
        Self::Tensor {
            path: path.to_owned(),
            tensor: shorten(tensor, 120),
            message: shorten(&message.to_string(), 300),
        }
    }
}

impl SaveError {
    /// Adds a path to a system error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// At most `max` characters of `text`, so a hostile name does not fill the screen.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// The first few names of a list, and the number of others.
pub(crate) fn first_of(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", shorten(name, 120)))
        .collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
