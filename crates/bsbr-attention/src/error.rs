//! What can be wrong with an arm's settings.

use crate::config::ArmConfig;

/// A setting of an arm that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number outside its range.
    #[error("`{setting}` is {found}, expected {min} to {max}")]
    OutOfBounds {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        found: usize,
        /// Smallest value accepted.
        min: usize,
        /// Largest value accepted.
        max: usize,
    },
    /// Clusters come from repeated halving.
    #[error(
        "`clusters` is {clusters}, expected a power of two: a chunk is split in two repeatedly"
    )]
    ClustersNotPowerOfTwo {
        /// The value found.
        clusters: usize,
    },
    /// Each head has a level, or none has.
    #[error(
        "`levels` names {found} heads, expected one level for each of {heads} heads, or none: \
         then every head looks clusters up"
    )]
    LevelsNotOfHeads {
        /// Levels found.
        found: usize,
        /// Heads of the layer.
        heads: usize,
    },
    /// Levels are kept in the bits of a number.
    #[error("a layer of {heads} heads cannot have `levels`, only one of at most {most} can")]
    TooManyLevels {
        /// Heads of the layer.
        heads: usize,
        /// The most heads that may have levels.
        most: usize,
    },
    /// There is nothing to compress.
    #[error(
        "`compression` is {compression} but `state` is off: only the state is compressed; \
         set `compression` to 1 or `state` to true"
    )]
    CompressionWithoutState {
        /// The value found.
        compression: usize,
    },
}

/// Text that stands for no arm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// A name that no arm has.
    #[error("there is no arm `{name}`, expected {}", ArmConfig::NAMES.join(" or "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// Something that sets nothing.
    #[error(
        "arm {arm}: `{part}` sets nothing, expected setting=value, as in moments:kv_bits=4,clusters=16"
    )]
    Syntax {
        /// The arm.
        arm: &'static str,
        /// The text.
        part: String,
    },
    /// A setting that the arm does not have.
    #[error("arm {arm} has no setting `{setting}`, expected one of {known}")]
    NoSuchSetting {
        /// The arm.
        arm: &'static str,
        /// The setting's name.
        setting: String,
        /// The names of the settings that it has.
        known: String,
    },
    /// A setting that is given twice.
    #[error("arm {arm}: `{setting}` is given twice; give it once")]
    Twice {
        /// The arm.
        arm: &'static str,
        /// The setting.
        setting: &'static str,
    },
    /// A value that the setting cannot have.
    #[error("arm {arm}: `{setting}` is `{found}`, expected {expected}")]
    Value {
        /// The arm.
        arm: &'static str,
        /// The setting.
        setting: &'static str,
        /// The value.
        found: String,
        /// What is accepted.
        expected: &'static str,
    },
}

/// Why there are no compression bases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// The calibration was fed nothing.
    #[error("no token was seen: give at least one sequence")]
    NoTokens,
    /// No sequence was so long that a chunk of it would be summarised.
    #[error(
        "no whole chunk of {chunk_size} tokens was seen: give sequences of at least {needed} \
         tokens, sinks included, or choose smaller chunks"
    )]
    NoWholeChunk {
        /// S, tokens per chunk.
        chunk_size: usize,
        /// Tokens of the shortest sequence that has a whole chunk.
        needed: usize,
    },
    /// Some activation is infinite or no number.
    #[error("the {what} of head {head} are not all finite: give finite weights")]
    NotFinite {
        /// Queries or values.
        what: &'static str,
        /// Index of the head.
        head: usize,
    },
}
