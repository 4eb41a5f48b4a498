//! Errors in an arm's settings.

use crate::config::ArmConfig;

/// An unusable setting of an arm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number outside its range.
    #[error("`{setting}` is {found}, expected {min} to {max}")]
    OutOfBounds {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        found: usize,
        /// Smallest accepted value.
        min: usize,
        /// Largest accepted value.
        max: usize,
    },
    /// A number of clusters that repeated halving cannot give.
    #[error(
        "`clusters` is {clusters}, expected a power of two, because chunks are halved repeatedly"
    )]
    ClustersNotPowerOfTwo {
        /// The value found.
        clusters: usize,
    },
    /// A number of levels that differs from the number of heads.
    #[error(
        "`levels` has {found} levels, expected one for each of {heads} heads, or none for lookups \
         in every head"
    )]
    LevelsNotOfHeads {
        /// Levels found.
        found: usize,
        /// Heads of the layer.
        heads: usize,
    },
    /// More levels than the bits of a number can store.
    #[error("a layer of {heads} heads cannot have `levels`: at most {most} heads can")]
    TooManyLevels {
        /// Heads of the layer.
        heads: usize,
        /// The largest number of heads with levels.
        most: usize,
    },
    /// Opened clusters without spans.
    #[error(
        "`opened` is {opened} but `span` is 0: only merged clusters of spans are opened; set `span` \
         to the chunks of a span, or leave `opened` out"
    )]
    OpenedWithoutSpan {
        /// The value found.
        opened: usize,
    },
    /// Compression without anything to compress.
    #[error(
        "`compression` is {compression} but `state` is off: only the state is compressed; \
         set `compression` to 1 or `state` to true"
    )]
    CompressionWithoutState {
        /// The value found.
        compression: usize,
    },
}

/// The names of the arms, with `or` before the last.
fn arm_names() -> String {
    let [names @ .., last] = ArmConfig::NAMES;
    format!("{} or {last}", names.join(", "))
}

/// Text that does not describe an arm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// An unknown name.
    #[error("there is no arm `{name}`, expected {}", arm_names())]
    Unknown {
        /// The name.
        name: String,
    },
    /// A part that is not an assignment.
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
        /// The names of the arm's settings.
        known: String,
    },
    /// A setting that occurs twice.
    #[error("arm {arm}: `{setting}` is given twice; give it once")]
    Twice {
        /// The arm.
        arm: &'static str,
        /// The setting.
        setting: &'static str,
    },
    /// An invalid value of a setting.
    #[error("arm {arm}: `{setting}` is `{found}`, expected {expected}")]
    Value {
        /// The arm.
        arm: &'static str,
        /// The setting.
        setting: &'static str,
        /// The value found.
        found: String,
        /// The accepted values.
        expected: &'static str,
    },
}

/// Why compression bases cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// The calibration was fed nothing.
    #[error("no token was seen: give at least one sequence")]
    NoTokens,
    /// No sequence was long enough for a chunk to be summarised.
    #[error(
        "no whole chunk of {chunk_size} tokens was seen: give sequences of at least {needed} \
         tokens, sinks included, or choose smaller chunks"
    )]
    NoWholeChunk {
        /// S, tokens per chunk.
        chunk_size: usize,
        /// The length of the shortest sequence that has a whole chunk.
        needed: usize,
    },
    /// An activation is infinite or NaN.
    #[error("the {what} of head {head} are not all finite: give finite weights")]
    NotFinite {
        /// Queries or values.
        what: &'static str,
        /// Index of the head.
        head: usize,
    },
}
