//! Position embeddings, and their extension beyond the table.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::MAX_SIZE;
use crate::error::ConfigError;

/// The embeddings of positions from `n_positions` on.
///
/// A token's embedding never depends on later tokens, so feeding tokens through a cache gives the
/// output of a single pass. Models are not trained for any of these: name the extension beside
/// every number that used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionExtension {
    /// No extension: longer input is an error.
    #[default]
    None,
    /// The whole table, stretched linearly to `positions` rows: the first and last rows stay, and
    /// rows between are interpolated. Shorter input reads the stretched table too.
    Interpolate {
        /// Rows of the stretched table; longer input is an error.
        positions: usize,
    },
    /// The last `window` rows, repeated without limit.
    RepeatLast {
        /// Number of repeated rows.
        window: usize,
    },
    /// Same as `RepeatLast`, with each repetition fading in over the last `fade` rows of the
    /// previous one. Heads that look for the previous token find it by either row.
    Crossfade {
        /// Number of repeated rows.
        window: usize,
        /// Rows over which two repetitions are mixed; at least as many must precede the window.
        fade: usize,
    },
    /// Position i·n + j has the embedding of row j plus ⅔ of the difference between row i and row
    /// 0: the hierarchical decomposition of position embeddings with α = 0.4. Input longer than n²
    /// tokens is an error.
    Hierarchical,
}

/// α/(1 − α) of the hierarchical decomposition.
const COARSE: f32 = 0.4 / 0.6;

/// One position's embedding: a sum of rows of the table, each with a weight.
pub(crate) type Mix = [(usize, f32); 3];

impl PositionExtension {
    /// The second half of a table of `n_positions` rows, repeated: the default for long texts.
    pub fn repeat_half(n_positions: usize) -> Self {
        Self::RepeatLast {
            window: (n_positions / 2).max(1),
        }
    }

    /// Checks the settings against a table of `n_positions` rows.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Extension`] names the setting that is out of bounds.
    pub fn validate(&self, n_positions: usize) -> Result<(), ConfigError> {
        let (setting, found, min, max) = match *self {
            Self::None | Self::Hierarchical => return Ok(()),
            Self::Interpolate { positions } => ("positions", positions, n_positions, MAX_SIZE),
            Self::RepeatLast { window } => ("window", window, 1, n_positions),
            Self::Crossfade { window, .. } if !(1..=n_positions).contains(&window) => {
                ("window", window, 1, n_positions)
            }
            Self::Crossfade { window, fade } => ("fade", fade, 0, window.min(n_positions - window)),
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

    /// The maximum number of tokens of a sequence, or `None` for no limit.
    pub fn limit(&self, n_positions: usize) -> Option<usize> {
        match *self {
            Self::None => Some(n_positions),
            Self::Interpolate { positions } => Some(positions),
            Self::Hierarchical => Some(n_positions.saturating_mul(n_positions)),
            Self::RepeatLast { .. } | Self::Crossfade { .. } => None,
        }
    }

    /// The rows of a table of `n_positions` rows that give the embedding of `position`.
    pub(crate) fn mix(&self, position: usize, n_positions: usize) -> Mix {
        let last = n_positions.saturating_sub(1);
        let whole = |row: usize| one(row.min(last));
        match *self {
            Self::RepeatLast { window } => whole(repeated(position, n_positions, window)),
            Self::Crossfade { window, fade } => {
                let row = repeated(position, n_positions, window);
                // The next repetition's row, which precedes the window.
                let next = row.checked_sub(window);
                let begun = (row + fade + 1).checked_sub(n_positions);
                match next.zip(begun.filter(|begun| *begun > 0)) {
                    Some((next, begun)) => faded(row.min(last), next, begun, fade),
                    None => whole(row),
                }
            }
            Self::Interpolate { positions } if positions > 1 => {
                let (steps, at) = (positions - 1, position.min(positions - 1) * last);
                let low = at / steps;
                let weight = (at % steps) as f32 / steps as f32;
                let high = (low + 1).min(last);
                [(low, 1.0 - weight), (high, weight), (0, 0.0)]
            }
            Self::Hierarchical if position >= n_positions => {
                let (coarse, fine) = (position / n_positions.max(1), position % n_positions.max(1));
                [(fine, 1.0), (coarse.min(last), COARSE), (0, -COARSE)]
            }
            _ => whole(position),
        }
    }
}

/// A text that is not a position extension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}`: expected repeat:window=N, crossfade:window=N,fade=N, interpolate:positions=N or \
     hierarchical"
)]
pub struct UnknownExtension {
    /// The text.
    pub text: String,
}

impl FromStr for PositionExtension {
    type Err = UnknownExtension;

    /// `name:setting=value,…`, such as `crossfade:window=3840,fade=256`.
    fn from_str(text: &str) -> Result<Self, UnknownExtension> {
        let unknown = || UnknownExtension { text: text.into() };
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let settings = settings
            .split(',')
            .filter(|setting| !setting.is_empty())
            .map(|setting| {
                let (name, value) = setting.split_once('=')?;
                Some((name.trim(), value.trim().parse::<usize>().ok()?))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(unknown)?;
        match (name.trim(), settings.as_slice()) {
            ("repeat", &[("window", window)]) => Ok(Self::RepeatLast { window }),
            ("crossfade", &[("window", window), ("fade", fade)])
            | ("crossfade", &[("fade", fade), ("window", window)]) => {
                Ok(Self::Crossfade { window, fade })
            }
            ("interpolate", &[("positions", positions)]) => Ok(Self::Interpolate { positions }),
            ("hierarchical", &[]) => Ok(Self::Hierarchical),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for PositionExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Interpolate { positions } => write!(f, "interpolate:positions={positions}"),
            Self::RepeatLast { window } => write!(f, "repeat:window={window}"),
            Self::Crossfade { window, fade } => write!(f, "crossfade:window={window},fade={fade}"),
            Self::Hierarchical => f.write_str("hierarchical"),
        }
    }
}

fn one(row: usize) -> Mix {
    [(row, 1.0), (0, 0.0), (0, 0.0)]
}

/// The row of a position if the last `window` of `n_positions` rows repeat.
fn repeated(position: usize, n_positions: usize, window: usize) -> usize {
    match position.checked_sub(n_positions) {
        None => position,
        Some(beyond) => n_positions.saturating_sub(window) + beyond % window.max(1),
    }
}

/// Mixes two rows such that their squared weights sum to one.
fn faded(row: usize, next: usize, begun: usize, fade: usize) -> Mix {
    let angle = std::f32::consts::FRAC_PI_2 * begun as f32 / (fade + 1) as f32;
    [(row, angle.cos()), (next, angle.sin()), (0, 0.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The embedding of a position in a table of the numbers 0, 1, 2, ….
    fn place(extension: PositionExtension, position: usize, n_positions: usize) -> f32 {
        let mix = extension.mix(position, n_positions);
        mix.iter().map(|(row, weight)| *row as f32 * weight).sum()
    }

    #[test]
    fn a_table_stretched_to_its_own_length_is_itself() {
        let extension = PositionExtension::Interpolate { positions: 7 };
        for position in 0..7 {
            assert_eq!(extension.mix(position, 7)[0], (position, 1.0));
        }
    }

    #[test]
    fn stretching_keeps_the_ends_and_spaces_the_rest_evenly() {
        let extension = PositionExtension::Interpolate { positions: 9 };
        let at = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|position| place(extension, position, 5));
        assert_eq!(at, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
    }

    #[test]
    fn the_last_window_repeats() {
        let extension = PositionExtension::RepeatLast { window: 3 };
        let rows: Vec<usize> = (0..12).map(|p| extension.mix(p, 5)[0].0).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2]);
        let unfaded = PositionExtension::Crossfade { window: 3, fade: 0 };
        let same = (0..12).all(|p| extension.mix(p, 5) == unfaded.mix(p, 5));
        assert!(same);
    }

    #[test]
    fn repetitions_fade_into_one_another() {
        // Rows 0 to 9, of which the last 6 repeat: 4 … 9, 4 … 9. Row 10 would be row 4.
        let extension = PositionExtension::Crossfade { window: 6, fade: 2 };
        for position in [7, 13] {
            assert_eq!(extension.mix(position, 10)[0], (7, 1.0));
        }
        for start in [8, 14] {
            let [first, second] = [start, start + 1].map(|p| extension.mix(p, 10));
            assert_eq!([first[0].0, first[1].0], [8, 2]);
            assert_eq!([second[0].0, second[1].0], [9, 3]);
            let power = |mix: Mix| mix[0].1.powi(2) + mix[1].1.powi(2);
            assert!((power(first) - 1.0).abs() < 1e-6 && (power(second) - 1.0).abs() < 1e-6);
            assert!(first[0].1 > first[1].1 && second[0].1 < second[1].1);
            assert_eq!(extension.mix(start + 2, 10)[0], (4, 1.0));
        }
    }

    #[test]
    fn two_levels_of_positions_tell_blocks_apart() {
        let extension = PositionExtension::Hierarchical;
        let rows = |position: usize| extension.mix(position, 5).map(|(row, _)| row);
        assert_eq!(
            [rows(3), rows(5), rows(14)],
            [[3, 0, 0], [0, 1, 0], [4, 2, 0]]
        );
        assert_eq!(extension.limit(5), Some(25));
    }

    #[test]
    fn an_extension_is_what_its_text_says() {
        for extension in [
            PositionExtension::RepeatLast { window: 7 },
            PositionExtension::Crossfade { window: 7, fade: 3 },
            PositionExtension::Interpolate { positions: 90 },
            PositionExtension::Hierarchical,
        ] {
            assert_eq!(extension.to_string().parse(), Ok(extension));
        }
        for wrong in [
            "",
            "none",
            "repeat",
            "repeat:window=x",
            "crossfade:window=3",
            "hierarchical:a=1",
        ] {
            let error = wrong.parse::<PositionExtension>().unwrap_err();
            assert!(
                error.to_string().contains("expected repeat:window=N"),
                "{error}"
            );
        }
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let crossfade = |window, fade| PositionExtension::Crossfade { window, fade };
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
            (crossfade(0, 0), false),
            (crossfade(6, 0), false),
            (crossfade(3, 2), true),
            (crossfade(3, 3), false),
            (crossfade(1, 2), false),
            (PositionExtension::Hierarchical, true),
        ] {
            assert_eq!(extension.validate(5).is_ok(), fits, "{extension:?}");
        }
    }
}
