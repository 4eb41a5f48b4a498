//! Which position embeddings a token gets, and what stands in for those a model does not have.

use serde::{Deserialize, Serialize};

use crate::config::MAX_SIZE;
use crate::error::ConfigError;

/// What positions at and beyond `n_positions` are embedded as.
///
/// Every choice gives a token the same embedding whatever comes after it, so that feeding tokens
/// through a cache gives what feeding them at once gives. None has been trained for: say which one
/// was used beside every number that used one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionExtension {
    /// Nothing: longer input is an error.
    #[default]
    None,
    /// The whole table, stretched linearly to `positions` rows: the first and the last stay, and
    /// those between are mixed from their two neighbours. Shorter input reads the stretched table
    /// too.
    Interpolate {
        /// Rows of the stretched table; longer input is an error.
        positions: usize,
    },
    /// The last `window` rows again and again, so that no length is an error.
    RepeatLast {
        /// Rows that are repeated.
        window: usize,
    },
}

/// One position's embedding: `(1 − weight)·table[low] + weight·table[high]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mix {
    pub low: usize,
    pub high: usize,
    pub weight: f32,
}

impl PositionExtension {
    /// Checks the settings against a table of `n_positions` rows.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Extension`] names the setting that is out of bounds.
    pub fn validate(&self, n_positions: usize) -> Result<(), ConfigError> {
        let (setting, found, min, max) = match *self {
            Self::None => return Ok(()),
            Self::Interpolate { positions } => ("positions", positions, n_positions, MAX_SIZE),
            Self::RepeatLast { window } => ("window", window, 1, n_positions),
        };
        if (min..=max).contains(&found) {
            Ok(())
        } else {
            Err(ConfigError::Extension {
                setting,
                found,
                min,
                max,
            })
        }
    }

    /// The most tokens of a sequence, or `None` where there is no limit.
    pub fn limit(&self, n_positions: usize) -> Option<usize> {
        match *self {
            Self::None => Some(n_positions),
            Self::Interpolate { positions } => Some(positions),
            Self::RepeatLast { .. } => None,
        }
    }

    /// Where in a table of `n_positions` rows the embedding of `position` comes from.
    pub(crate) fn mix(&self, position: usize, n_positions: usize) -> Mix {
        let last = n_positions.saturating_sub(1);
        let whole = |row: usize| Mix {
            low: row.min(last),
            high: row.min(last),
            weight: 0.0,
        };
        match *self {
            Self::RepeatLast { window } if position >= n_positions => {
                let first = n_positions.saturating_sub(window);
                whole(first + (position - n_positions) % window.max(1))
            }
            Self::Interpolate { positions } if positions > 1 => {
                let (steps, at) = (positions - 1, position.min(positions - 1) * last);
                let low = at / steps;
                Mix {
                    low,
                    high: (low + 1).min(last),
                    weight: (at % steps) as f32 / steps as f32,
                }
            }
            _ => whole(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_stretched_to_its_own_length_is_itself() {
        let extension = PositionExtension::Interpolate { positions: 7 };
        for position in 0..7 {
            let mix = extension.mix(position, 7);
            assert_eq!((mix.low, mix.weight), (position, 0.0));
        }
    }

    #[test]
    fn stretching_keeps_the_ends_and_spaces_the_rest_evenly() {
        let extension = PositionExtension::Interpolate { positions: 9 };
        let at: Vec<f32> = (0..9)
            .map(|position| {
                let mix = extension.mix(position, 5);
                mix.low as f32 + mix.weight * (mix.high - mix.low) as f32
            })
            .collect();
        assert_eq!(at, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
    }

    #[test]
    fn the_last_window_repeats() {
        let extension = PositionExtension::RepeatLast { window: 3 };
        let rows: Vec<usize> = (0..12).map(|p| extension.mix(p, 5).low).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2]);
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        for (extension, fits) in [
            (PositionExtension::Interpolate { positions: 4 }, false),
            (PositionExtension::Interpolate { positions: 5 }, true),
            (
                PositionExtension::Interpolate {
                    positions: usize::MAX,
                },
                false,
            ),
            (PositionExtension::RepeatLast { window: 0 }, false),
            (PositionExtension::RepeatLast { window: 5 }, true),
            (PositionExtension::RepeatLast { window: 6 }, false),
        ] {
            assert_eq!(extension.validate(5).is_ok(), fits, "{extension:?}");
        }
    }
}
