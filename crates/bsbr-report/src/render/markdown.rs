//! Parts of a report as Markdown that is readable without rendering.

use std::fmt::Write as _;

use crate::overview::{Answer, Card, Finding};
use crate::render::pieces::{Part, Piece, front, lead};
use crate::render::table::Footnotes;
use crate::render::{Report, png_name, svg_name};
use crate::section::{Cell, Column, Figure, Picture, Reading, Role, Row, Table, Verdict};
use crate::spec::ArmSpec;
use crate::verdict::Judgement;

/// The mark of the default arm, after its name.
const DEFAULT: &str = " ◆";

/// The front page.
pub(super) fn index(report: &Report) -> String {
    let mut out = format!(
        "# {} and its conversions\n\n{}\n\n",
        report.model.name,
        lead(report)
    );
    for part in front(report) {
        let _ = writeln!(out, "## {}\n", part.title);
        out.push_str(&pieces(&part, "index"));
    }
    out.push_str("## Sections\n\n");
    for section in &report.sections {
        let _ = writeln!(
            out,
            "- [{}]({}.md): {}",
            section.title, section.id, section.question
        );
    }
    out.push_str("\nAll sections on one page, with plots: [index.html](index.html). ");
    out.push_str("Every number comes from the records in [records](records).\n");
    out
}

/// A section's file.
pub(super) fn file(part: &Part<'_>) -> String {
    let question = part.question.map(|question| format!("*{question}*\n\n"));
    format!(
        "# {}\n\n{}{}",
        part.title,
        question.unwrap_or_default(),
        pieces(part, part.id)
    )
}

fn pieces(part: &Part<'_>, file: &str) -> String {
    let all = part.pieces.iter().map(|piece| match piece {
        Piece::Text(text) => format!("{text}\n\n"),
        Piece::Cards(all) => cards(all),
        Piece::Conclusions(all) => conclusions(all),
        Piece::Arms(all) => arms(all),
        Piece::Goals(all) => format!("## Goals\n\n{}\n", table(&goals(all))),
        // A single table of a part on the front page has the part's title.
        Piece::Table(one) if one.title == part.title => format!("{}\n", table(one)),
        Piece::Table(one) => format!("## {}\n\n{}\n", one.title, table(one)),
        Piece::Figure(one) => figure(file, one),
        Piece::Reading(one) => reading(one),
        Piece::Run(rows) => run(rows),
    });
    all.collect()
}

fn cards(cards: &[Card]) -> String {
    let row = |card: &Card| {
        let number = |(text, cell, beside): &(String, Cell, String)| {
            let beside = match beside.is_empty() {
                true => String::new(),
                false => format!(" ({beside})"),
            };
            match cell {
                Cell::Missing(reason) => format!("— {text}: {reason}"),
                found => format!("**{}** {text}{beside}", found.main()),
            }
        };
        let numbers: Vec<String> = card.numbers.iter().map(number).collect();
        format!(
            "| **{}** | {} |\n",
            card.title,
            escape(&numbers.join("<br>"))
        )
    };
    let rows: String = cards.iter().map(row).collect();
    format!("| The default arm | |\n|---|---|\n{rows}\n")
}

/// Each conclusion of the report, followed by its claims.
pub(crate) fn conclusions(answers: &[Answer]) -> String {
    let mut out = String::new();
    for (index, answer) in answers.iter().enumerate() {
        let _ = writeln!(
            out,
            "{}. **{}**: {}",
            index + 1,
            answer.count(),
            answer.text
        );
    }
    out.push_str("\n| Claim | measured | n | verdict | why |\n|---|---:|---:|---|---|\n");
    for (index, answer) in answers.iter().enumerate() {
        let _ = writeln!(
            out,
            "| **{}. {}** | | | **{}** | {} |",
            index + 1,
            escape(&answer.text),
            answer.count(),
            answer.others()
        );
        out.extend(answer.shown().iter().map(finding));
    }
    out + "\n"
}

fn finding(one: &Finding) -> String {
    let text = match &one.section {
        Some(section) => format!("[{}]({section}.md)", escape(&one.text)),
        None => escape(&one.text),
    };
    let kind = if one.observation {
        " *(observation)*"
    } else {
        ""
    };
    let arm = match one.of_default {
        true => String::new(),
        false => format!(" · *{}*", escape(&one.label)),
    };
    let measured = match &one.measured {
        // The reason is beside it.
        Cell::Missing(_) => "—".to_owned(),
        found => cell(found, &mut Footnotes::default()),
    };
    let n = one
        .measured
        .samples()
        .map(|n| n.to_string())
        .unwrap_or_default();
    let verdict = one.judgement.words();
    format!(
        "| {text}{arm}{kind} | {measured} | {n} | {verdict} | {} |\n",
        escape(&one.why)
    )
}

fn arms(arms: &[ArmSpec]) -> String {
    let line = |arm: &ArmSpec| {
        let mark = if arm.default { DEFAULT } else { "" };
        format!("- **{}**{mark}: {}\n", arm.label, arm.about)
    };
    arms.iter().map(line).collect::<String>() + "\n"
}

fn goals(goals: &[Verdict]) -> Table {
    let row = |one: &Verdict| Row {
        head: one.claim.clone(),
        cells: vec![
            Cell::Text(one.arm.clone()),
            Cell::Text(one.required.clone()),
            one.measured.clone(),
            Cell::Text(
                one.measured
                    .samples()
                    .map_or_else(|| "—".to_owned(), |n| n.to_string()),
            ),
            Cell::Text(verdict(one.judgement)),
        ],
        ..Row::default()
    };
    Table {
        corner: "Goal".to_owned(),
        columns: ["arm", "required", "measured", "n", "verdict"]
            .map(Column::from)
            .to_vec(),
        rows: goals.iter().map(row).collect(),
        ..Table::default()
    }
}

fn verdict(judgement: Judgement) -> String {
    match judgement.needed() {
        Some(needed) => format!("{}: {needed}", judgement.words()),
        None => judgement.words().to_owned(),
    }
}

/// A table with its note.
pub(crate) fn table(table: &Table) -> String {
    let mut notes = Footnotes::of(table);
    let mut out = String::new();
    if !table.note.is_empty() {
        let _ = writeln!(out, "{}\n", table.note);
    }
    let columns: Vec<String> = table.columns.iter().map(|one| escape(&one.title)).collect();
    let _ = writeln!(
        out,
        "| {} | {} |",
        escape(&table.corner),
        columns.join(" | ")
    );
    let words = |column: usize| {
        let own = table.rows.iter().filter(|row| row.role != Role::Reported);
        let mut cells = own.filter_map(|row| row.cells.get(column));
        cells.any(|cell| matches!(cell, Cell::Text(_)))
    };
    let marks: Vec<&str> = (0..columns.len())
        .map(|column| if words(column) { "---" } else { "---:" })
        .collect();
    let _ = writeln!(out, "|---|{}|", marks.join("|"));
    for (at, row) in table.rows.iter().enumerate() {
        let cells = row.cells.iter().enumerate().map(|(column, one)| {
            let text = cell(one, &mut notes);
            match table.is_best(at, column) {
                true => format!("**{text}**"),
                false => text,
            }
        });
        let cells: Vec<String> = cells.collect();
        let head = match (row.role, row.default) {
            (Role::Reported, _) => format!("*{}*", escape(&row.head)),
            (_, true) => format!("{}{DEFAULT}", escape(&row.head)),
            (_, false) => escape(&row.head),
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
        Cell::Measured(found, style) => {
            let spread = [cell.deviation(), cell.brackets()].into_iter().flatten();
            let words = spread.fold(style.number(found.mean), |text, one| {
                format!("{text} {one}")
            });
            words + style.unit()
        }
        Cell::Derived { text, spread, .. } if !spread.is_empty() => {
            format!("{} {}", escape(text), escape(spread))
        }
        Cell::Missing(reason) => format!("— ({})", notes.mark(reason)),
        other => escape(&other.main()),
    }
}

fn figure(file: &str, figure: &Figure) -> String {
    let mut out = format!("## {}\n\n", figure.title);
    let drawn = |one: &Picture| matches!(one, Picture::Svg { .. });
    if figure.pictures.iter().any(drawn) {
        let name = svg_name(file, figure);
        let _ = writeln!(out, "![{}](plots/{name})\n", figure.title);
    }
    let images = figure.pictures.iter().enumerate();
    let images = images.filter_map(|(index, picture)| match picture {
        Picture::Png { label, .. } => {
            let name = png_name(file, figure, index);
            Some(format!("![{label}](plots/{name})<br>{}", escape(label)))
        }
        Picture::Svg { .. } => None,
    });
    let images: Vec<String> = images.collect();
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

fn run(rows: &[(String, String)]) -> String {
    let row =
        |(name, value): &(String, String)| format!("| {} | {} |\n", escape(name), escape(value));
    let rows: String = rows.iter().map(row).collect();
    format!("## How it was run\n\n| | |\n|---|---|\n{rows}")
}

/// Text shown literally, whatever a model wrote.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let mark = matches!(
            c,
            '\\' | '`' | '*' | '_' | '<' | '[' | ']' | '|' | '~' | '$'
        );
        // Some characters have a meaning only at the start of a line, and a dot after a number.
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
