//! The parts of a report in order: the single traversal for all formats.

use crate::overview::{Answer, Answers, Card};
use crate::present::subject::Subject;
use crate::render::Report;
use crate::section::{Block, Cell, Column, Figure, Quotes, Row, Section, Table, Verdict};
use crate::style::Style;

/// The notation of measured cells.
const LEGEND: &str = "Measured cells show *mean ± standard deviation [bootstrap 95 %]* over \
     samples; wide tables omit the deviation. Bold marks the best of a column among arms other \
     than dense; ◆ marks the default arm.";

/// The note on the table of all arms.
const GLANCE: &str = "Bold marks the best of a column among arms other than dense; ◆ marks the \
     default arm. The sections show intervals.";

/// The note on the overview.
const OVERVIEW: &str = "The report's conclusions in our words, each with the claims that support \
     it. A claim holds if its whole 95 % interval lies within the limits, misses if it lies \
     outside, and is undecided otherwise. Claims are about the default arm unless another is \
     named; observations do not count. The limits are ours.";

/// A format of reports, which receives them piece by piece. Texts, and heads and cells of tables,
/// are Markdown.
pub(super) trait Format {
    /// A part with an id, a title and a question, which may be empty.
    fn part(&mut self, names: [&str; 3], content: impl FnOnce(&mut Self));

    /// A paragraph.
    fn text(&mut self, text: &str);

    /// A list.
    fn list(&mut self, numbered: bool, items: &[String]);

    /// The default arm in a few numbers.
    fn cards(&mut self, cards: &[Card]);

    /// A table, with its title if it has one.
    fn table(&mut self, table: &Table);

    /// A figure.
    fn figure(&mut self, figure: &Figure);

    /// Texts to read.
    fn quotes(&mut self, quotes: &Quotes);
}

/// The parts before the sections.
pub(super) fn front<F: Format>(report: &Report, out: &mut F) {
    let answers = &report.answers;
    if *answers != Answers::default() {
        let names = ["overview", "Quality, speed and size", ""];
        out.part(names, |out| overview(report, out));
    }
    out.part(["arms", "Every arm at a glance", ""], |out| {
        let arms = report.arms.iter().map(|arm| {
            let mark = if arm.default { " ◆" } else { "" };
            format!("**{}**{mark}: {}", arm.label, arm.about)
        });
        out.list(false, &arms.collect::<Vec<_>>());
        out.text(GLANCE);
        out.table(&arms_table(report));
    });
}

fn overview<F: Format>(report: &Report, out: &mut F) {
    let answers = &report.answers;
    if !answers.cards.is_empty() {
        out.cards(&answers.cards);
    }
    if !answers.scatters.is_empty() {
        out.figure(&Figure {
            id: "arms".to_owned(),
            title: "Speed against quality".to_owned(),
            note: "One point per arm, with bootstrap 95 % intervals; up and to the right is \
                   better. The default arm is outlined."
                .to_owned(),
            pictures: answers.scatters.clone(),
            columns: 2,
        });
    }
    if !answers.conclusions.is_empty() {
        if !report.cite.is_empty() {
            out.text(&report.cite);
        }
        out.text(OVERVIEW);
        conclusions(&answers.conclusions, out);
    }
}

/// The report's conclusions, and the verdicts on their claims.
pub(super) fn conclusions<F: Format>(answers: &[Answer], out: &mut F) {
    let item = |one: &Answer| format!("**{}**: {}", one.count(), one.text);
    out.list(true, &answers.iter().map(item).collect::<Vec<_>>());
    let mut rows = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let count = format!("**{}**", answer.count());
        rows.push(Row {
            head: format!("**{}. {}**", index + 1, answer.text),
            cells: ["", "", count.as_str(), answer.others().as_str()]
                .map(Cell::from)
                .to_vec(),
            ..Row::default()
        });
        rows.extend(answer.shown().iter().map(claim));
    }
    out.table(&Table {
        corner: "Claim".to_owned(),
        columns: ["measured", "n", "verdict", "why"]
            .map(Column::from)
            .to_vec(),
        rows,
        ..Table::default()
    });
}

fn claim(one: &Verdict) -> Row {
    let text = match &one.section {
        Some(section) => format!("[{}]({section}.md)", one.claim),
        None => one.claim.clone(),
    };
    let arm = match one.of_default {
        true => String::new(),
        false => format!(" · *{}*", one.arm),
    };
    let kind = match one.observation {
        true => " *(observation)*",
        false => "",
    };
    let measured = match &one.measured {
        // The reason is beside it.
        Cell::Missing(_) => Cell::from("—"),
        found => found.clone(),
    };
    Row {
        head: text + &arm + kind,
        cells: vec![
            measured,
            samples(&one.measured),
            Cell::Judged(one.judgement),
            Cell::from(one.why.as_str()),
        ],
        ..Row::default()
    }
}

/// The number of samples of a cell, if it has samples.
fn samples(cell: &Cell) -> Cell {
    let number = |n| Cell::Number(n as f64, Style::Fixed(0));
    cell.samples().map_or_else(|| Cell::from(""), number)
}

/// One row per arm, with the headline numbers of all sections.
fn arms_table(report: &Report) -> Table {
    let headlines = || report.sections.iter().flat_map(|one| &one.headlines);
    let rows = Subject::arms(&report.arms).into_iter().map(|arm| {
        let cells = headlines().map(|one| match one.cells.get(&arm.id) {
            // The sections show the spread of the numbers.
            Some(Cell::Measured(found, style)) => Cell::Number(found.mean, *style),
            Some(cell) => cell.clone(),
            None => Cell::Missing("not an arm of that experiment".to_owned()),
        });
        arm.row(cells.collect())
    });
    let notes = headlines().map(|one| format!("{}: {}.", one.title, one.note));
    let columns = headlines().map(|one| Column {
        better: one.better,
        ..Column::from(one.title.as_str())
    });
    Table {
        note: notes.collect::<Vec<_>>().join(" "),
        corner: "Arm".to_owned(),
        columns: columns.collect(),
        rows: rows.collect(),
        ..Table::default()
    }
}

/// A section.
pub(super) fn section<F: Format>(section: &Section, out: &mut F) {
    out.part([&section.id, &section.title, &section.question], |out| {
        for text in section.method.iter().chain(&section.reported) {
            out.text(text);
        }
        out.text(LEGEND);
        if !section.verdicts.is_empty() {
            out.table(&goals(&section.verdicts));
        }
        for block in &section.blocks {
            match block {
                Block::Text(text) => out.text(text),
                Block::Table(table) => out.table(table),
                Block::Figure(figure) => out.figure(figure),
                Block::Quotes(quotes) => out.quotes(quotes),
            }
        }
        let rows = section.provenance.iter().map(|(name, value)| Row {
            head: name.clone(),
            cells: vec![Cell::from(value.as_str())],
            ..Row::default()
        });
        out.table(&Table {
            title: "How it was run".to_owned(),
            columns: vec![Column::default()],
            rows: rows.collect(),
            folded: true,
            ..Table::default()
        });
    });
}

/// Goals, and the verdicts on them.
fn goals(goals: &[Verdict]) -> Table {
    let row = |one: &Verdict| Row {
        head: one.claim.clone(),
        cells: vec![
            Cell::from(one.arm.as_str()),
            Cell::from(one.required.as_str()),
            one.measured.clone(),
            samples(&one.measured),
            Cell::Judged(one.judgement),
        ],
        ..Row::default()
    };
    Table {
        title: "Goals".to_owned(),
        corner: "Goal".to_owned(),
        columns: ["arm", "required", "measured", "n", "verdict"]
            .map(Column::from)
            .to_vec(),
        rows: goals.iter().map(row).collect(),
        ..Table::default()
    }
}
