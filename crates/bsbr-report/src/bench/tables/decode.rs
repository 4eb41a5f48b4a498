//! Tables of decoding: tokens, reading through the cache, and the cache.

use bsbr_gpt2::Gpt2Config;

use crate::bench::contest::WINDOW;
use crate::bench::decode::{CACHE, CONTEXTS, GENERATED, PREFILL, TOKEN};
use crate::bench::over_floor::config;
use crate::bench::select::Measured;
use crate::bench::table::{NOTHING, Table, digits, head, label, median, pairs, ratio, series};
use crate::bench::tables::MIB;
use crate::bench::{Scope, goals};
use crate::reading::PIECE;

const SCOPE: Scope = Scope::Decode;

/// The columns of an empty table.
const UNMEASURED: [&str; 2] = ["dense", goals::DEFAULT];

/// Bytes of keys and values of dense attention, in `f32`.
pub(in crate::bench) fn dense_cache(config: &Gpt2Config, tokens: usize) -> f64 {
    (2 * config.n_layer * config.n_embd * tokens * size_of::<f32>()) as f64
}

/// All tables of decoding, or an empty one.
pub(super) fn tables(measured: &Measured) -> Vec<Table> {
    let here = measured.records().iter();
    match measured.lengths(SCOPE).is_empty() {
        false => vec![
            times(measured, TOKEN),
            ratios(measured, TOKEN),
            times(measured, PREFILL),
            ratios(measured, PREFILL),
            caches(measured),
        ],
        // It is measured only on CPUs.
        true if here.clone().next().is_some() && here.clone().all(|one| one.place.is_default()) => {
            vec![unmeasured()]
        }
        true => Vec::new(),
    }
}

fn unmeasured() -> Table {
    let mut rows = vec![head("context", UNMEASURED.map(str::to_owned))];
    let nothing = UNMEASURED.map(|_| NOTHING.to_owned());
    rows.extend(CONTEXTS.map(|context| head(&context.to_string(), nothing.clone())));
    Table {
        title: "Decoding: time of a token".to_owned(),
        note: "Not measured here yet: `cargo xtask bench --only decode`.".to_owned(),
        rows,
    }
}

/// The contexts with values of a part.
fn contexts(measured: &Measured, part: &str) -> Vec<usize> {
    let mut all = measured.lengths(SCOPE);
    let who = measured.who(SCOPE);
    all.retain(|&context| {
        let mut who = who.iter();
        who.any(|who| measured.series(SCOPE, who, part, context).is_some())
    });
    all
}

fn words(part: &str) -> (&'static str, String) {
    match part {
        TOKEN => (
            "Decoding",
            format!(
                "a token after so many tokens of context: the mean of {GENERATED}, each the \
                 likeliest, read back before the next. The default arm closes one chunk on the way."
            ),
        ),
        _ => (
            "Reading through the cache",
            format!(
                "reading so many tokens, to the token after them: ours in pieces of {PIECE}, \
                 PyTorch in one as `generate` of transformers does."
            ),
        ),
    }
}

fn times(measured: &Measured, part: &str) -> Table {
    let (title, what) = words(part);
    let who = measured.who(SCOPE);
    let contexts = contexts(measured, part);
    let mut rows = vec![head("context", who.iter().map(|who| label(who).to_owned()))];
    for &context in &contexts {
        let cells = who
            .iter()
            .map(|who| series(measured.series(SCOPE, who, part, context), 1e3));
        rows.push(head(&context.to_string(), cells));
    }
    Table {
        title: format!("{title}: time"),
        note: format!(
            "Milliseconds, median [quartiles], of {what}{}",
            extension(measured, &contexts)
        ),
        rows,
    }
}

/// The embeddings of positions beyond the model's, if needed.
fn extension(measured: &Measured, contexts: &[usize]) -> String {
    let longest = contexts
        .iter()
        .max()
        .map_or(0, |&longest| longest + GENERATED);
    match config(measured).map(|config| config.n_positions) {
        Some(positions) if positions < longest => format!(
            " Beyond its {positions} positions the model is given its last {} again and again.",
            positions.min(WINDOW)
        ),
        _ => String::new(),
    }
}

fn ratios(measured: &Measured, part: &str) -> Table {
    let (title, _) = words(part);
    let who = measured.who(SCOPE);
    let contexts = contexts(measured, part);
    let shortest = contexts.first().copied().unwrap_or_default();
    let pairs = pairs(&who);
    // The dependence on the context is shown only for tokens.
    let grown: &[&str] = if part == TOKEN { &who } else { &[] };
    let columns = pairs
        .iter()
        .map(|[upper, lower]| format!("{} ÷ {}", label(upper), label(lower)))
        .chain(
            grown
                .iter()
                .map(|who| format!("{} ÷ itself after {shortest}", label(who))),
        );
    let mut rows = vec![head("context", columns)];
    for &context in &contexts {
        let between = pairs
            .iter()
            .map(|pair| ratio(&measured.ratio(SCOPE, *pair, part, context)));
        let alone = grown
            .iter()
            .map(|who| ratio(&measured.growth(SCOPE, who, part, [context, shortest])));
        rows.push(head(&context.to_string(), between.chain(alone)));
    }
    Table {
        title: format!("{title}: ratios"),
        note:
            "Of the two in one round: median [quartiles] (bootstrap 95 % of the median); below 1 \
               the first is faster."
                .to_owned(),
        rows,
    }
}

fn caches(measured: &Measured) -> Table {
    let who = measured.who(SCOPE);
    let config = config(measured);
    let mut rows = vec![head("context", who.iter().map(|who| label(who).to_owned()))];
    for context in contexts(measured, CACHE) {
        let cells = who.iter().map(|who| {
            let found = measured.series(SCOPE, who, CACHE, context);
            let kept = found.and_then(|one| median(&one.samples));
            match (kept, &config) {
                (Some(kept), Some(config)) => format!(
                    "{} ({:.0} %)",
                    digits(kept * MIB),
                    100.0 * kept / dense_cache(config, context)
                ),
                _ => series(found, MIB),
            }
        });
        rows.push(head(&context.to_string(), cells));
    }
    Table {
        title: "Cache".to_owned(),
        note: "MiB that are kept of so many tokens, and the share of keys and values of dense \
               attention in f32."
            .to_owned(),
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Place;
    use crate::bench::record::tests::record;
    use crate::bench::record::{BYTES, BenchRecord, Series};

    fn decoded(parts: &[(&str, &str, usize, &[f64])]) -> BenchRecord {
        let mut record = record("2026-01-01", &[]);
        record.series = parts
            .iter()
            .map(|(who, part, length, samples)| Series {
                part: (*part).to_owned(),
                samples: samples.to_vec(),
                ..Series::new(
                    "decode",
                    who,
                    *length,
                    if *part == CACHE { BYTES } else { "s" },
                )
            })
            .collect();
        record
    }

    fn text(measured: &Measured) -> String {
        tables(measured).iter().map(Table::markdown).collect()
    }

    #[test]
    fn tokens_reading_and_cache_stand_side_by_side() {
        // One layer of four dimensions: 32 bytes a token.
        let mut record = decoded(&[
            ("dense", TOKEN, 500, &[0.010, 0.012]),
            (goals::DEFAULT, TOKEN, 500, &[0.010, 0.010]),
            (goals::DEFAULT, TOKEN, 4000, &[0.012, 0.012]),
            ("torch-sdpa", TOKEN, 500, &[0.020, 0.020]),
            ("dense", PREFILL, 2000, &[2.0, 2.0]),
            (goals::DEFAULT, PREFILL, 2000, &[1.0, 1.0]),
            ("dense", CACHE, 8192, &[262_144.0]),
            (goals::DEFAULT, CACHE, 8192, &[65_536.0]),
        ]);
        record.series.push(Series {
            part: TOKEN.to_owned(),
            missing: Some("no room".to_owned()),
            ..Series::new("decode", "dense", 4000, "s")
        });
        let measured = Measured::new(vec![record]);
        let text = text(&measured);
        for part in [
            "11.0 [10.5, 11.5]",
            "no room",
            "lookups ÷ itself after 500",
            "1.20 [1.20, 1.20]",
            "0.50 [0.50, 0.50]",
            "0.25 (100 %)",
            "0.06 (25 %)",
            "Beyond its 32 positions the model is given its last 32",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        // A context with only a measured cache has no row of times.
        assert_eq!(text.matches("| 8192").count(), 1, "{text}");

        let goals = goals::table(&measured).markdown();
        for row in [
            "÷ one after 500",
            "through the cache",
            "cache of the default",
        ] {
            let row = goals.lines().find(|line| line.contains(row)).unwrap();
            assert!(row.contains(" met |"), "{row}");
        }
    }

    #[test]
    fn what_is_not_measured_yet_is_a_dash_and_says_how() {
        let mut record = record("2026-01-01", &[("dense", &[1.0])]);
        let found = text(&Measured::new(vec![record.clone()]));
        assert!(
            found.contains("--only decode") && found.contains("— |"),
            "{found}"
        );
        record.place = Place::new("wgpu", "f16");
        assert!(tables(&Measured::new(vec![record])).is_empty());
        assert!(tables(&Measured::default()).is_empty());
    }
}
