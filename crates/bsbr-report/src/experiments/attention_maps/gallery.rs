//! Images of maps, and results per head.

use std::collections::BTreeSet;

use crate::experiments::attention_maps::AttentionMaps;
use crate::experiments::prelude::*;
use crate::present::words::capital;
use crate::render::heatmap;
use crate::section::{Figure, Picture};

/// One row per head, one column per arm.
pub(super) fn by_head(experiment: &AttentionMaps, records: &Records, quantity: &str) -> Table {
    let (arms, length) = (experiment.arms(), experiment.settings.length);
    let heads = heads(records);
    let mean = |arm: &str, name: &str, quantity: &str| {
        let quantity = format!("head.{name}.{quantity}");
        let found = records.estimate(arm, Pool::Texts, length, &quantity);
        found.map(|found| found.mean)
    };
    let names = records.measurements().flat_map(|one| one.values.keys());
    let names = names.filter_map(|name| name.strip_prefix("head.")?.strip_suffix(".own"));
    let names: BTreeSet<&str> = names.collect();
    let rows = names.into_iter().map(|name| {
        let place = place_of(name, heads);
        let cell = |arm: &ArmSpec| {
            let first = records.of(&arm.id, Pool::Texts, length).next();
            let best = first.and_then(|one| one.values.get(&format!("head.{name}.best")));
            let best = best.map(|&best| best as usize);
            match (mean(&arm.id, name, quantity), best) {
                (Ok(mean), Some(best)) if best != place => {
                    let number = Style::Fixed(3).number(mean);
                    Cell::Text(format!("{number} → {}", label(best, heads)))
                }
                (Ok(mean), _) => Cell::Number(mean, Style::Fixed(3)),
                (Err(reason), _) => Cell::Missing(reason),
            }
        };
        let dense = arms.first().map_or("", |arm| arm.id.as_str());
        let mass = mean(dense, name, "dense_far_mass");
        let mass = mass.map_or_else(Cell::Missing, |mass| Cell::Number(mass, Style::Percent(2)));
        Row {
            head: label(place, heads),
            cells: arms.iter().map(cell).chain([mass]).collect(),
            ..Row::default()
        }
    });
    let columns = arms.iter().map(|arm| arm.label.as_str());
    let columns = columns.chain(["dense weight on the far field"]);
    let declared = &experiment.spec.layout.quantities;
    let title = declared.find(&format!("head.*.*.{quantity}"));
    let title = title.map_or(quantity, |one| one.title.as_str());
    Table {
        id: format!("heads.{quantity}"),
        title: format!("{}, head by head", capital(title)),
        note: "Means over texts. An arrow names the arm's head that is more similar to this head \
               than its own, on the first text; without an arrow, the head matches itself."
            .to_owned(),
        corner: "Head".to_owned(),
        columns: columns.map(Column::from).collect(),
        rows: rows.collect(),
        folded: true,
    }
}

/// Heads of a layer.
fn heads(records: &Records) -> usize {
    let first = records.first();
    first.map_or(1, |record| record.model.heads.max(1))
}

/// The index of `layer.head` among all heads.
fn place_of(name: &str, heads: usize) -> usize {
    let mut numbers = name.split('.').map(|part| part.parse().unwrap_or(0));
    numbers.next().unwrap_or(0) * heads + numbers.next().unwrap_or(0)
}

fn label(place: usize, heads: usize) -> String {
    format!("layer {}, head {}", place / heads + 1, place % heads + 1)
}

/// The maps: one row per layer, one column per arm of the gallery.
pub(super) fn gallery(
    experiment: &AttentionMaps,
    records: &Records,
) -> Result<Option<Figure>, ReportError> {
    let settings = &experiment.settings;
    let (length, heads) = (settings.length, heads(records));
    let drawn = settings.gallery.iter().filter_map(|id| {
        let arm = experiment.spec.arm(id)?;
        let mut drawn = records.of(&arm.id, Pool::Texts, length);
        Some((arm, drawn.find(|one| !one.images.is_empty())?))
    });
    let arms: Vec<(&ArmSpec, &Measurement)> = drawn.collect();
    let Some((_, first)) = arms.first() else {
        return Ok(None);
    };
    let mut pictures = Vec::new();
    for name in first.images.keys() {
        for (arm, one) in &arms {
            if let Some(image) = one.images.get(name) {
                pictures.push(Picture::Png {
                    bytes: heatmap::colourise(image)?,
                    label: format!("{}: {}", label(place_of(name, heads), heads), arm.label),
                });
            }
        }
    }
    Ok(Some(Figure {
        id: "maps".to_owned(),
        title: "The same heads in each model".to_owned(),
        note: format!(
            "One text ({}), {length} tokens. For each layer: the head with the most weight on the \
             far field in the dense model. Queries run down, keys to the right. A pixel shows the \
             largest weight that it covers, on a logarithmic scale.",
            first.source
        ),
        pictures,
        columns: arms.len(),
    }))
}
