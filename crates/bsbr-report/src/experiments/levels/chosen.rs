//! Levels of heads in records.

use bsbr_attention::HeadLevel;

use crate::experiments::levels::CHOICE;
use crate::record::{Measurement, Pool, Records};

/// Every level, with the quantity that records the number of its heads.
const ALL: [(HeadLevel, &str); 3] = [
    (HeadLevel::Near, "heads.near"),
    (HeadLevel::Clusters, "heads.clusters"),
    (HeadLevel::Lookups, "heads.lookups"),
];

/// The quantity that records a head's level.
fn name(layer: usize, head: usize) -> String {
    format!("level.{layer:02}.{head:02}")
}

/// Records the number of heads with each level, and the level of each head.
pub(super) fn record(levels: &[Vec<HeadLevel>], one: &mut Measurement) {
    for (level, quantity) in ALL {
        let own = levels.iter().flatten().filter(|of| **of == level);
        one.set(quantity, own.count() as f64);
    }
    for (layer, heads) in levels.iter().enumerate() {
        for (head, level) in heads.iter().enumerate() {
            let place = ALL.iter().position(|(of, _)| of == level);
            one.set(name(layer, head), place.unwrap_or_default() as f64);
        }
    }
}

/// The levels chosen for a row, layer by layer, or why there are none.
pub(super) fn recorded(
    records: &Records,
    id: &str,
    length: usize,
    [layers, heads]: [usize; 2],
) -> Result<Vec<Vec<HeadLevel>>, String> {
    let one = records.of(id, Pool::Source(CHOICE), length).next();
    let one = one.ok_or("levels have not been chosen yet")?;
    let level = |layer, head| {
        let value = one.values.get(&name(layer, head));
        let known = value.and_then(|value| ALL.get(*value as usize));
        let missing = || format!("no level is recorded for head {head} of layer {layer}");
        known.map(|(level, _)| *level).ok_or_else(missing)
    };
    (0..layers)
        .map(|layer| (0..heads).map(|head| level(layer, head)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_and_told_apart() {
        let levels = [
            vec![HeadLevel::Lookups, HeadLevel::Near],
            vec![HeadLevel::Clusters, HeadLevel::Near],
        ];
        let mut one = Measurement::new("a", CHOICE, 8, 0);
        record(&levels, &mut one);
        let counts = ["heads.near", "heads.clusters", "heads.lookups"];
        assert_eq!(counts.map(|name| one.values[name]), [2.0, 1.0, 1.0]);
        let all = ["00.00", "00.01", "01.00", "01.01"];
        let numbers = all.map(|name| one.values[&format!("level.{name}")]);
        assert_eq!(numbers, [2.0, 0.0, 1.0, 0.0]);
    }
}
