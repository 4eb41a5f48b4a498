//! The section on attention density.

use crate::experiments::common::{
    Column, by_arm, headline, lines, plural, provenance, short_length, verdicts,
};
use crate::experiments::density::Density;
use crate::record::{Pool, Records};
use crate::render::chart::LineChart;
use crate::render::scale::Scale;
use crate::reported;
use crate::section::{Block, Figure, Section, Style, Table};

const STYLE: Style = Style::Percent(2);

pub(super) fn section(experiment: &Density, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let settings = &experiment.settings;
    let longest = settings.lengths.iter().copied().max().unwrap_or_default();
    let threshold = settings.threshold;
    let by_length = |title: &str, note: &str, quantity: &str| {
        let lengths = settings.lengths.iter();
        let columns: Vec<Column<'_>> = lengths
            .map(|&length| column(format!("{length} tokens"), length, quantity))
            .collect();
        Block::Table(by_arm(title, note, arms, records, &columns))
    };
    let mut blocks = vec![
        Block::Figure(figure(experiment, records)),
        by_length(
            "Pairs computed exactly, by length",
            "Pairs of a query and a single token that the arm scores, as a share of those of dense \
             attention.",
            "exact",
        ),
        by_length(
            "Pairs scored, by length",
            "The same with pairs of a query and a cluster.",
            "scored",
        ),
        by_length(
            &format!("Weights above {threshold}, by length"),
            "Tokens that get more than that of a query's attention, as a share of all that it may \
             see; a cluster's weight is shared equally among its tokens.",
            "above",
        ),
        by_length(
            "Effective density, by length",
            "exp of the entropy of a query's weights, as a share of the tokens that it may see: \
             the share of tokens that an even attention as spread as this would look at.",
            "effective",
        ),
    ];
    blocks.extend(
        [
            ("exact", "Pairs computed exactly"),
            ("effective", "Effective density"),
        ]
        .map(|(quantity, title)| {
            Block::Table(by_layer(experiment, records, quantity, title, longest))
        }),
    );
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: vec![format!(
            "{} at each length, the domains in turns; every model on its own way through its layers, all \
             heads, queries at {}. What states add is no weight on a token and is not in these \
             shares.",
            plural(experiment.counts.texts, "text"),
            plural(settings.rows as u64, "position"),
        )],
        verdicts: verdicts(spec, records, |_| STYLE),
        headlines: vec![headline(
            "exact pairs",
            &format!("share of query–token pairs computed exactly, texts of {longest} tokens"),
            arms,
            records,
            &column(String::new(), longest, "exact"),
        )],
        blocks,
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    }
}

fn column(title: String, length: usize, quantity: &str) -> Column<'static> {
    Column {
        title,
        from: Pool::Texts,
        length,
        quantity: quantity.to_owned(),
        style: STYLE,
    }
}

fn by_layer(
    experiment: &Density,
    records: &Records,
    quantity: &str,
    title: &str,
    length: usize,
) -> Table {
    let layers = records.first().map_or(0, |record| record.model.layers);
    let columns: Vec<Column<'_>> = (0..layers)
        .map(|layer| {
            let quantity = format!("layer.{layer:02}.{quantity}");
            column(format!("layer {layer}"), length, &quantity)
        })
        .collect();
    let mut table = by_arm(
        format!("{title}, by layer"),
        format!("At {length} tokens."),
        &experiment.spec.method.arms,
        records,
        &columns,
    );
    table.folded = true;
    table
}

fn figure(experiment: &Density, records: &Records) -> Figure {
    let lengths = &experiment.settings.lengths;
    let chart = |title: &str, quantity: &str| {
        let series = lines(&experiment.spec.method.arms, |arm| {
            let points = lengths.iter().map(|&length| {
                let found = records.estimate(arm, Pool::Texts, length, quantity);
                Some(((length as f64).log2(), found.ok()?))
            });
            points.flatten().collect()
        });
        LineChart {
            label: format!("{title}, a line for each arm"),
            title: title.to_owned(),
            x_label: "tokens".to_owned(),
            x_ticks: lengths
                .iter()
                .map(|&length| ((length as f64).log2(), short_length(length)))
                .collect(),
            y: Scale::log(1e-3, 1.0),
            series,
        }
        .draw()
    };
    Figure {
        id: "density".to_owned(),
        title: "Density by length".to_owned(),
        note: "Means over texts, layers and heads, with bootstrap 95 % intervals over texts."
            .to_owned(),
        pictures: vec![
            chart("Pairs computed exactly", "exact"),
            chart("Effective density", "effective"),
        ],
        columns: 2,
    }
}
