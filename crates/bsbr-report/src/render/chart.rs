//! Line charts and bar charts as SVG, coloured by the classes of the page's style sheet.

use maud::{Markup, html};

use crate::estimate::Estimate;
use crate::present::subject::Subject;
use crate::render::ARM_COLOURS;
use crate::render::scale::{Scale, range};
use crate::section::Picture;
use crate::style::Style;

/// Width of every chart; small enough for a phone without scaling.
pub(super) const WIDTH: f64 = 400.0;

/// Distance between the labels of lines.
pub(super) const LABEL_GAP: f64 = 13.5;

/// The room for a character of a plain label, and of a bold one.
const CHARACTER: [f64; 2] = [6.1, 7.3];

/// The minimum and maximum room for labels beside a chart.
const ROOM: [f64; 2] = [128.0, 190.0];

/// The room that the labels of rows need beside a chart, at some distance from it.
pub(super) fn room<'a>(subjects: impl Iterator<Item = &'a Subject>, distance: f64) -> f64 {
    let width = |subject: &Subject| {
        let count = subject.label.chars().count() as f64;
        distance + count * CHARACTER[usize::from(subject.default)]
    };
    subjects.map(width).fold(ROOM[0], f64::max).min(ROOM[1])
}

/// A line of a chart, with its points; a baseline is grey.
pub type Series = (Subject, Vec<(f64, Estimate)>);

/// A chart with one line per row, over a numeric axis with a name and ticks.
pub fn lines(
    title: &str,
    (x_label, x_ticks): (&str, &[(f64, String)]),
    scale: Scale,
    series: &[Series],
) -> Picture {
    const HEIGHT: f64 = 268.0;
    const LEFT: f64 = 52.0;
    const TOP: f64 = 34.0;
    const BOTTOM: f64 = HEIGHT - 40.0;
    let right = WIDTH - room(series.iter().map(|(subject, _)| subject), 15.0);
    let values = series.iter().flat_map(|(_, points)| points);
    let values = values.map(|(value, _)| *value);
    let all = values.chain(x_ticks.iter().map(|(value, _)| *value));
    let (first, last) = all.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let x = |value: f64| LEFT + (right - LEFT) * (value - first) / (last - first).max(1e-9);
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * scale.place(value);
    let drawn = series.iter().map(|(subject, points)| {
        let points = points.iter().map(|(value, found)| (x(*value), *found));
        (subject, points.collect::<Vec<_>>())
    });
    let drawn: Vec<(&Subject, Vec<(f64, Estimate)>)> = drawn.collect();
    let end = |points: &[(f64, Estimate)]| match points.last() {
        Some((x, found)) => (*x, y(found.mean)),
        None => (right, BOTTOM),
    };
    let ends: Vec<f64> = drawn.iter().map(|(_, points)| end(points).1).collect();
    let labels = spread(&ends, TOP, BOTTOM);
    let band = |points: &[(f64, Estimate)]| {
        let edge = move |side: usize| points.iter().map(move |(x, e)| (*x, y(e.ends()[side])));
        path(edge(1).chain(edge(0).rev())) + "Z"
    };
    let body = html! {
        text .title x="0" y="13" { (title) }
        @for (place, name) in scale.ticks() {
            @let at = px(BOTTOM - (BOTTOM - TOP) * place);
            line .grid x1=(px(LEFT)) x2=(px(right)) y1=(at) y2=(at) {}
            text x=(px(LEFT - 7.0)) y=(at) dy="3.5" text-anchor="end" { (name) }
        }
        @for (value, name) in x_ticks {
            text x=(px(x(*value))) y=(px(BOTTOM + 16.0)) text-anchor="middle" { (name) }
        }
        text x=(px((LEFT + right) / 2.0)) y=(px(BOTTOM + 33.0)) text-anchor="middle" {
            (x_label)
        }
        @for (subject, points) in &drawn {
            @if points.iter().any(|(_, e)| e.interval.is_some()) {
                g class=(class(subject, false)) { path .band d=(band(points)) {} }
            }
        }
        @for ((subject, points), label) in drawn.iter().zip(&labels) {
            @let (x, up) = end(points);
            g class=(class(subject, subject.default)) {
                path .line stroke-dasharray=[dashes(subject)]
                    d=(path(points.iter().map(|(x, e)| (*x, y(e.mean))))) {}
                path .mark d=(points.iter().map(|(x, e)| mark(subject.arm, *x, y(e.mean)))
                    .collect::<String>()) {}
                path .leader d=(format!(
                    "M{} {}L{} {}", px(x + 2.0), px(up), px(right + 12.0), px(*label)
                )) {}
                text .name x=(px(right + 15.0)) y=(px(*label)) dy="3.5" { (subject.label) }
            }
        }
    };
    picture(HEIGHT, body, format!("{title}, one line per row"))
}

/// Dashes of a line: colours repeat after some arms, and not everyone can distinguish them.
fn dashes(one: &Subject) -> Option<&'static str> {
    let dashes = ["", "6 3", "2 2.5", "8 3 2 3"][one.arm.unwrap_or_default() % 4];
    (!dashes.is_empty() && !one.default).then_some(dashes)
}

/// The path of an arm's marker: a circle, a square, a diamond or a triangle.
pub(super) fn mark(arm: Option<usize>, x: f64, y: f64) -> String {
    let at = |dx: f64, dy: f64| format!("{} {}", px(x + dx), px(y + dy));
    match arm.unwrap_or_default() % 4 {
        0 => format!(
            "M{}a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0 -4.8 0",
            at(-2.4, 0.0)
        ),
        1 => format!("M{}h4.4v4.4h-4.4Z", at(-2.2, -2.2)),
        2 => format!(
            "M{}L{}L{}L{}Z",
            at(0.0, -3.2),
            at(3.2, 0.0),
            at(0.0, 3.2),
            at(-3.2, 0.0)
        ),
        _ => format!("M{}L{}L{}Z", at(0.0, -3.0), at(2.9, 2.3), at(-2.9, 2.3)),
    }
}

/// A row of a bar chart: its value, or why it is missing.
pub type Bar<'a> = (&'a Subject, Result<Estimate, String>);

/// Horizontal bars with intervals, one per row; those of baselines are grey.
///
/// If most values are in the upper part of a scale from zero, the axis starts below them and values
/// are dots. Values before the axis are arrows at its start.
pub fn bars(title: &str, label: String, bars: &[Bar<'_>], style: Style) -> Picture {
    const ROW: f64 = 21.0;
    const TOP: f64 = 26.0;
    const RIGHT: f64 = WIDTH - 52.0;
    let left = room(bars.iter().map(|(subject, _)| *subject), 8.0);
    let foot = TOP + ROW * bars.len() as f64 + 2.0;
    let [least, greatest] = bounds(bars, style);
    let x = |value: f64| {
        let place = (value - least) / (greatest - least);
        left + (RIGHT - left) * place.clamp(0.0, 1.0)
    };
    let from_zero = least == 0.0;
    let body = html! {
        text .title x="0" y="13" { (title) }
        @for quarter in 0..=4u8 {
            @let value = least + (greatest - least) * f64::from(quarter) / 4.0;
            line .grid x1=(px(x(value))) x2=(px(x(value))) y1=(px(TOP)) y2=(px(foot)) {}
            text x=(px(x(value))) y=(px(foot + 14.0)) text-anchor="middle" {
                (short(style.number(value)))
            }
        }
        @for (index, (subject, value)) in bars.iter().enumerate() {
            @let middle = TOP + ROW * (index as f64 + 0.5);
            g class=(class(subject, subject.default)) {
                text .name x=(px(left - 8.0)) y=(px(middle)) dy="3.5" text-anchor="end" { (subject.label) }
                @match value {
                    Ok(e) => {
                        @if e.mean < least {
                            path .mark d=(format!("M{} {}l7 -4v8Z", px(left), px(middle))) {}
                        } @else if from_zero {
                            rect .bar x=(px(left)) y=(px(middle - 5.5)) height="11" rx="1.5"
                                width=(px((x(e.mean) - left).max(0.5))) {}
                        } @else {
                            path .mark d=(mark(None, x(e.mean), middle)) {}
                        }
                        @if let Some(interval) = e.interval.filter(|_| e.mean >= least) {
                            path .whisker d=(format!(
                                "M{0} {2}H{1}M{0} {3}V{4}M{1} {3}V{4}",
                                px(x(interval.low)), px(x(interval.high)),
                                px(middle), px(middle - 3.0), px(middle + 3.0)
                            )) {}
                        }
                        text .value x=(px(WIDTH)) y=(px(middle)) dy="3.5" text-anchor="end" {
                            (style.number(e.mean))
                        }
                    }
                    Err(_) => text x=(px(left + 4.0)) y=(px(middle)) dy="3.5" { "—" }
                }
            }
        }
    };
    picture(foot + 22.0, body, label)
}

/// The ends of the axis of bars.
fn bounds(bars: &[Bar<'_>], style: Style) -> [f64; 2] {
    let found = bars.iter().filter_map(|(_, value)| value.as_ref().ok());
    range(found, |high| match style {
        // Shares have a fixed end.
        Style::Percent(_) if high <= 1.0 => 1.0,
        _ if high > 0.0 => high,
        _ => 1.0,
    })
}

pub(super) fn picture(height: f64, body: Markup, label: String) -> Picture {
    Picture::Svg {
        height,
        body: body.into_string(),
        label,
    }
}

/// A number without trailing zeros.
pub(super) fn short(number: String) -> String {
    match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => number,
    }
}

/// The class of a row's marks, which determines their colour.
pub(super) fn class(subject: &Subject, strong: bool) -> String {
    let strong = if strong { " strong" } else { "" };
    match subject.arm {
        Some(arm) => format!("a{}{strong}", arm % ARM_COLOURS),
        None => "none".to_owned(),
    }
}

/// A path through points.
fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let steps = std::iter::once('M').chain(std::iter::repeat('L'));
    let steps = steps.zip(points);
    let steps = steps.map(|(step, (x, y))| format!("{step}{} {}", px(x), px(y)));
    steps.collect()
}

/// A coordinate with at most one decimal.
pub(super) fn px(value: f64) -> String {
    short(format!("{value:.1}"))
}

/// Moves labels apart, in the same order and within the chart if there is room.
pub(super) fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]).then(a.cmp(&b)));
    let mut placed = wanted.to_vec();
    let mut floor = top;
    for &index in &order {
        placed[index] = placed[index].max(floor);
        floor = placed[index] + LABEL_GAP;
    }
    let mut ceiling = bottom;
    for &index in order.iter().rev() {
        placed[index] = placed[index].min(ceiling);
        ceiling = placed[index] - LABEL_GAP;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_moved_apart() {
        let placed = spread(&[50.0, 51.0, 200.0, 200.0], 10.0, 200.0);
        assert_eq!(placed, [50.0, 63.5, 186.5, 200.0]);
    }

    #[test]
    fn labels_get_the_room_that_they_need() {
        let room = |labels: &[&str]| {
            let subjects: Vec<Subject> = labels.iter().map(|l| Subject::other("", l)).collect();
            room(subjects.iter(), 15.0)
        };
        assert_eq!(room(&["dense"]), 128.0);
        let wide = room(&["dense", "summaries and state ÷ 4"]);
        assert!((140.0..160.0).contains(&wide), "{wide}");
        assert_eq!(room(&["x".repeat(99).as_str()]), 190.0);
    }

    #[test]
    fn an_axis_of_bars_begins_below_most_of_them() {
        let subject = Subject::other("", "");
        let of = |values: &[f64]| {
            let bar = |value: &f64| (&subject, Estimate::of(&[*value]).ok_or_else(String::new));
            let bars: Vec<Bar<'_>> = values.iter().map(bar).collect();
            bounds(&bars, Style::Percent(1))
        };
        let [low, high] = of(&[0.13, 0.944, 0.97, 0.99, 1.0]);
        assert!((low - 0.94).abs() < 1e-9 && high == 1.0);
        assert_eq!(of(&[0.2, 0.3, 0.99]), [0.0, 1.0]);
        assert_eq!(of(&[]), [0.0, 1.0]);
    }

    #[test]
    fn a_chart_without_lines_is_drawn() {
        let chart = lines("Nothing", ("x", &[]), Scale::log(1e-6, 1.0), &[]);
        assert!(matches!(chart, Picture::Svg { .. }));
    }
}
