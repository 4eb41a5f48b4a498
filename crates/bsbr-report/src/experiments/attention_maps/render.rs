//! The section on attention maps.

use crate::error::ReportError;
use crate::experiments::attention_maps::AttentionMaps;
use crate::experiments::common::{Column, by_arm, headline, plural, provenance, verdicts};
use crate::record::{Measurement, Pool, Records};
use crate::render::heatmap;
use crate::reported;
use crate::section::{Block, Cell, Figure, Picture, Row, Section, Style, Table};

fn style(quantity: &str) -> Style {
    match quantity.rsplit('.').next() {
        Some("own") => Style::Percent(1),
        _ => Style::Fixed(3),
    }
}

pub(super) fn section(
    experiment: &AttentionMaps,
    records: &Records,
) -> Result<Section, ReportError> {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let length = experiment.settings.length;
    let column = |title: &str, quantity: &str| Column {
        title: title.to_owned(),
        from: Pool::Texts,
        length,
        quantity: quantity.to_owned(),
        style: style(quantity),
    };
    let overview = by_arm(
        "Similarity of maps, mean over heads",
        "The cosine of a query's weights in both models, averaged over queries and heads. A head \
         matches itself where no other head of the arm, in any layer, is more like it. Weighted: \
         each head counts by the weight that the dense model gives to its far field, so that heads \
         that never look there do not count. Each sample is a text.",
        arms,
        records,
        &[
            column("within the chunk", "maps.within"),
            column("between chunks", "maps.between"),
            column("far field alone", "maps.far"),
            column("far field, weighted", "maps.far_weighted"),
            column("heads that match themselves", "maps.own"),
        ],
    );
    let mut blocks = vec![Block::Table(overview)];
    blocks.extend(gallery(experiment, records)?.map(Block::Figure));
    for (quantity, title) in [
        ("far", "Far field, head by head"),
        ("between", "Between chunks, head by head"),
        ("within", "Within the chunk, head by head"),
    ] {
        blocks.push(Block::Table(by_head(experiment, records, quantity, title)));
    }
    let settings = &experiment.settings;
    Ok(Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: vec![
            format!(
                "The dense model and each arm read the same {} of {length} tokens. A map holds \
                 what each token's output takes from the value of each earlier token, head by head; \
                 where an arm attends to a cluster, its weight lies on the cluster's tokens, and what \
                 the state adds to a token may be below zero.",
                plural(experiment.counts.texts, "text")
            ),
            format!(
                "All maps are divided by one grid: {} sinks, chunks of {}, {} of them near. Within \
                 the chunk means the query's own chunk, between chunks all that comes before it, \
                 sinks included; the far field is what lies before the near chunks. A row of \
                 weights that are all zero is as unlike as can be.",
                settings.sink_tokens, settings.chunk_size, settings.near_chunks
            ),
        ],
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: vec![headline(
            "far attention",
            &format!(
                "cosine of attention weights on the far field, heads weighted by what they give to \
                 it, texts of {length} tokens"
            ),
            arms,
            records,
            &column("", "maps.far_weighted"),
        )],
        blocks,
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    })
}

/// A row for each head, a column for each arm.
fn by_head(experiment: &AttentionMaps, records: &Records, quantity: &str, title: &str) -> Table {
    let arms = &experiment.spec.method.arms;
    let length = experiment.settings.length;
    let heads = records
        .first()
        .map_or(1, |record| record.model.heads.max(1));
    let names = records.quantities("head.");
    let names: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".own"))
        .collect();
    let rows = names.iter().map(|name| {
        let place = place_of(name, heads);
        let mut cells: Vec<Cell> = arms
            .iter()
            .map(|arm| {
                let quantity = format!("head.{name}.{quantity}");
                let found = records.estimate(&arm.id, Pool::Texts, length, &quantity);
                match (found, best_match(records, &arm.id, length, name)) {
                    (Ok(e), Some(best)) if best != place => {
                        let number = Style::Fixed(3).number(e.mean);
                        Cell::Text(format!("{number} → {}", label(best, heads)))
                    }
                    (Ok(e), _) => Cell::Number(e.mean, Style::Fixed(3)),
                    (Err(reason), _) => Cell::Missing(reason),
                }
            })
            .collect();
        let mass = format!("head.{name}.dense_far_mass");
        let dense = arms.first().map_or("", |arm| arm.id.as_str());
        let mass = records.estimate(dense, Pool::Texts, length, &mass);
        cells.push(match mass {
            Ok(e) => Cell::Number(e.mean, Style::Percent(2)),
            Err(reason) => Cell::Missing(reason),
        });
        Row {
            head: label(place, heads),
            arm: None,
            strong: false,
            cells,
        }
    });
    let rows = rows.collect();
    let mut columns: Vec<String> = arms.iter().map(|arm| arm.label.clone()).collect();
    columns.push("dense weight on the far field".to_owned());
    Table {
        title: title.to_owned(),
        note:
            "Means over texts. An arrow names the arm's head that is more like this one than its \
               own, on the first text; without one, the head matches itself."
                .to_owned(),
        corner: "Head".to_owned(),
        columns,
        rows,
        folded: true,
    }
}

fn first<'a>(records: &'a Records, arm: &'a str, length: usize) -> Option<&'a Measurement> {
    records.of(arm, Pool::Texts, length).next()
}

fn best_match(records: &Records, arm: &str, length: usize, name: &str) -> Option<usize> {
    let values = &first(records, arm, length)?.values;
    values
        .get(&format!("head.{name}.best"))
        .map(|&best| best as usize)
}

/// The place of `layer.head` among all heads.
fn place_of(name: &str, heads: usize) -> usize {
    let mut numbers = name
        .split('.')
        .map(|part| part.parse::<usize>().unwrap_or(0));
    numbers.next().unwrap_or(0) * heads + numbers.next().unwrap_or(0)
}

fn label(place: usize, heads: usize) -> String {
    format!("layer {}, head {}", place / heads + 1, place % heads + 1)
}

/// The drawn maps: a row for each layer, a column for each arm of the gallery.
fn gallery(experiment: &AttentionMaps, records: &Records) -> Result<Option<Figure>, ReportError> {
    let length = experiment.settings.length;
    let heads = records
        .first()
        .map_or(1, |record| record.model.heads.max(1));
    let arms: Vec<_> = experiment
        .settings
        .gallery
        .iter()
        .filter_map(|id| {
            let arm = experiment
                .spec
                .method
                .arms
                .iter()
                .find(|arm| arm.id == *id)?;
            let mut drawn = records.of(&arm.id, Pool::Texts, length);
            Some((arm, drawn.find(|one| !one.images.is_empty())?))
        })
        .collect();
    let Some((_, one)) = arms.first() else {
        return Ok(None);
    };
    let mut pictures = Vec::new();
    for name in one.images.keys() {
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
            "One text ({}), {length} tokens. Of each layer, the head that gives most weight to the \
             far field in the dense model. Queries go down, keys to the right; a pixel shows the \
             greatest weight that it covers, on a logarithmic scale.",
            one.source
        ),
        pictures,
        columns: arms.len(),
    }))
}
