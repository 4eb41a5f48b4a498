//! The parts of a report in order: the single traversal from which Markdown and the page
//! are rendered.

use std::borrow::Cow;

use crate::overview::{Answer, Card};
use crate::render::Report;
use crate::section::{Block, Figure, Reading, Section, Table, Verdict};
use crate::spec::ArmSpec;

/// The part on the report's conclusions.
pub(super) const OVERVIEW: &str = "overview";

/// The notation of measured cells.
const LEGEND: &str = "Measured cells show *mean ± standard deviation [bootstrap 95 %]* over \
     samples; wide tables omit the deviation. Bold marks the best of a column among arms other \
     than dense; ◆ marks the default arm.";

/// The note on the table of all arms.
const GLANCE: &str = "Bold marks the best of a column among arms other than dense; ◆ marks the \
     default arm. The sections show intervals.";

/// The note on the overview.
const OVERVIEW_NOTE: &str = "The report's conclusions in our words, each with the claims that \
     support it. A claim holds if its whole 95 % interval lies within the limits, misses if it \
     lies outside, and is undecided otherwise. Claims are about the default arm unless another is \
     named; observations do not count. The limits are ours.";

/// A heading and its content.
pub(super) struct Part<'a> {
    /// Its anchor and file name.
    pub id: &'a str,
    pub title: &'a str,
    /// The question.
    pub question: Option<&'a str>,
    pub pieces: Vec<Piece<'a>>,
}

/// One part of the content.
pub(super) enum Piece<'a> {
    /// A paragraph.
    Text(Cow<'a, str>),
    /// The default arm in a few numbers.
    Cards(&'a [Card]),
    /// The report's conclusions, and the verdicts on their claims.
    Conclusions(&'a [Answer]),
    /// The descriptions of the arms.
    Arms(&'a [ArmSpec]),
    /// Goals and verdicts.
    Goals(&'a [Verdict]),
    Table(Cow<'a, Table>),
    Figure(Cow<'a, Figure>),
    Reading(&'a Reading),
    /// How and where it was run.
    Run(&'a [(String, String)]),
}

/// The parts before the sections.
pub(super) fn front(report: &Report) -> Vec<Part<'_>> {
    let answers = &report.answers;
    let mut parts = Vec::new();
    let mut pieces = Vec::new();
    if !answers.cards.is_empty() {
        pieces.push(Piece::Cards(&answers.cards));
    }
    if !answers.scatters.is_empty() {
        pieces.push(Piece::Figure(Cow::Owned(Figure {
            id: "arms".to_owned(),
            title: "Speed against quality".to_owned(),
            note: "One point per arm, with bootstrap 95 % intervals; up and to the right is \
                   better. The default arm is outlined."
                .to_owned(),
            pictures: answers.scatters.clone(),
            columns: 2,
        })));
    }
    if !answers.conclusions.is_empty() {
        if !report.cite.is_empty() {
            pieces.push(Piece::Text(report.cite.as_str().into()));
        }
        pieces.push(Piece::Text(OVERVIEW_NOTE.into()));
        pieces.push(Piece::Conclusions(&answers.conclusions));
    }
    if !pieces.is_empty() {
        parts.push(Part {
            id: OVERVIEW,
            title: "Quality, speed and size",
            question: None,
            pieces,
        });
    }
    parts.push(Part {
        id: "arms",
        title: "Every arm at a glance",
        question: None,
        pieces: vec![
            Piece::Arms(&report.arms),
            Piece::Text(GLANCE.into()),
            Piece::Table(Cow::Owned(report.glance())),
        ],
    });
    parts
}

/// A section.
pub(super) fn section(section: &Section) -> Part<'_> {
    let paragraphs = section.method.iter().chain(&section.reported);
    let mut pieces: Vec<Piece<'_>> = paragraphs
        .map(|text| Piece::Text(text.as_str().into()))
        .collect();
    pieces.push(Piece::Text(LEGEND.into()));
    if !section.verdicts.is_empty() {
        pieces.push(Piece::Goals(&section.verdicts));
    }
    pieces.extend(section.blocks.iter().map(|block| match block {
        Block::Text(text) => Piece::Text(text.as_str().into()),
        Block::Table(table) => Piece::Table(Cow::Borrowed(table)),
        Block::Figure(figure) => Piece::Figure(Cow::Borrowed(figure)),
        Block::Reading(reading) => Piece::Reading(reading),
    }));
    pieces.push(Piece::Run(&section.provenance));
    Part {
        id: &section.id,
        title: &section.title,
        question: Some(&section.question),
        pieces,
    }
}

/// A sentence about the model.
pub(super) fn lead(report: &Report) -> String {
    let model = &report.model;
    let quick = match report.quick {
        true => " **Quick run:** the standard method with few samples.",
        false => "",
    };
    format!(
        "A GPT-2 of {} layers, {} heads and {} dimensions ({:.1} M parameters, {} positions, {} \
         tokens of vocabulary) and its conversions, without training unless stated \
         otherwise.{quick}",
        model.layers,
        model.heads,
        model.hidden_size,
        model.parameters as f64 / 1e6,
        model.positions,
        model.vocabulary
    )
}
