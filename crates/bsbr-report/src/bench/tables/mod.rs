//! The tables of the benchmark.

pub(super) mod decode;
mod times;

use crate::bench::record::BYTES;
use crate::bench::select::Measured;
use crate::bench::table::{NOTHING, Table, digits, head, label, median, ratio, series};
use crate::bench::{Scope, first_token, profile, training};

use times::{ratios, times};

/// All tables with values in the records.
pub fn tables(measured: &Measured) -> Vec<Table> {
    let mut all = Vec::new();
    for (scope, title) in [
        (Scope::Model, "The whole model"),
        (Scope::Attention, "Attention alone"),
        (Scope::Gradients, "Attention alone and its gradients"),
    ] {
        if !measured.lengths(scope).is_empty() {
            all.push(times(measured, scope, title));
            all.push(ratios(measured, scope, title));
        }
    }
    all.extend(decode::tables(measured));
    all.extend(accuracies(measured));
    all.extend(memory(measured));
    all.extend(first_tokens(measured));
    all.extend(training_step(measured));
    for (scope, title, of) in [
        (
            Scope::Profile,
            "Where the time goes",
            "of each part of a forward pass",
        ),
        (
            Scope::TokenProfile,
            "Where the time of a token goes",
            "of each part of one token after a context",
        ),
    ] {
        all.extend(profiles(measured, scope, title, of));
    }
    all
}

fn accuracies(measured: &Measured) -> Option<Table> {
    let scope = Scope::Accuracy;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let names = who.iter().map(|who| label(who).to_owned());
    let mut rows = vec![head("tokens", names)];
    for length in measured.lengths(scope) {
        let cells = who.iter().map(|who| {
            let found = measured.series(scope, who, "", length);
            match found.and_then(|one| median(&one.samples)) {
                Some(error) => format!("{error:.1e}"),
                None => series(found, 1.0),
            }
        });
        rows.push(head(&length.to_string(), cells));
    }
    Some(Table {
        title: "Rounding".to_owned(),
        note: "How far the last token's logits are from those of the same weights and arm on the \
               processor in f32: the norm of the difference over that of the logits."
            .to_owned(),
        rows,
    })
}

const MIB: f64 = 1.0 / (1 << 20) as f64;

fn memory(measured: &Measured) -> Option<Table> {
    let scope = Scope::Memory;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let names = who.iter().map(|who| label(who).to_owned());
    let mut rows = vec![head("tokens", names)];
    for length in measured.lengths(scope) {
        let cells = who
            .iter()
            .map(|who| series(measured.series(scope, who, "", length), MIB));
        rows.push(head(&length.to_string(), cells));
    }
    Some(Table {
        title: "Peak memory of a forward pass".to_owned(),
        note:
            "MiB by which a forward pass raises the peak of a fresh process that holds the model \
               and has made a pass of 16 tokens."
                .to_owned(),
        rows,
    })
}

fn first_tokens(measured: &Measured) -> Option<Table> {
    let scope = Scope::FirstToken;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let parts = [
        (first_token::WHOLE, "start to first token, ms", 1e3),
        (first_token::LOADED, "loading and first token, ms", 1e3),
        (first_token::PEAK, "peak, MiB", MIB),
        (first_token::FILE, "checkpoint, MiB", MIB),
    ];
    let mut rows = vec![head("process", parts.map(|(_, title, _)| title.to_owned()))];
    for who in who {
        let cells = parts.map(|(part, _, factor)| {
            let found = measured.series(scope, who, part, first_token::PROMPT);
            match (part, found) {
                (first_token::FILE, Some(one)) if one.unit == BYTES => median(&one.samples)
                    .map_or_else(|| NOTHING.to_owned(), |bytes| digits(bytes * factor)),
                (_, found) => series(found, factor),
            }
        });
        rows.push(head(label(who), cells));
    }
    Some(Table {
        title: "Time to first token".to_owned(),
        note: format!(
            "A fresh process opens a checkpoint and gives the token after {} others; median \
             [quartiles]. The second column leaves out what Python takes to import its libraries. \
             The peak is all that the process held, mapped files included.",
            first_token::PROMPT
        ),
        rows,
    })
}

fn training_step(measured: &Measured) -> Option<Table> {
    let scope = Scope::Training;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let names = ["ms", "÷ PyTorch"].map(str::to_owned);
    let mut rows = vec![head("step", names)];
    for who in who {
        let found = measured.series(scope, who, "", training::WINDOW);
        let ratio = ratio(&measured.ratio(scope, [who, "torch-sdpa"], "", training::WINDOW));
        rows.push(head(label(who), [series(found, 1e3), ratio]));
    }
    Some(Table {
        title: "Training step".to_owned(),
        note: format!(
            "Four layers of 256 dimensions, {} rows of {} tokens: forward, backward, clipping by the \
             global norm, and AdamW.",
            training::ROWS,
            training::WINDOW
        ),
        rows,
    })
}

fn profiles(measured: &Measured, scope: Scope, title: &str, of: &str) -> Vec<Table> {
    let lengths = measured.lengths(scope);
    let mut all = Vec::new();
    for who in measured.who(scope) {
        let mut parts = measured.parts(scope);
        let longest = lengths.last().copied().unwrap_or_default();
        let cost = |part: &str| {
            let found = measured.series(scope, who, part, longest);
            found.and_then(|one| median(&one.samples)).unwrap_or(0.0)
        };
        parts.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        let names = lengths.iter().map(|length| format!("{length} tokens"));
        let mut rows = vec![head("part", names)];
        for part in parts {
            let cells = lengths.iter().map(|&length| {
                let own = measured.series(scope, who, part, length);
                let whole = measured.series(scope, who, profile::WHOLE, length);
                match (own, whole) {
                    (Some(own), Some(whole)) if !own.samples.is_empty() => {
                        let own = median(&own.samples).unwrap_or_default();
                        let whole = median(&whole.samples).unwrap_or(f64::NAN);
                        format!("{} ({:.1} %)", digits(own * 1e3), 100.0 * own / whole)
                    }
                    (own, _) => series(own, 1e3),
                }
            });
            rows.push(head(part, cells));
        }
        all.push(Table {
            title: format!("{title}: {who}"),
            note: format!("Milliseconds {of}, all layers together, and its share; medians."),
            rows,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use bsbr_attention::ArmConfig;

    use super::*;
    use crate::bench::over_floor::{over_floor, over_own_floor};
    use crate::bench::record::tests::record;
    use crate::spec::ArmSpec;

    #[test]
    fn a_table_has_times_ratios_floors_and_reasons() {
        let mut record = record(
            "2026-01-01",
            &[
                ("dense", &[0.2, 0.4]),
                ("torch-sdpa", &[0.1, 0.1]),
                ("torch-eager", &[]),
                ("matrix", &[0.1, 0.1]),
                ("copy", &[0.5, 0.5]),
            ],
        );
        record.series[2].missing = Some("no torch".to_owned());
        record.series[3].work = Some(1e3);
        record.series[4].work = Some(1e6);
        let measured = Measured::new(vec![record]);
        let text: String = tables(&measured).iter().map(Table::markdown).collect();
        for part in [
            "300 [250, 350]",
            "3.00 [2.50, 3.50]",
            "no torch",
            "floor: bytes",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        // 16 tokens of 12·4² weights, and a head of 4·8: 2·(3072 + 32) operations at 10⁴ a second.
        let floor = over_floor(&measured, "dense", 16);
        assert!((floor[0] - 0.2 / 0.6208).abs() < 1e-9, "{floor:?}");

        // For a known arm, its attention is counted too: 136 pairs of 4 dimensions, scores and
        // values, in one layer.
        assert!(!text.contains("its attention"), "{text}");
        let dense = ArmSpec {
            id: "dense".to_owned(),
            label: "dense".to_owned(),
            about: String::new(),
            default: false,
            swept: false,
            config: ArmConfig::DENSE,
        };
        let measured = measured.with_arms(vec![dense]);
        let text: String = tables(&measured).iter().map(Table::markdown).collect();
        assert!(text.contains("dense ÷ floor and its attention"), "{text}");
        let own = over_own_floor(&measured, "dense", 16);
        assert!((own[0] - 0.2 / (0.6208 + 0.2176)).abs() < 1e-9, "{own:?}");
    }
}
