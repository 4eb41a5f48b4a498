//! Sections as Markdown that reads well before it is rendered.

use std::fmt::Write as _;

use crate::overview::Answer;
use crate::render::table::Footnotes;
use crate::render::{Report, png_name, svg_name};
use crate::section::{
    Block, Cell, Comparison, Figure, Picture, Reading, Row, Section, Table, Verdict,
};
use crate::spec::ArmSpec;

/// How measured cells read.
const LEGEND: &str =
    "Measured cells read *mean ± standard deviation [bootstrap 95 %]* over samples.";

/// Heading of the overview.
pub(super) const OVERVIEW: &str = "What the report says, and what we measure";

/// How to read the overview.
pub(super) const OVERVIEW_NOTE: &str = "The report's conclusions in our words, each with the claims that it stands on: it misses where \
     one of them misses, and holds where all are measured and hold. Observations decide nothing. The \
     limits are ours; a number of the report is told where it is at hand.";

/// The front page.
pub(super) fn index(report: &Report) -> String {
    let model = &report.model;
    let mut out = format!("# {} and its conversions\n\n", model.name);
    let _ = writeln!(
        out,
        "A GPT-2 of {} layers, {} heads and {} dimensions ({:.1} M parameters, {} positions, {} \
         tokens of vocabulary) beside its conversions, untrained where nothing else is said.\n",
        model.layers,
        model.heads,
        model.hidden_size,
        model.parameters as f64 / 1e6,
        model.positions,
        model.vocabulary
    );
    if report.quick {
        out.push_str("**A quick run:** the method is the standard one, the samples are few.\n\n");
    }
    out.push_str(&overview(&report.overview));
    let glance = report.glance();
    let _ = writeln!(out, "## {}\n\n{}", glance.title, table(&glance));
    out.push_str("## Arms\n\n");
    for arm in &report.arms {
        let _ = writeln!(out, "- **{}**: {}", arm.label, arm.about);
    }
    out.push_str("\n## Sections\n\n");
    for section in &report.sections {
        let _ = writeln!(
            out,
            "- [{}]({}.md): {}",
            section.title, section.id, section.question
        );
    }
    out.push_str("\nThe same on one page, with plots: [index.html](index.html). ");
    out.push_str("Every number comes from the records in [records](records).\n");
    out
}

/// Each conclusion of the report, then the claims that it stands on.
fn overview(answers: &[Answer]) -> String {
    if answers.is_empty() {
        return String::new();
    }
    let mut out = format!("## {OVERVIEW}\n\n{OVERVIEW_NOTE}\n\n");
    for (index, answer) in answers.iter().enumerate() {
        let verdict = verdict_word(answer.holds());
        let _ = writeln!(out, "{}. **{verdict}**: {}", index + 1, answer.text);
    }
    out.push_str("\n| Claim | arm | measured | n | verdict | why |\n|---|---|---:|---:|---|---|\n");
    for (index, answer) in answers.iter().enumerate() {
        let _ = writeln!(
            out,
            "| **{}. {}** | | | | **{}** | {} |",
            index + 1,
            escape(&answer.text),
            verdict_word(answer.holds()),
            escape(&answer.why())
        );
        for one in &answer.findings {
            let text = match &one.section {
                Some(section) => format!("[{}]({section}.md)", escape(&one.text)),
                None => escape(&one.text),
            };
            let kind = if one.observation {
                " *(observation)*"
            } else {
                ""
            };
            let measured = match &one.measured {
                // The reason stands beside it.
                Cell::Missing(_) => "—".to_owned(),
                found => cell(found, &mut Footnotes::default()),
            };
            let n = match &one.measured {
                Cell::Measured(e, _) => e.n.to_string(),
                _ => String::new(),
            };
            let _ = writeln!(
                out,
                "| {text}{kind} | {} | {measured} | {n} | {} | {} |",
                escape(&one.label),
                verdict_word(one.holds),
                escape(&one.why)
            );
        }
    }
    out.push('\n');
    out
}

/// A section's file.
pub(super) fn section(section: &Section, arms: &[ArmSpec]) -> String {
    let mut out = format!("# {}\n\n*{}*\n\n", section.title, section.question);
    for paragraph in &section.method {
        let _ = writeln!(out, "{paragraph}\n");
    }
    let _ = writeln!(out, "{LEGEND}\n");
    if !section.verdicts.is_empty() {
        let verdicts: Vec<&Verdict> = section.verdicts.iter().collect();
        let _ = writeln!(
            out,
            "## Verdicts\n\n{}",
            verdict_table(&verdicts).trim_end()
        );
        out.push('\n');
    }
    for block in &section.blocks {
        match block {
            Block::Text(text) => {
                let _ = writeln!(out, "{text}\n");
            }
            Block::Table(one) => {
                let _ = writeln!(out, "## {}\n\n{}", one.title, table(one));
            }
            Block::Figure(one) => out.push_str(&figure(&section.id, one)),
            Block::Reading(one) => out.push_str(&reading(one)),
        }
    }
    if !section.comparisons.is_empty() {
        let one = comparison_table(&section.comparisons, arms);
        let _ = writeln!(out, "## {}\n\n{}", one.title, table(&one));
    }
    out.push_str("## How it was run\n\n| | |\n|---|---|\n");
    for (name, value) in &section.provenance {
        let _ = writeln!(out, "| {} | {} |", escape(name), escape(value));
    }
    out
}

fn verdict_table(verdicts: &[&Verdict]) -> String {
    let table_of = Table {
        corner: "Claim".to_owned(),
        columns: ["arm", "required", "measured", "n", "verdict"]
            .map(str::to_owned)
            .to_vec(),
        rows: verdicts
            .iter()
            .map(|one| Row {
                head: one.claim.clone(),
                arm: None,
                strong: false,
                cells: vec![
                    Cell::Text(one.arm.clone()),
                    Cell::Text(one.bar.clone()),
                    one.measured.clone(),
                    Cell::Text(one.n.map_or_else(|| "—".to_owned(), |n| n.to_string())),
                    Cell::Text(verdict_word(one.holds).to_owned()),
                ],
            })
            .collect(),
        ..Table::default()
    };
    table(&table_of)
}

/// The verdict in words.
pub(super) fn verdict_word(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "holds",
        Some(false) => "misses",
        None => "not measured",
    }
}

/// The report's numbers beside ours, as a table.
pub(super) fn comparison_table(comparisons: &[Comparison], arms: &[ArmSpec]) -> Table {
    let mut columns = vec!["the report".to_owned()];
    columns.extend(arms.iter().map(|arm| arm.label.clone()));
    columns.extend(["the report's number".to_owned(), "source".to_owned()]);
    Table {
        title: "The report's numbers beside ours".to_owned(),
        note: String::new(),
        corner: "Quantity".to_owned(),
        columns,
        rows: comparisons
            .iter()
            .map(|one| {
                let mut cells = vec![one.reported.clone()];
                cells.extend(arms.iter().map(|arm| match one.ours.get(&arm.id) {
                    Some(cell) => cell.clone(),
                    None => Cell::Missing("not measured yet".to_owned()),
                }));
                cells.push(Cell::Text(one.verdict.clone()));
                cells.push(Cell::Text(one.source.clone()));
                Row {
                    head: one.quantity.clone(),
                    arm: None,
                    strong: false,
                    cells,
                }
            })
            .collect(),
        folded: false,
    }
}

/// A table with its note.
pub(super) fn table(table: &Table) -> String {
    let mut notes = Footnotes::of(table);
    let mut out = String::new();
    if !table.note.is_empty() {
        let _ = writeln!(out, "{}\n", table.note);
    }
    let columns: Vec<String> = table.columns.iter().map(|name| escape(name)).collect();
    let _ = writeln!(
        out,
        "| {} | {} |",
        escape(&table.corner),
        columns.join(" | ")
    );
    let words = |column: usize| {
        let mut cells = table.rows.iter().filter_map(|row| row.cells.get(column));
        cells.any(|cell| matches!(cell, Cell::Text(_)))
    };
    let marks: Vec<&str> = (0..columns.len())
        .map(|column| if words(column) { "---" } else { "---:" })
        .collect();
    let _ = writeln!(out, "|---|{}|", marks.join("|"));
    for row in &table.rows {
        let cells: Vec<String> = row.cells.iter().map(|one| cell(one, &mut notes)).collect();
        let head = match row.strong {
            true => format!("**{}**", escape(&row.head)),
            false => escape(&row.head),
        };
        let _ = writeln!(out, "| {head} | {} |", cells.join(" | "));
    }
    for (mark, reason) in notes.iter() {
        let _ = write!(out, "\n({mark}) {reason}\n");
    }
    out
}

fn cell(cell: &Cell, notes: &mut Footnotes) -> String {
    match cell {
        Cell::Text(text) => escape(text),
        Cell::Number(value, style) => format!("{}{}", style.number(*value), style.unit()),
        Cell::Measured(e, style) => {
            let mut text = style.number(e.mean);
            if let Some(std) = e.std {
                let _ = write!(text, " ± {}", style.beside(std, e.mean));
            }
            if let Some(interval) = e.interval {
                let end = |value| style.beside(value, e.mean);
                let _ = write!(text, " [{}, {}]", end(interval.low), end(interval.high));
            }
            text + style.unit()
        }
        Cell::Spread(main, spread) => format!("{} {}", escape(main), escape(spread)),
        Cell::Marked(text, true) => format!("{} ✓", escape(text)),
        Cell::Marked(text, false) => format!("{} ✗", escape(text)),
        Cell::Missing(reason) => format!("— ({})", notes.mark(reason)),
    }
}

fn figure(section: &str, figure: &Figure) -> String {
    let mut out = format!("## {}\n\n", figure.title);
    if figure
        .pictures
        .iter()
        .any(|one| matches!(one, Picture::Svg { .. }))
    {
        let name = svg_name(section, figure);
        let _ = writeln!(out, "![{}](plots/{name})\n", figure.title);
    }
    let images: Vec<String> = figure
        .pictures
        .iter()
        .enumerate()
        .filter_map(|(index, picture)| match picture {
            Picture::Png { label, .. } => {
                let name = png_name(section, figure, index);
                Some(format!("![{label}](plots/{name})<br>{}", escape(label)))
            }
            Picture::Svg { .. } => None,
        })
        .collect();
    if !images.is_empty() {
        let columns = figure.columns.max(1);
        let _ = writeln!(
            out,
            "{}|\n{}|",
            "| ".repeat(columns),
            "|---".repeat(columns)
        );
        for row in images.chunks(columns) {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        out.push('\n');
    }
    if !figure.note.is_empty() {
        let _ = writeln!(out, "{}\n", figure.note);
    }
    out
}

fn reading(reading: &Reading) -> String {
    let mut out = format!("## {}\n\n", reading.title);
    if !reading.note.is_empty() {
        let _ = writeln!(out, "{}\n", reading.note);
    }
    for one in &reading.passages {
        let lines: Vec<String> = one
            .lines()
            .map(|line| format!("> {}\n", literal(line)))
            .collect();
        let _ = writeln!(out, "**{}**\n\n{}", one.head, lines.join(">\n"));
    }
    out
}

/// Text that is shown as it is, whatever a model wrote.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let mark = matches!(
            c,
            '\\' | '`' | '*' | '_' | '<' | '[' | ']' | '|' | '~' | '$'
        );
        // Some characters mean something at the beginning of a line alone, a dot after a number.
        let begins = at == 0 && matches!(c, '-' | '+' | '#' | '>' | '=');
        let before = &text[..at];
        let numbers = matches!(c, '.' | ')') && before.bytes().all(|b| b.is_ascii_digit());
        if mark || begins || numbers {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Text that cannot end a cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
