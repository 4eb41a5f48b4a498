//! A self-contained page without scripts or external resources.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::overview::Card;
use crate::render::chart::WIDTH;
use crate::render::inline::inline;
use crate::render::walk::{self, Format};
use crate::render::{ARM_COLOURS, Footnotes, Report, heatmap, svg};
use crate::section::{Cell, Figure, Picture, Quotes, Role, Table};
use crate::verdict::Judgement;

const STYLE: &str = include_str!("page.css");

pub(super) fn page(report: &Report) -> String {
    let mut all = Html::default();
    walk::front(report, &mut all);
    for section in &report.sections {
        walk::section(section, &mut all);
    }
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title()) }
                style { (PreEscaped(format!("{}{STYLE}{}", svg::COLOURS, svg::CHART))) }
            }
            body {
                header .top {
                    p .kicker { "Block sparse attention with block retrieval" }
                    h1 { (report.title()) }
                    p .lead { (inline(&report.lead())) }
                }
                nav aria-label="Contents" {
                    div { @for (id, title) in &all.parts { a href=(format!("#{id}")) { (title) } } }
                }
                main { (PreEscaped(all.body)) }
                footer {
                    p {
                        "Cells with a spread show the mean ± standard deviation over samples and, \
                         below, the 95 % percentile bootstrap interval of the mean. Every number on \
                         this page is computed from the records beside it."
                    }
                }
            }
        }
    };
    body.into_string() + "\n"
}

/// The content of the page, or of a part.
#[derive(Default)]
struct Html {
    /// The part's id.
    id: String,
    body: String,
    /// Ids and titles of the parts within it.
    parts: Vec<(String, String)>,
}

impl Html {
    fn push(&mut self, markup: Markup) {
        self.body += &markup.0;
    }

    /// Adds something that has a title, which may be empty, or is collapsed.
    fn titled(&mut self, title: &str, folded: bool, content: Markup) {
        self.push(html! {
            @if folded {
                details { summary { h3 { (title) } } (content) }
            } @else {
                @if !title.is_empty() { h3 { (title) } }
                (content)
            }
        });
    }
}

impl Format for Html {
    fn part(&mut self, [id, title, question]: [&str; 3], content: impl FnOnce(&mut Self)) {
        let mut own = Self {
            id: id.to_owned(),
            ..Self::default()
        };
        content(&mut own);
        self.parts.push((id.to_owned(), title.to_owned()));
        self.push(html! {
            section id=(id) {
                h2 { (title) }
                @if !question.is_empty() { p .question { (question) } }
                (PreEscaped(own.body))
            }
        });
    }

    fn text(&mut self, text: &str) {
        self.push(html! { p { (inline(text)) } });
    }

    fn list(&mut self, numbered: bool, items: &[String]) {
        let items = html! { @for one in items { li { (inline(one)) } } };
        self.push(html! { @if numbered { ol { (items) } } @else { ul { (items) } } });
    }

    fn cards(&mut self, cards: &[Card]) {
        let number = |(text, cell, beside): &(String, Cell, String)| {
            html! {
                div .number {
                    span .figure { (cell.main()) } " " (text)
                    @if let Some(interval) = cell.brackets() { span .spread { " " (interval) } }
                    @if !beside.is_empty() { span .beside { (beside) } }
                }
            }
        };
        self.push(html! {
            div .cards {
                @for card in cards {
                    div .card {
                        div .claim { (card.title) }
                        @for one in &card.numbers { (number(one)) }
                    }
                }
            }
        });
    }

    fn table(&mut self, one: &Table) {
        let name = format!("{} {}", self.id, one.title).to_lowercase();
        let words = name.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let markup = table(one, &format!("{}.csv", words.join("-")));
        self.titled(&one.title, one.folded, markup);
    }

    fn figure(&mut self, figure: &Figure) {
        let is_map = |one: &Picture| matches!(one, Picture::Png { .. });
        self.push(html! {
            figure {
                h3 { (figure.title) }
                @if figure.pictures.iter().any(is_map) {
                    div .maps style=(format!("--columns: {}", figure.columns.max(1))) {
                        @for one in &figure.pictures { (picture(one)) }
                    }
                    (ramp())
                } @else {
                    div .charts { @for one in &figure.pictures { (picture(one)) } }
                }
                @if !figure.note.is_empty() { figcaption .note { (inline(&figure.note)) } }
            }
        });
    }

    fn quotes(&mut self, quotes: &Quotes) {
        let content = html! {
            @if !quotes.note.is_empty() { p .note { (inline(&quotes.note)) } }
            @for one in &quotes.quotes {
                h4 { (swatch(one.arm)) (one.head) }
                blockquote { @for line in one.lines() { p { (line) } } }
            }
        };
        self.titled(&quotes.title, true, content);
    }
}

/// A table with its note, and its numbers as a file of this name.
fn table(table: &Table, file: &str) -> Markup {
    let notes = Footnotes::of(table);
    let mut cells = table.rows.iter().flat_map(|row| &row.cells);
    let numbers = cells.any(|cell| cell.value().is_some());
    let words = |is: bool| is.then_some("words");
    let data = || STANDARD.encode(table.csv());
    html! {
        div .scroll {
            table {
                thead {
                    tr {
                        th scope="col" { (table.corner) }
                        @for (column, one) in table.columns.iter().enumerate() {
                            th scope="col" class=[words(table.has_words(column))] { (one.title) }
                        }
                    }
                }
                tbody {
                    @for (at, row) in table.rows.iter().enumerate() {
                        tr .strong[row.default] .reported[row.role == Role::Reported] {
                            th scope="row" {
                                (swatch(row.arm)) (inline(&row.head))
                                @if row.default { span .default title="the default arm" { "◆" } }
                            }
                            @for (column, cell) in row.cells.iter().enumerate() {
                                @let class = match table.is_best(at, column) {
                                    true => Some("best"),
                                    false => words(cell.is_words()),
                                };
                                td class=[class] { (value(cell, &notes)) }
                            }
                        }
                    }
                }
            }
        }
        @for (mark, reason) in &notes.0 { p .foot { sup { (mark) } " " (inline(reason)) } }
        p .note {
            @if !table.note.is_empty() { (inline(&table.note)) " " }
            @if numbers {
                a .data download=(file) href=(format!("data:text/csv;charset=utf-8;base64,{}", data())) { "CSV" }
            }
        }
    }
}

/// The content of a cell: the number large, its spread small.
fn value(cell: &Cell, notes: &Footnotes<'_>) -> Markup {
    html! {
        @match cell {
            Cell::Text(text) => (inline(text)),
            Cell::Judged(judgement) => (verdict(*judgement)),
            Cell::Missing(reason) => span title=(reason) { "—" sup { (notes.mark(reason)) } },
            found => {
                span .main { (found.main()) }
                @if let Some(deviation) = found.deviation() { span .std { " " (deviation) } }
                @if let Some(interval) = found.brackets() { small { (interval) } }
            },
        }
    }
}

fn verdict(judgement: Judgement) -> Markup {
    let (mark, class) = match judgement {
        Judgement::Holds => ("✓", "good"),
        Judgement::Misses => ("✗", "bad"),
        Judgement::Undecided(_) | Judgement::Unrepeated => ("?", "open"),
        Judgement::NotMeasured => ("—", "open"),
    };
    html! { span class=(format!("verdict {class}")) { (mark) "\u{a0}" (judgement.words()) } }
}

/// The colour and the mark of an arm.
fn swatch(arm: Option<usize>) -> Markup {
    html! {
        @if let Some(arm) = arm {
            span class=(format!("swatch a{} m{}", arm % ARM_COLOURS, arm % 4)) {}
        }
    }
}

fn picture(picture: &Picture) -> Markup {
    html! {
        @match picture {
            Picture::Svg { height, body, label } => {
                svg .chart viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(label) {
                    (PreEscaped(body))
                }
            }
            Picture::Png { bytes, label } => div {
                img alt=(label) src=(format!("data:image/png;base64,{}", STANDARD.encode(bytes)));
                span { (label) }
            },
        }
    }
}

/// The scale of attention maps.
fn ramp() -> Markup {
    let colours: Vec<String> = heatmap::palette()
        .chunks_exact(3)
        .step_by(17)
        .map(|c| format!("rgb({} {} {})", c[0], c[1], c[2]))
        .collect();
    html! {
        div .ramp style=(format!("background: linear-gradient(90deg, {})", colours.join(", "))) {}
        div .ramp-ends {
            @for end in ["≤ 10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1"] { span { (end) } }
        }
    }
}
