//! Tables of times, and of their ratios.

use crate::bench::floor::Floor;
use crate::bench::over_floor::{
    attention, config, counted, over_floor, over_own_floor, place, share_of_rate,
};
use crate::bench::select::Measured;
use crate::bench::table::{
    NOTHING, Table, digits, head, is_peer, label, median, pairs, ratio, series,
};
use crate::bench::{Scope, machine};

/// The time of each contestant at each length, with the machine's rates and
/// floors.
pub(super) fn times(measured: &Measured, scope: Scope, title: &str) -> Table {
    let who = measured.who(scope);
    let config = config(measured);
    let model = scope == Scope::Model;
    let counted = counted(measured, scope);
    let mut columns: Vec<String> = who.iter().map(|who| label(who).to_owned()).collect();
    columns.push("product, GFLOP/s".to_owned());
    columns.push("PyTorch's, GFLOP/s".to_owned());
    if model {
        columns.push("floor: operations".to_owned());
        columns.push("floor: bytes".to_owned());
    }
    columns.extend(counted.iter().map(|own| format!("attention: {own}")));
    let mut rows = vec![head("tokens", columns)];
    for length in measured.lengths(scope) {
        let mut row = vec![length.to_string()];
        for who in &who {
            row.push(series(measured.series(scope, who, "", length), 1e3));
        }
        for who in [machine::MATRIX, machine::TORCH_MATRIX] {
            let found = measured.series(scope, who, "", length);
            let rate = found.and_then(|one| Some(one.work? / median(&one.samples)?));
            row.push(rate.map_or_else(|| NOTHING.to_owned(), |rate| digits(rate * 1e-9)));
        }
        if model {
            let floor = config
                .as_ref()
                .map(|config| Floor::of(config, length, place(measured).dtype().size()));
            let rounds = measured.rounds(scope, machine::MATRIX, length);
            let products: Vec<f64> = rounds.iter().map(|round| round.product).collect();
            let copies: Vec<f64> = rounds.iter().filter_map(|round| round.copy).collect();
            let [operations, bytes] = [
                floor.and_then(|floor| Some(floor.operations / median(&products)?)),
                floor.and_then(|floor| Some(floor.bytes / median(&copies)?)),
            ]
            .map(|found| found.map_or_else(|| NOTHING.to_owned(), |s| digits(s * 1e3)));
            row.extend([operations, bytes]);
            row.extend(counted.iter().map(|own| {
                let found = attention(measured, own, length).zip(median(&products));
                found.map_or_else(
                    || NOTHING.to_owned(),
                    |(work, rate)| digits(work / rate * 1e3),
                )
            }));
        }
        rows.push(row);
    }
    let floors = match model {
        true => {
            " A floor is what the linear layers alone would take: their operations at the rate of \
             the faster of the two products, in a round, or their bytes at the rate of a copy. \
             Attention is what an arm's own operations would take at that rate, in all layers."
        }
        false if scope == Scope::Gradients => {
            " One layer, from queries, keys and values to the output and back to their gradients."
        }
        false => " One layer, from queries, keys and values to the output.",
    };
    Table {
        title: format!("{title}: time"),
        note: format!(
            "Milliseconds, median [quartiles]. The products are of {} rows, timed in the same \
             rounds.{floors}",
            machine::rows(&place(measured))
        ),
        rows,
    }
}

/// The ratio of each contestant to PyTorch, dense attention and the floors.
pub(super) fn ratios(measured: &Measured, scope: Scope, title: &str) -> Table {
    let who = measured.who(scope);
    let ours: Vec<&str> = who.iter().copied().filter(|who| !is_peer(who)).collect();
    let pairs = pairs(&who);
    let mut columns: Vec<String> = pairs
        .iter()
        .map(|[upper, lower]| format!("{} ÷ {}", label(upper), label(lower)))
        .collect();
    let last = match scope {
        Scope::Model => "floor",
        _ => "share of the product's rate",
    };
    columns.extend(ours.iter().map(|own| match scope {
        Scope::Model => format!("{own} ÷ {last}"),
        _ => format!("{own}: {last}"),
    }));
    let counted = counted(measured, scope);
    columns.extend(
        counted
            .iter()
            .map(|own| format!("{own} ÷ floor and its attention")),
    );
    let mut rows = vec![head("tokens", columns)];
    for length in measured.lengths(scope) {
        let mut row = vec![length.to_string()];
        row.extend(
            pairs
                .iter()
                .map(|pair| ratio(&measured.ratio(scope, *pair, "", length))),
        );
        row.extend(ours.iter().map(|own| {
            ratio(&match scope {
                Scope::Model => over_floor(measured, own, length),
                _ => share_of_rate(measured, scope, own, length),
            })
        }));
        row.extend(
            counted
                .iter()
                .map(|own| ratio(&over_own_floor(measured, own, length))),
        );
        rows.push(row);
    }
    let rate = match scope {
        Scope::Model => "",
        _ => {
            " The share of the product's rate counts for everybody the operations of exact causal \
             attention, so that it is above 1 where an arm does without most of them."
        }
    };
    Table {
        title: format!("{title}: ratios"),
        note: format!(
            "Of the two in one round: median [quartiles] (bootstrap 95 % of the median); below 1 the \
             first is faster.{rate}"
        ),
        rows,
    }
}
