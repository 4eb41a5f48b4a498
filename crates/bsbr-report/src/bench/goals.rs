//! The performance goals, and their results.

use crate::bench::contest::TORCH_BF16;
use crate::bench::decode::{self, CACHE, PREFILL, TOKEN};
use crate::bench::over_floor::{config, over_floor, share_of_rate};
use crate::bench::record::Series;
use crate::bench::select::{Measured, Spread};
use crate::bench::table::{Table, ratio};
use crate::bench::tables::decode::dense_cache;
use crate::bench::{Scope, first_token, training};

/// The direction of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtMost,
    AtLeast,
}

/// Samples of a ratio, and the names of their cases.
type Cases = Vec<(String, Vec<f64>)>;

/// A limit of a ratio, in all of its cases.
struct Goal {
    text: &'static str,
    bound: Bound,
    limit: f64,
    cases: fn(&Measured) -> Cases,
}

/// Dense models at most as slow as PyTorch.
const SDPA: &str = "torch-sdpa";

/// The default arm's name in records.
pub(super) const DEFAULT: &str = "lookups";

/// The default arm with far keys and values in 4 bits.
const IN_FOUR_BITS: &str = "lookups-4bit";

const GOALS: [Goal; 22] = [
    Goal {
        text: "dense forward pass ÷ PyTorch's with SDPA, at every length",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| {
            by_length(measured, Scope::Model, 0, |length| {
                measured.ratio(Scope::Model, ["dense", SDPA], "", length)
            })
        },
    },
    Goal {
        text: "default arm ÷ dense, from 128 tokens on",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| {
            by_length(measured, Scope::Model, 128, |length| {
                measured.ratio(Scope::Model, [DEFAULT, "dense"], "", length)
            })
        },
    },
    Goal {
        text: "dense ÷ default arm, 4,096 tokens",
        bound: Bound::AtLeast,
        limit: 1.4,
        cases: |measured| at(measured, Scope::Model, ["dense", DEFAULT], &[4096]),
    },
    Goal {
        text: "dense ÷ default arm, 8,192 tokens",
        bound: Bound::AtLeast,
        limit: 2.1,
        cases: |measured| at(measured, Scope::Model, ["dense", DEFAULT], &[8192]),
    },
    Goal {
        text: "attention alone: default arm ÷ dense, 512 and 1,024 tokens",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| at(measured, Scope::Attention, [DEFAULT, "dense"], &[512, 1024]),
    },
    Goal {
        text: "attention alone: default arm ÷ dense, 4,096 tokens",
        bound: Bound::AtMost,
        limit: 0.35,
        cases: |measured| at(measured, Scope::Attention, [DEFAULT, "dense"], &[4096]),
    },
    Goal {
        text: "attention alone: default arm ÷ dense, 8,192 tokens",
        bound: Bound::AtMost,
        limit: 0.2,
        cases: |measured| at(measured, Scope::Attention, [DEFAULT, "dense"], &[8192]),
    },
    Goal {
        text: "default arm ÷ the floor of the linear layers, from 1,024 tokens on",
        bound: Bound::AtMost,
        limit: 1.15,
        cases: |measured| {
            by_length(measured, Scope::Model, 1024, |length| {
                over_floor(measured, DEFAULT, length)
            })
        },
    },
    Goal {
        text: "rate of dense attention alone ÷ rate of the machine's matrix products, from 512 \
               tokens on",
        bound: Bound::AtLeast,
        limit: 0.5,
        cases: |measured| {
            by_length(measured, Scope::Attention, 512, |length| {
                share_of_rate(measured, Scope::Attention, "dense", length)
            })
        },
    },
    Goal {
        text: "activations of dense ÷ those of PyTorch with SDPA, 4,096 tokens",
        bound: Bound::AtMost,
        limit: 0.5,
        cases: |measured| {
            let found = measured.ratio(Scope::Memory, ["dense", SDPA], "", 4096);
            vec![("4096 tokens".to_owned(), found)]
        },
    },
    Goal {
        text: "training step of a small model ÷ PyTorch's",
        bound: Bound::AtMost,
        limit: 1.2,
        cases: |measured| {
            let pair = [training::OURS, SDPA];
            let found = measured.ratio(Scope::Training, pair, "", training::WINDOW);
            vec![("8 × 256 tokens".to_owned(), found)]
        },
    },
    Goal {
        text: "half-precision checkpoint: peak ÷ that of the same model in f32",
        bound: Bound::AtMost,
        limit: 0.6,
        cases: |measured| {
            let pair = ["dense, f16", "dense, f32"];
            let (scope, part) = (Scope::FirstToken, first_token::PEAK);
            let found = measured.ratio(scope, pair, part, first_token::PROMPT);
            vec![("first token".to_owned(), found)]
        },
    },
    Goal {
        text: "f32 checkpoint, mapped: peak ÷ the file, so no second copy",
        bound: Bound::AtMost,
        limit: 1.3,
        cases: |measured| {
            let of = |part: &str| {
                let scope = Scope::FirstToken;
                measured.series(scope, "dense, f32", part, first_token::PROMPT)
            };
            let file = of(first_token::FILE).and_then(|file| file.samples.first().copied());
            let peaks = of(first_token::PEAK).map(|peak: &Series| peak.samples.as_slice());
            let found = file.zip(peaks).map_or_else(Vec::new, |(file, peaks)| {
                peaks.iter().map(|peak| peak / file).collect()
            });
            vec![("first token".to_owned(), found)]
        },
    },
    Goal {
        text: "default arm: a token after 4,000 tokens of context ÷ one after 500",
        bound: Bound::AtMost,
        limit: 1.3,
        cases: |measured| {
            let found = measured.growth(Scope::Decode, DEFAULT, TOKEN, [4000, 500]);
            vec![("4000 tokens".to_owned(), found)]
        },
    },
    Goal {
        text: "reading through the cache: default arm ÷ dense, from 1,024 tokens on",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| {
            by_length(measured, Scope::Decode, 1024, |length| {
                measured.ratio(Scope::Decode, [DEFAULT, "dense"], PREFILL, length)
            })
        },
    },
    Goal {
        text: "cache of the default arm ÷ keys and values of dense in f32, 8,192 tokens",
        bound: Bound::AtMost,
        limit: 0.32,
        cases: |measured| long_cache(measured, DEFAULT),
    },
    Goal {
        text: "the same with far keys and values in 4 bits",
        bound: Bound::AtMost,
        limit: 0.2,
        cases: |measured| long_cache(measured, IN_FOUR_BITS),
    },
    Goal {
        text: "a token in 8 bits ÷ one of CTranslate2 in 8 bits",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| decoding(measured, TOKEN, ["dense, int8", "ctranslate2, int8"]),
    },
    Goal {
        text: "a token in f32 ÷ one of CTranslate2 in f32",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| decoding(measured, TOKEN, ["dense, f32", "ctranslate2"]),
    },
    Goal {
        text: "reading in 8 bits ÷ CTranslate2 in 8 bits",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| decoding(measured, PREFILL, ["dense, int8", "ctranslate2, int8"]),
    },
    Goal {
        text: "reading in bf16 ÷ PyTorch in bf16",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| decoding(measured, PREFILL, ["dense, bf16", TORCH_BF16]),
    },
    Goal {
        text: "reading in f32, packed ÷ PyTorch with SDPA",
        bound: Bound::AtMost,
        limit: 1.0,
        cases: |measured| decoding(measured, PREFILL, ["dense, f32", SDPA]),
    },
];

/// Ratios of two contestants in one round, at some lengths.
fn at(measured: &Measured, scope: Scope, pair: [&str; 2], lengths: &[usize]) -> Cases {
    let case = |length: &usize| {
        let found = measured.ratio(scope, pair, "", *length);
        (format!("{length} tokens"), found)
    };
    lengths.iter().map(case).collect()
}

/// The size of an arm's cache at the longest context, relative to keys and values of dense.
fn long_cache(measured: &Measured, arm: &str) -> Cases {
    let length = decode::LONGEST;
    let kept = measured.series(Scope::Decode, arm, CACHE, length);
    let found = kept.zip(config(measured)).map(|(kept, config)| {
        let dense = dense_cache(&config, length);
        kept.samples.iter().map(|kept| kept / dense).collect()
    });
    vec![(format!("{length} tokens"), found.unwrap_or_default())]
}

/// A ratio of decoding after each context.
fn decoding(measured: &Measured, part: &str, pair: [&str; 2]) -> Cases {
    by_length(measured, Scope::Decode, 0, |length| {
        measured.ratio(Scope::Decode, pair, part, length)
    })
}

fn by_length(
    measured: &Measured,
    scope: Scope,
    from: usize,
    samples: impl Fn(usize) -> Vec<f64>,
) -> Cases {
    measured
        .lengths(scope)
        .into_iter()
        .filter(|&length| length >= from)
        .map(|length| (format!("{length} tokens"), samples(length)))
        .collect()
}

/// The verdict on a goal, in words: met, or how much it is missed.
fn verdict(bound: Bound, limit: f64, median: f64) -> String {
    let over = match bound {
        Bound::AtMost => median / limit,
        Bound::AtLeast => limit / median,
    };
    match over <= 1.0 {
        true => "met".to_owned(),
        false => format!("missed by {:.1} %", (over - 1.0) * 100.0),
    }
}

/// Every goal: the number of cases in which it is met, and the worst case.
pub fn table(measured: &Measured) -> Table {
    let head = ["goal", "limit", "worst case", "measured", "verdict"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for goal in &GOALS {
        let cases: Vec<(String, Vec<f64>)> = (goal.cases)(measured)
            .into_iter()
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        let median = |samples: &[f64]| Spread::of(samples).map_or(f64::NAN, |one| one.median);
        let met = cases
            .iter()
            .filter(|(_, samples)| verdict(goal.bound, goal.limit, median(samples)) == "met");
        let met = met.count();
        let order = |(_, a): &&(String, Vec<f64>), (_, b): &&(String, Vec<f64>)| match goal.bound {
            Bound::AtMost => median(a).total_cmp(&median(b)),
            Bound::AtLeast => median(b).total_cmp(&median(a)),
        };
        let limit = match goal.bound {
            Bound::AtMost => format!("≤ {:.2}", goal.limit),
            Bound::AtLeast => format!("≥ {:.2}", goal.limit),
        };
        let mut row = vec![goal.text.to_owned(), limit];
        match cases.iter().max_by(order) {
            None => row.extend(["", "not measured", "open"].map(str::to_owned)),
            Some((name, samples)) => {
                let own = verdict(goal.bound, goal.limit, median(samples));
                let share = match (met, cases.len()) {
                    (_, 1) => String::new(),
                    (met, all) if met == all => format!(", all {all} lengths"),
                    (met, all) => format!("; met at {met} of {all} lengths"),
                };
                row.extend([name.clone(), ratio(samples), format!("{own}{share}")]);
            }
        }
        rows.push(row);
    }
    Table {
        title: "Goals".to_owned(),
        note: format!(
            "Medians decide; a goal with several cases stands as its worst does. The default arm is \
             `{DEFAULT}`, by the names of arms.toml. Numbers of other arms, such as `moments`, which \
             was the default once, do not count for it."
        ),
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::record;

    #[test]
    fn a_goal_stands_as_its_worst_case() {
        let mut long = record("2026-01-01", &[("dense", &[3.0]), ("torch-sdpa", &[2.0])]);
        for one in &mut long.series {
            one.length = 4096;
        }
        let mut one = record("2026-01-01", &[("dense", &[1.0]), ("torch-sdpa", &[2.0])]);
        one.series.append(&mut long.series);
        let table = table(&Measured::new(vec![one]));
        assert_eq!(table.rows.len(), 1 + GOALS.len());
        assert_eq!(table.rows[1][2], "4096 tokens");
        assert_eq!(table.rows[1][4], "missed by 50.0 %; met at 1 of 2 lengths");
        assert_eq!(table.rows[2][4], "open");
    }

    #[test]
    fn another_arm_does_not_meet_the_goals_of_the_default() {
        let of = |arm: &str| {
            let record = record("2026-01-01", &[("dense", &[2.0]), (arm, &[1.0])]);
            let mut record = record;
            for one in &mut record.series {
                one.length = 512;
            }
            table(&Measured::new(vec![record])).rows[2].clone()
        };
        assert_eq!(of(DEFAULT)[4], "met");
        assert_eq!(of("moments")[3..], ["not measured", "open"]);
    }

    #[test]
    fn a_bound_from_below_is_missed_from_below() {
        assert_eq!(verdict(Bound::AtLeast, 0.5, 0.6), "met");
        assert_eq!(verdict(Bound::AtLeast, 0.5, 0.4), "missed by 25.0 %");
        assert_eq!(verdict(Bound::AtMost, 1.0, 1.0), "met");
    }
}
