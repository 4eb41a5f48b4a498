#![doc = include_str!("../README.md")]

/// The methods of a visitor or mapper of modules that keep the path of the current one in its field
/// `path`.
macro_rules! follow_path {
    () => {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
    };
}

pub mod error;
pub mod keys;

mod cache_file;
mod calibrate;
mod card;
mod checkpoint;
mod convert;
mod far_heads;
mod folder;
mod hybrid;
mod index;
mod int8;
mod levels;
mod load;
mod mapped;
mod numbers;
mod pickle;
mod plan;
mod safetensors_file;
mod save;
mod transformers;
mod unique;

/// Burn, in the version of this crate's tensors and devices.
pub use burn;

pub use bsbr_attention::ArmConfig;
pub use cache_file::{CacheFileError, CacheOwner, ReadText, load_cache, save_cache};
pub use calibrate::{calibrate, uncalibrated_layers};
pub use card::ModelCard;
pub use checkpoint::{Checkpoint, StoredTensor};
pub use convert::convert;
pub use error::{ConvertError, LoadError, SaveError};
pub use far_heads::{
    ChosenFarHeads, FarLoss, LEAST_GAIN, LONG_TEXTS, LongText, choose_far_heads, has_far_heads,
};
pub use folder::{Companion, FileSource, GatherError, ModelFolder, WeightFiles, gather};
pub use hybrid::Hybrid;
pub use levels::{ChosenLevels, choose_levels, sweep_levels};
pub use load::{LoadOptions, LoadReport, LoadedModel, load_model};
pub use numbers::FloatType;
pub use plan::{ConversionPlan, LayerArms, PlanError};
pub use safetensors::Dtype;
pub use save::{SaveOptions, check_output, save_model};
