//! Reports as Markdown that is readable without rendering.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::overview::{Answer, Card};
use crate::render::walk::{self, Format};
use crate::render::{Footnotes, Report, svg};
use crate::section::{Cell, Figure, Picture, Quotes, Role, Section, Table};

/// The front page, the sections and their plots, by their paths.
pub(super) fn files(report: &Report) -> Vec<(PathBuf, Vec<u8>)> {
    let mut index = Markdown::new("index", "##");
    index.text = format!("# {}\n\n{}\n\n", report.title(), report.lead());
    walk::front(report, &mut index);
    index.part(["sections", "Sections", ""], |out| {
        let item = |one: &Section| format!("[{}]({}.md): {}", one.title, one.id, one.question);
        let items: Vec<String> = report.sections.iter().map(item).collect();
        out.list(false, &items);
        out.text(
            "All sections on one page, with plots: [index.html](index.html). Every number comes \
             from the records in [records](records).",
        );
    });
    let sections = report.sections.iter().flat_map(|section| {
        let mut own = Markdown::new(&section.id, "#");
        walk::section(section, &mut own);
        own.files()
    });
    index.files().into_iter().chain(sections).collect()
}

/// Each conclusion of the report, followed by its claims.
pub(crate) fn conclusions(answers: &[Answer]) -> String {
    let mut out = Markdown::new("", "");
    walk::conclusions(answers, &mut out);
    out.text
}

/// A Markdown file and its plots.
struct Markdown<'a> {
    /// Its name, without extension.
    name: &'a str,
    /// The marks before the title of a part.
    marks: &'static str,
    text: String,
    plots: Vec<(PathBuf, Vec<u8>)>,
}

impl<'a> Markdown<'a> {
    fn new(name: &'a str, marks: &'static str) -> Self {
        Self {
            name,
            marks,
            text: String::new(),
            plots: Vec::new(),
        }
    }

    fn files(mut self) -> Vec<(PathBuf, Vec<u8>)> {
        let text = format!("{}\n", self.text.trim_end());
        let path = format!("{}.md", self.name).into();
        self.plots.push((path, text.into_bytes()));
        self.plots
    }

    /// A heading or a paragraph, if it is not empty.
    fn paragraph(&mut self, before: &str, text: &str) {
        if !text.is_empty() {
            self.text.extend([before, text, "\n\n"]);
        }
    }

    /// Adds a plot; returns its path.
    fn plot(&mut self, name: &str, bytes: Vec<u8>) -> String {
        let path = format!("plots/{}-{name}", self.name);
        self.plots.push((path.clone().into(), bytes));
        path
    }
}

impl Format for Markdown<'_> {
    fn part(&mut self, [_, title, question]: [&str; 3], content: impl FnOnce(&mut Self)) {
        let _ = write!(self.text, "{} {title}\n\n", self.marks);
        if !question.is_empty() {
            let _ = write!(self.text, "*{question}*\n\n");
        }
        content(self);
    }

    fn text(&mut self, text: &str) {
        self.paragraph("", text);
    }

    fn list(&mut self, numbered: bool, items: &[String]) {
        for (index, item) in items.iter().enumerate() {
            let _ = match numbered {
                true => writeln!(self.text, "{}. {item}", index + 1),
                false => writeln!(self.text, "- {item}"),
            };
        }
        self.text.push('\n');
    }

    fn cards(&mut self, cards: &[Card]) {
        self.text.push_str("| The default arm | |\n|---|---|\n");
        for card in cards {
            let number = |(text, cell, beside): &(String, Cell, String)| {
                let beside = match beside.is_empty() {
                    true => String::new(),
                    false => format!(" ({beside})"),
                };
                escape(&format!("**{}** {text}{beside}", cell.main()))
            };
            let numbers: Vec<String> = card.numbers.iter().map(number).collect();
            let numbers = numbers.join("<br>");
            let _ = writeln!(self.text, "| **{}** | {numbers} |", card.title);
        }
        self.text.push('\n');
    }

    fn table(&mut self, one: &Table) {
        self.paragraph("## ", &one.title);
        self.text += &(table(one) + "\n");
    }

    fn figure(&mut self, figure: &Figure) {
        self.paragraph("## ", &figure.title);
        if let Some(svg) = svg::sheet(figure) {
            let path = self.plot(&format!("{}.svg", figure.id), svg.into_bytes());
            let _ = write!(self.text, "![{}]({path})\n\n", figure.title);
        }
        let mut images = Vec::new();
        for (index, picture) in figure.pictures.iter().enumerate() {
            if let Picture::Png { bytes, label } = picture {
                let name = format!("{}-{:02}.png", figure.id, index + 1);
                let path = self.plot(&name, bytes.clone());
                images.push(format!("![{label}]({path})<br>{}", escape(label)));
            }
        }
        if !images.is_empty() {
            let columns = figure.columns.max(1);
            let (head, rule) = ("| ".repeat(columns), "|---".repeat(columns));
            let _ = writeln!(self.text, "{head}|\n{rule}|");
            for row in images.chunks(columns) {
                let _ = writeln!(self.text, "| {} |", row.join(" | "));
            }
            self.text.push('\n');
        }
        self.text(&figure.note);
    }

    fn quotes(&mut self, quotes: &Quotes) {
        self.paragraph("## ", &quotes.title);
        self.text(&quotes.note);
        for one in &quotes.quotes {
            let lines = one.lines().map(|line| format!("> {}\n", literal(line)));
            let lines: Vec<String> = lines.collect();
            let _ = writeln!(self.text, "**{}**\n\n{}", one.head, lines.join(">\n"));
        }
    }
}

/// A table with its note.
pub(crate) fn table(table: &Table) -> String {
    written(table, false)
}

/// A table with its note, with aligned columns, for reading as text.
pub(crate) fn aligned(table: &Table) -> String {
    written(table, true)
}

fn written(table: &Table, aligned: bool) -> String {
    let notes = Footnotes::of(table);
    let titles = table.columns.iter().map(|one| escape(&one.title));
    let mut rows = vec![Vec::from_iter(
        [escape(&table.corner)].into_iter().chain(titles),
    )];
    for (at, row) in table.rows.iter().enumerate() {
        let head = escape(&row.head);
        let head = match (row.role, row.default) {
            (Role::Reported, _) => format!("*{head}*"),
            (_, true) => format!("{head} ◆"),
            (_, false) => head,
        };
        let cells = row.cells.iter().enumerate().map(|(column, one)| {
            let text = cell(one, &notes);
            match table.is_best(at, column) {
                true => format!("**{text}**"),
                false => text,
            }
        });
        rows.push([head].into_iter().chain(cells).collect());
    }
    // The width of a column of the text, and whether it is aligned to the right.
    let column = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        let width = cells.map(|cell| cell.chars().count()).max();
        let right = index > 0 && !table.has_words(index - 1);
        (width.filter(|_| aligned).unwrap_or_default(), right)
    };
    let columns: Vec<(usize, bool)> = (0..=table.columns.len()).map(column).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&columns);
        let cells = cells.map(|(cell, &(width, right))| match right {
            true => format!(" {cell:>width$} |"),
            false => format!(" {cell:<width$} |"),
        });
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = columns.iter().map(|&(width, right)| {
        let dashes = if aligned {
            width + 2 - usize::from(right)
        } else {
            3
        };
        format!("{}{}|", "-".repeat(dashes), if right { ":" } else { "" })
    });
    let mut out = String::new();
    if !table.note.is_empty() {
        let _ = writeln!(out, "{}\n", table.note);
    }
    let _ = writeln!(out, "{}|{}", line(&rows[0]), rule.collect::<String>());
    out.extend(rows[1..].iter().map(line));
    for (mark, reason) in &notes.0 {
        let _ = write!(out, "\n({mark}) {reason}\n");
    }
    out
}

fn cell(cell: &Cell, notes: &Footnotes<'_>) -> String {
    match cell {
        Cell::Measured(found, style) => {
            let spread = [cell.deviation(), cell.brackets()].into_iter().flatten();
            let words = spread.fold(style.number(found.mean), |text, one| {
                format!("{text} {one}")
            });
            words + style.unit()
        }
        Cell::Derived { text, spread, .. } if !spread.is_empty() => {
            escape(&format!("{text} {spread}"))
        }
        Cell::Missing(reason) => format!("— ({})", notes.mark(reason)),
        other => escape(&other.main()),
    }
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

#[cfg(test)]
mod tests {
    use super::aligned;
    use crate::section::{Cell, Column, Row, Table};

    #[test]
    fn columns_are_aligned_by_their_marks() {
        let row = |head: &str, cells: [&str; 2]| Row {
            head: head.to_owned(),
            cells: cells.map(Cell::from).to_vec(),
            ..Row::default()
        };
        let table = Table {
            note: "A note.".to_owned(),
            corner: "tokens".to_owned(),
            columns: ["ms", "why"].map(Column::from).to_vec(),
            rows: vec![
                row("16", ["1.00 [1.00, 2.00]", "a | b"]),
                row("4096", ["2", ""]),
            ],
            ..Table::default()
        };
        let expected = "A note.\n\n\
                        | tokens |                ms | why    |\n\
                        |--------|------------------:|--------|\n\
                        | 16     | 1.00 [1.00, 2.00] | a \\| b |\n\
                        | 4096   |                 2 |        |\n";
        assert_eq!(aligned(&table), expected);
    }
}
