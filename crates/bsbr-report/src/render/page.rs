//! One page that holds everything: no script, nothing from elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::estimate::Estimate;
use crate::overview::{Answer, Finding};
use crate::render::inline::inline;
use crate::render::markdown::{OVERVIEW, OVERVIEW_NOTE, comparison_table, verdict_word};
use crate::render::table::Footnotes;
use crate::render::{Report, heatmap, svg};
use crate::section::{Block, Cell, Figure, Picture, Reading, Row, Section, Style, Table, Verdict};
use crate::spec::ArmSpec;

const STYLE: &str = include_str!("page.css");

pub(super) fn page(report: &Report) -> String {
    let model = &report.model;
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (model.name) " and its conversions" }
                style { (PreEscaped(format!("{}{STYLE}{}", svg::COLOURS, svg::CHART))) }
            }
            body {
                header .top {
                    p .kicker { "Block sparse attention with block retrieval" }
                    h1 { (model.name) " and its conversions" }
                    p .lead {
                        "A GPT-2 of " (model.layers) " layers, " (model.heads) " heads and "
                        (model.hidden_size) " dimensions ("
                        (format!("{:.1}", model.parameters as f64 / 1e6))
                        " M parameters, " (model.positions) " positions, " (model.vocabulary)
                        " tokens of vocabulary) beside its conversions, untrained where nothing "
                        "else is said."
                    }
                    @if report.quick {
                        p .quick { "A quick run: the method is the standard one, the samples are few." }
                    }
                }
                (contents(report))
                main {
                    @if !report.overview.is_empty() { (overview(report)) }
                    section #arms {
                        h2 { "Every arm at a glance" }
                        (arms(&report.arms))
                        (table(&report.glance()))
                    }
                    @for section in &report.sections { (section_of(section, &report.arms)) }
                }
                footer {
                    p {
                        "Cells with a spread read: mean ± standard deviation over samples, and below the "
                        "95 % percentile bootstrap interval of the mean. Every number on this page "
                        "was computed from the records beside it, and none was typed."
                    }
                }
            }
        }
    };
    body.into_string() + "\n"
}

/// Links that stay in sight.
fn contents(report: &Report) -> Markup {
    let sections = report.sections.iter();
    let sections = sections.map(|one| (one.id.as_str(), one.title.as_str()));
    let overview = (!report.overview.is_empty()).then_some(("overview", "Overview"));
    let all = overview
        .into_iter()
        .chain([("arms", "Arms")])
        .chain(sections);
    html! {
        nav aria-label="Contents" {
            div { @for (id, title) in all { a href=(format!("#{id}")) { (title) } } }
        }
    }
}

/// The report's conclusions, each with the claims that it stands on.
fn overview(report: &Report) -> Markup {
    html! {
        section #overview {
            h2 { (OVERVIEW) }
            ol .answers {
                @for (index, answer) in report.overview.iter().enumerate() {
                    li {
                        (verdict(answer.holds())) " "
                        a href=(format!("#conclusion-{}", index + 1)) { (answer.text) }
                    }
                }
            }
            p .note { (OVERVIEW_NOTE) }
            table .overview {
                thead {
                    tr {
                        @for name in ["Claim", "Measured", "Verdict", "Why"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                @for (index, answer) in report.overview.iter().enumerate() {
                    (answer_of(index, answer, report))
                }
            }
        }
    }
}

fn answer_of(index: usize, answer: &Answer, report: &Report) -> Markup {
    html! {
        tbody id=(format!("conclusion-{}", index + 1)) {
            tr .conclusion {
                th scope="rowgroup" colspan="2" { (index + 1) ". " (answer.text) }
                td { (verdict(answer.holds())) }
                td .why { (answer.why()) }
            }
            @for one in &answer.findings { (finding(one, report)) }
        }
    }
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
                    (swatch(arm)) (one.label)
                    @if let Cell::Measured(e, _) = &one.measured { " · n\u{a0}=\u{a0}" (e.n) }
                    @if one.observation { " · observation" }
                }
            }
            td .value {
                @match &one.measured {
                    // The reason stands beside it.
                    Cell::Missing(_) => "—",
                    found => (value(found)),
                }
            }
            td { (verdict(one.holds)) }
            td .why { (inline(&one.why)) }
        }
    }
}

fn verdict(holds: Option<bool>) -> Markup {
    let (mark, class) = match holds {
        Some(true) => ("✓", "good"),
        Some(false) => ("✗", "bad"),
        None => ("—", "open"),
    };
    html! { span class=(format!("verdict {class}")) { (mark) "\u{a0}" (verdict_word(holds)) } }
}

fn card(verdict: &Verdict) -> Markup {
    html! {
        div .card {
            div .claim { (verdict.claim) ": " (verdict.arm) }
            @match &verdict.measured {
                Cell::Measured(e, style) => {
                    div .figure { (style.number(e.mean)) (style.unit()) }
                    div .spread {
                        @if let Some(std) = e.std { "± " (style.beside(std, e.mean)) " " }
                        @if let Some(interval) = interval(e, *style) { (interval) ", " }
                        "n\u{a0}=\u{a0}" (e.n)
                    }
                }
                Cell::Missing(reason) => { div .figure { "—" } div .spread { (reason) } }
                _ => {}
            }
            div .bar {
                (self::verdict(verdict.holds))
                " · required: " (verdict.bar.replace(' ', "\u{a0}"))
            }
        }
    }
}

fn arms(arms: &[ArmSpec]) -> Markup {
    html! {
        dl .arms {
            @for (index, arm) in arms.iter().enumerate() {
                dt { (swatch(Some(index))) (arm.label) }
                dd { (arm.about) }
            }
        }
    }
}

fn section_of(section: &Section, arms: &[ArmSpec]) -> Markup {
    html! {
        section id=(section.id) {
            h2 { (section.title) }
            p .question { (section.question) }
            @for paragraph in &section.method { p { (inline(paragraph)) } }
            (origin(section))
            @if !section.verdicts.is_empty() {
                div .cards { @for verdict in &section.verdicts { (card(verdict)) } }
            }
            @for block in &section.blocks {
                @match block {
                    Block::Text(text) => p { (inline(text)) },
                    Block::Table(one) => (titled(one)),
                    Block::Figure(one) => (figure(one)),
                    Block::Reading(one) => (reading(one)),
                }
            }
            @if !section.comparisons.is_empty() {
                (titled(&comparison_table(&section.comparisons, arms)))
            }
            details {
                summary { h3 { "How it was run" } }
                dl .run {
                    @for (name, value) in &section.provenance { dt { (name) } dd { (value) } }
                }
            }
        }
    }
}

/// What a section's numbers come from, in a line.
fn origin(section: &Section) -> Markup {
    let of = |name: &str| {
        let mut all = section.provenance.iter();
        all.find(|(known, _)| known == name).map(|(_, value)| value)
    };
    html! {
        p .origin {
            @if let Some(command) = of("Command") { code { (command) } }
            @for name in ["Commit", "Machine", "Device", "Seed"] {
                @if let Some(value) = of(name) { " · " (name.to_lowercase()) " " (value) }
            }
        }
    }
}

fn titled(one: &Table) -> Markup {
    html! {
        @if one.folded {
            details { summary { h3 { (one.title) } } (table(one)) }
        } @else {
            h3 { (one.title) }
            (table(one))
        }
    }
}

fn table(table: &Table) -> Markup {
    let mut notes = Footnotes::of(table);
    let rows: Vec<Markup> = table.rows.iter().map(|one| row(one, &mut notes)).collect();
    html! {
        div .scroll {
            table {
                thead {
                    tr {
                        th scope="col" { (table.corner) }
                        @for name in &table.columns { th scope="col" { (name) } }
                    }
                }
                tbody { @for row in rows { (row) } }
            }
        }
        @for (mark, reason) in notes.iter() { p .foot { sup { (mark) } " " (inline(reason)) } }
        @if !table.note.is_empty() { p .note { (inline(&table.note)) } }
    }
}

fn row(row: &Row, notes: &mut Footnotes) -> Markup {
    html! {
        tr .strong[row.strong] {
            th scope="row" { (swatch(row.arm)) (row.head) }
            @for one in &row.cells { (cell(one, notes)) }
        }
    }
}

fn swatch(arm: Option<usize>) -> Markup {
    html! {
        @if let Some(arm) = arm {
            span class=(format!("swatch a{}", arm % crate::render::ARM_COLOURS)) {}
        }
    }
}

fn cell(cell: &Cell, notes: &mut Footnotes) -> Markup {
    html! {
        @match cell {
            Cell::Missing(reason) => td title=(reason) { "—" sup { (notes.mark(reason)) } },
            Cell::Text(_) => td .words { (value(cell)) },
            _ => td { (value(cell)) },
        }
    }
}

/// What is in a cell: the number large, its spread small.
fn value(cell: &Cell) -> Markup {
    html! {
        @match cell {
            Cell::Text(text) => (text),
            Cell::Number(value, style) => span .main { (style.with_unit(*value)) },
            Cell::Measured(e, style) => {
                span .main { (style.with_unit(e.mean)) }
                @if let Some(std) = e.std { span .std { " ± " (style.beside(std, e.mean)) } }
                @if let Some(interval) = interval(e, *style) { small { (interval) } }
            },
            Cell::Spread(main, spread) => { span .main { (main) } small { (spread) } },
            Cell::Marked(text, good) => span class=(if *good { "good" } else { "bad" }) { (text) },
            Cell::Missing(reason) => (reason),
        }
    }
}

/// The ends of an estimate's interval.
fn interval(e: &Estimate, style: Style) -> Option<String> {
    let end = |value| style.beside(value, e.mean);
    e.interval
        .map(|one| format!("[{}, {}]", end(one.low), end(one.high)))
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
