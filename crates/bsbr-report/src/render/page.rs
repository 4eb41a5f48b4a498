//! A self-contained page without scripts or external resources.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::overview::{Answer, Card, Finding};
use crate::render::inline::inline;
use crate::render::pieces::{OVERVIEW, Part, Piece, front, lead, section};
use crate::render::table::Footnotes;
use crate::render::{Report, heatmap, svg};
use crate::section::{Cell, Figure, Picture, Reading, Role, Row, Table, Verdict};
use crate::spec::ArmSpec;
use crate::verdict::Judgement;

const STYLE: &str = include_str!("page.css");

pub(super) fn page(report: &Report) -> String {
    let name = &report.model.name;
    let fronts = front(report);
    let sections = report.sections.iter().map(section);
    let parts: Vec<Part<'_>> = fronts.into_iter().chain(sections).collect();
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) " and its conversions" }
                style { (PreEscaped(format!("{}{STYLE}{}", svg::COLOURS, svg::CHART))) }
            }
            body {
                header .top {
                    p .kicker { "Block sparse attention with block retrieval" }
                    h1 { (name) " and its conversions" }
                    p .lead { (inline(&lead(report))) }
                }
                nav aria-label="Contents" {
                    div {
                        @for part in &parts {
                            a href=(format!("#{}", part.id)) { (short_title(part)) }
                        }
                    }
                }
                main { @for part in &parts { (part_of(part, report)) } }
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

/// The title of a part in the table of contents.
fn short_title<'a>(part: &Part<'a>) -> &'a str {
    match part.id {
        OVERVIEW => "Overview",
        "arms" => "Arms",
        _ => part.title,
    }
}

fn part_of(part: &Part<'_>, report: &Report) -> Markup {
    html! {
        section id=(part.id) {
            h2 { (part.title) }
            @if let Some(question) = part.question { p .question { (question) } }
            @for piece in &part.pieces { (piece_of(piece, part, report)) }
        }
    }
}

fn piece_of(piece: &Piece<'_>, part: &Part<'_>, report: &Report) -> Markup {
    match piece {
        Piece::Text(text) => html! { p { (inline(text)) } },
        Piece::Cards(all) => html! { div .cards .first { @for one in *all { (card(one)) } } },
        Piece::Conclusions(all) => conclusions(all, report),
        Piece::Arms(all) => arms(all),
        Piece::Goals(all) => html! { div .cards { @for one in *all { (goal(one)) } } },
        Piece::Table(one) => titled(one, part),
        Piece::Figure(one) => figure(one),
        Piece::Reading(one) => reading(one),
        Piece::Run(rows) => html! {
            details {
                summary { h3 { "How it was run" } }
                dl .run { @for (name, value) in *rows { dt { (name) } dd { (value) } } }
            }
        },
    }
}

/// A question about the default arm, and the numbers that answer it.
fn card(card: &Card) -> Markup {
    html! {
        div .card {
            div .claim { (card.title) }
            @for (at, (text, cell, beside)) in card.numbers.iter().enumerate() {
                div .number .large[at == 0] {
                    @match cell {
                        Cell::Missing(reason) => { span .figure { "—" } " " (text) span .beside { (reason) } }
                        found => {
                            span .figure { (found.main()) } " " (text)
                            @if let Some(interval) = found.brackets() { span .spread { " " (interval) } }
                            @if !beside.is_empty() { span .beside { (beside) } }
                        }
                    }
                }
            }
        }
    }
}

/// The report's conclusions, each with its claims.
fn conclusions(answers: &[Answer], report: &Report) -> Markup {
    html! {
        ol .answers {
            @for (index, answer) in answers.iter().enumerate() {
                li { (count(answer)) " " a href=(format!("#conclusion-{}", index + 1)) { (answer.text) } }
            }
        }
        table .overview {
            thead { tr { @for name in ["Claim", "Measured", "Verdict", "Why"] { th scope="col" { (name) } } } }
            @for (index, answer) in answers.iter().enumerate() {
                tbody id=(format!("conclusion-{}", index + 1)) {
                    tr .conclusion {
                        th scope="rowgroup" colspan="2" { (index + 1) ". " (answer.text) }
                        td { (count(answer)) }
                        td .why { (answer.others()) }
                    }
                    @for one in answer.shown() { (finding(&one, report)) }
                }
            }
        }
    }
}

/// The number of claims of a conclusion that hold: red only if none does.
fn count(answer: &Answer) -> Markup {
    let [holding, all] = answer.holding();
    let missing = || {
        answer
            .findings
            .iter()
            .any(|one| one.judgement == Judgement::Misses)
    };
    let class = match holding {
        _ if holding == all && all > 0 => "good",
        0 if missing() => "bad",
        _ => "open",
    };
    html! { span class=(format!("verdict {class}")) { (answer.count().replace(' ', "\u{a0}")) } }
}

fn finding(one: &Finding, report: &Report) -> Markup {
    let arm = report.arms.iter().position(|arm| arm.id == one.arm);
    html! {
        tr {
            th scope="row" {
                @match &one.section {
                    Some(section) => a href=(format!("#{section}")) { (one.text) },
                    None => (one.text),
                }
                small {
                    @if !one.of_default { (swatch(arm)) (one.label) " " }
                    @if let Some(n) = one.measured.samples() { "n\u{a0}=\u{a0}" (n) " " }
                    @if one.observation { "observation" }
                }
            }
            td .value {
                @match &one.measured {
                    // The reason is beside it.
                    Cell::Missing(_) => "—",
                    found => (value(found)),
                }
            }
            td { (verdict(one.judgement)) }
            td .why { (inline(&one.why)) }
        }
    }
}

fn verdict(judgement: Judgement) -> Markup {
    let (mark, class) = match judgement {
        Judgement::Holds => ("✓", "good"),
        Judgement::Misses => ("✗", "bad"),
        Judgement::Undecided(_) => ("?", "open"),
        Judgement::Open => ("—", "open"),
    };
    html! { span class=(format!("verdict {class}")) { (mark) "\u{a0}" (judgement.words()) } }
}

fn goal(goal: &Verdict) -> Markup {
    html! {
        div .card {
            div .claim { (goal.claim) ": " (goal.arm) }
            @match &goal.measured {
                Cell::Missing(reason) => { div .figure { "—" } div .spread { (reason) } }
                found => {
                    div .figure { (found.main()) }
                    div .spread {
                        @for part in [found.deviation(), found.brackets()].into_iter().flatten() { (part) " " }
                        @if let Some(n) = found.samples() { "n\u{a0}=\u{a0}" (n) }
                    }
                }
            }
            div .bar {
                (verdict(goal.judgement))
                " · required: " (goal.required.replace(' ', "\u{a0}"))
                @if let Some(needed) = goal.judgement.needed() { " · " (needed) }
            }
        }
    }
}

fn arms(arms: &[ArmSpec]) -> Markup {
    html! {
        dl .arms {
            @for (index, arm) in arms.iter().enumerate() {
                dt { (swatch(Some(index))) (arm.label) (mark(arm.default)) }
                dd { (arm.about) }
            }
        }
    }
}

/// The mark of the default arm.
fn mark(default: bool) -> Markup {
    html! { @if default { span .default title="the default arm" { "◆" } } }
}

fn titled(one: &Table, part: &Part<'_>) -> Markup {
    html! {
        @if one.title == part.title {
            (table(one, part.id))
        } @else if one.folded {
            details { summary { h3 { (one.title) } } (table(one, part.id)) }
        } @else {
            h3 { (one.title) }
            (table(one, part.id))
        }
    }
}

fn table(table: &Table, section: &str) -> Markup {
    let mut notes = Footnotes::of(table);
    let rows: Vec<Markup> = (0..table.rows.len())
        .map(|at| row(table, at, &mut notes))
        .collect();
    let name = format!("{section}-{}.csv", in_file_name(&table.title));
    html! {
        div .scroll {
            table {
                thead {
                    tr {
                        th scope="col" { (table.corner) }
                        @for one in &table.columns { th scope="col" { (one.title) } }
                    }
                }
                tbody { @for row in rows { (row) } }
            }
        }
        @for (mark, reason) in notes.iter() { p .foot { sup { (mark) } " " (inline(reason)) } }
        p .note {
            @if !table.note.is_empty() { (inline(&table.note)) " " }
            a .data download=(name) href=(format!("data:text/csv;charset=utf-8;base64,{}", STANDARD.encode(table.csv()))) { "CSV" }
        }
    }
}

fn in_file_name(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join("-")
}

fn row(table: &Table, at: usize, notes: &mut Footnotes) -> Markup {
    let row: &Row = &table.rows[at];
    html! {
        tr .strong[row.default] .reported[row.role == Role::Reported] {
            th scope="row" { (swatch(row.arm)) (row.head) (mark(row.default)) }
            @for (column, one) in row.cells.iter().enumerate() {
                (cell(one, notes, table.is_best(at, column), row.role))
            }
        }
    }
}

fn swatch(arm: Option<usize>) -> Markup {
    html! {
        @if let Some(arm) = arm {
            span class=(format!("swatch a{} m{}", arm % crate::render::ARM_COLOURS, arm % 4)) {}
        }
    }
}

fn cell(cell: &Cell, notes: &mut Footnotes, best: bool, role: Role) -> Markup {
    html! {
        @match cell {
            Cell::Missing(reason) => td title=(reason) { "—" sup { (notes.mark(reason)) } },
            Cell::Text(text) if role == Role::Reported => td { (text) },
            Cell::Text(_) => td .words { (value(cell)) },
            _ => td .best[best] { (value(cell)) },
        }
    }
}

/// The content of a cell: the number large, its spread small.
fn value(cell: &Cell) -> Markup {
    html! {
        @match cell {
            Cell::Text(text) => (text),
            Cell::Missing(reason) => (reason),
            found => {
                span .main { (found.main()) }
                @if let Some(deviation) = found.deviation() { span .std { " " (deviation) } }
                @if let Some(interval) = found.brackets() { small { (interval) } }
            },
        }
    }
}

fn figure(figure: &Figure) -> Markup {
    let has_maps = figure
        .pictures
        .iter()
        .any(|one| matches!(one, Picture::Png { .. }));
    html! {
        figure {
            h3 { (figure.title) }
            @if has_maps {
                div .maps style=(format!("--columns: {}", figure.columns.max(1))) {
                    @for picture in &figure.pictures { (picture_of(picture)) }
                }
                (ramp())
            } @else {
                div .charts { @for picture in &figure.pictures { (picture_of(picture)) } }
            }
            @if !figure.note.is_empty() { figcaption .note { (inline(&figure.note)) } }
        }
    }
}

fn reading(reading: &Reading) -> Markup {
    html! {
        details {
            summary { h3 { (reading.title) } }
            @if !reading.note.is_empty() { p .note { (inline(&reading.note)) } }
            @for one in &reading.passages {
                h4 { (swatch(one.arm)) (one.head) }
                blockquote { @for line in one.lines() { p { (line) } } }
            }
        }
    }
}

fn picture_of(picture: &Picture) -> Markup {
    html! {
        @match picture {
            Picture::Svg { width, height, body, label } => {
                svg .chart viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label) {
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
            span { "≤ 10⁻⁴" } span { "10⁻³" } span { "10⁻²" } span { "10⁻¹" } span { "1" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::in_file_name;

    #[test]
    fn names_of_files_are_plain() {
        let name = in_file_name("KL (dense ‖ arm) by length");
        assert_eq!(name, "kl-dense-arm-by-length");
    }
}
