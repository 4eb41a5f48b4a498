//! Line charts and bar charts as SVG, coloured by the classes of the page's style sheet.

use std::fmt::Write as _;

use bsbr_metrics::stats::Interval;
use maud::{Markup, html};

use crate::estimate::Estimate;
use crate::render::scale::{Scale, begins};
use crate::section::{Picture, Style};

/// Width of every chart; small enough for a phone without scaling.
pub(super) const WIDTH: f64 = 400.0;

/// An axis need not start at 0 if the values leave more than this share of it empty.
const EMPTY: f64 = 0.7;

/// Distance between the labels of lines.
pub(super) const LABEL_GAP: f64 = 13.5;

/// A line of a chart.
#[derive(Debug, Clone)]
pub struct Series {
    /// The arm's index in the specification, which determines the colour.
    pub arm: usize,
    /// The label at the line's end.
    pub label: String,
    /// Whether it is drawn thicker.
    pub strong: bool,
    /// Where it goes.
    pub points: Vec<(f64, Estimate)>,
}

/// A chart with one line per arm, over a numeric axis.
#[derive(Debug, Clone)]
pub struct LineChart {
    /// A description for screen readers.
    pub label: String,
    /// Its title.
    pub title: String,
    /// The name of the horizontal axis.
    pub x_label: String,
    /// Its ticks.
    pub x_ticks: Vec<(f64, String)>,
    /// The vertical axis.
    pub y: Scale,
    /// The lines.
    pub series: Vec<Series>,
}

impl LineChart {
    /// The chart as a picture.
    pub fn draw(&self) -> Picture {
        const HEIGHT: f64 = 268.0;
        const LEFT: f64 = 52.0;
        const RIGHT: f64 = WIDTH - 128.0;
        const TOP: f64 = 34.0;
        const BOTTOM: f64 = HEIGHT - 40.0;
        let (first, last) = self.x_range();
        let x = |value: f64| LEFT + (RIGHT - LEFT) * (value - first) / (last - first).max(1e-9);
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * self.y.place(value);

        let ends: Vec<f64> = self
            .series
            .iter()
            .map(|one| one.points.last().map_or(BOTTOM, |(_, e)| y(e.mean)))
            .collect();
        let labels = spread(&ends, TOP, BOTTOM);
        let body = html! {
            text .title x="0" y="13" { (self.title) }
            @for (place, name) in self.y.ticks() {
                @let at = px(BOTTOM - (BOTTOM - TOP) * place);
                line .grid x1=(px(LEFT)) x2=(px(RIGHT)) y1=(at) y2=(at) {}
                text x=(px(LEFT - 7.0)) y=(at) dy="3.5" text-anchor="end" { (name) }
            }
            @for (value, name) in &self.x_ticks {
                text x=(px(x(*value))) y=(px(BOTTOM + 16.0)) text-anchor="middle" { (name) }
            }
            text x=(px((LEFT + RIGHT) / 2.0)) y=(px(BOTTOM + 33.0)) text-anchor="middle" {
                (self.x_label)
            }
            @for one in &self.series { (band(one, &x, &y)) }
            @for (one, (end, label)) in self.series.iter().zip(ends.iter().zip(&labels)) {
                g class=(class(one.arm, one.strong)) {
                    path .line stroke-dasharray=[dashes(one)]
                        d=(line(one.points.iter().map(|(at, e)| (x(*at), y(e.mean))))) {}
                    path .mark d=(marks(one, &x, &y)) {}
                    path .leader d=(format!(
                        "M{} {}L{} {}",
                        px(one.points.last().map_or(RIGHT, |(at, _)| x(*at)) + 2.0), px(*end),
                        px(RIGHT + 12.0), px(*label)
                    )) {}
                    text .name x=(px(RIGHT + 15.0)) y=(px(*label)) dy="3.5" { (one.label) }
                }
            }
        };
        Picture::Svg {
            width: WIDTH,
            height: HEIGHT,
            body: body.into_string(),
            label: self.label.clone(),
        }
    }

    fn x_range(&self) -> (f64, f64) {
        let points = self.series.iter().flat_map(|one| &one.points);
        let ticks = self.x_ticks.iter().map(|(x, _)| *x);
        let all = points.map(|(x, _)| *x).chain(ticks);
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), x| {
            (low.min(x), high.max(x))
        });
        if low <= high { (low, high) } else { (0.0, 1.0) }
    }
}

/// Dashes of a line: colours repeat after some arms, and not everyone can distinguish them.
const DASHES: [&str; 4] = ["", "6 3", "2 2.5", "8 3 2 3"];

fn dashes(one: &Series) -> Option<&'static str> {
    let dashes = DASHES[one.arm % DASHES.len()];
    (!dashes.is_empty() && !one.strong).then_some(dashes)
}

/// A marker at each point of a line: a circle, a square, a diamond or a triangle.
fn marks(one: &Series, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let points = one.points.iter().map(|(at, e)| (x(*at), y(e.mean)));
    points.map(|(x, y)| mark(one.arm, x, y)).collect()
}

/// The path of an arm's marker.
pub(super) fn mark(arm: usize, x: f64, y: f64) -> String {
    let at = |dx: f64, dy: f64| format!("{} {}", px(x + dx), px(y + dy));
    match arm % 4 {
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

/// The interval around a line, if any.
fn band(one: &Series, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> Markup {
    let edge = |pick: fn(&Estimate) -> f64| -> Vec<(f64, f64)> {
        one.points
            .iter()
            .map(|(at, e)| (x(*at), y(pick(e))))
            .collect()
    };
    let above = edge(|e| e.interval.map_or(e.mean, |interval| interval.high));
    let mut below = edge(|e| e.interval.map_or(e.mean, |interval| interval.low));
    below.reverse();
    html! {
        @if one.points.iter().any(|(_, e)| e.interval.is_some()) {
            g class=(class(one.arm, false)) {
                path .band d=(format!("{}Z", line(above.into_iter().chain(below)))) {}
            }
        }
    }
}

/// A bar: an arm or a baseline, and its value.
#[derive(Debug, Clone)]
pub struct Bar {
    /// The arm's index in the specification; grey for baselines.
    pub arm: Option<usize>,
    /// The label before the bar.
    pub label: String,
    /// Whether it is emphasised.
    pub strong: bool,
    /// The value, or why it is missing.
    pub value: Result<Estimate, String>,
}

/// Horizontal bars with intervals, one per arm.
///
/// If most values are in the upper part of a scale from zero, the axis starts below them and values
/// are dots. Values before the axis are arrows at its start.
pub fn bars(title: &str, label: &str, bars: &[Bar], style: Style) -> Picture {
    const ROW: f64 = 21.0;
    const TOP: f64 = 26.0;
    const LEFT: f64 = 128.0;
    const RIGHT: f64 = WIDTH - 52.0;
    let height = TOP + ROW * bars.len() as f64 + 24.0;
    let foot = TOP + ROW * bars.len() as f64 + 2.0;
    let [least, greatest] = bounds(bars, style);
    let x = |value: f64| {
        let place = (value - least) / (greatest - least);
        LEFT + (RIGHT - LEFT) * place.clamp(0.0, 1.0)
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
        @for (index, bar) in bars.iter().enumerate() {
            @let middle = TOP + ROW * (index as f64 + 0.5);
            g class=(bar.arm.map_or_else(|| "none".to_owned(), |arm| class(arm, bar.strong))) {
                text .name x=(px(LEFT - 8.0)) y=(px(middle)) dy="3.5" text-anchor="end" { (bar.label) }
                @match &bar.value {
                    Ok(e) => {
                        @if e.mean < least {
                            path .mark d=(format!("M{} {}l7 -4v8Z", px(LEFT), px(middle))) {}
                        } @else if from_zero {
                            rect .bar x=(px(LEFT)) y=(px(middle - 5.5)) height="11" rx="1.5"
                                width=(px((x(e.mean) - LEFT).max(0.5))) {}
                        } @else {
                            path .mark d=(mark(0, x(e.mean), middle)) {}
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
                    Err(_) => text x=(px(LEFT + 4.0)) y=(px(middle)) dy="3.5" { "—" }
                }
            }
        }
    };
    Picture::Svg {
        width: WIDTH,
        height,
        body: body.into_string(),
        label: label.to_owned(),
    }
}

/// The ends of the axis of bars.
fn bounds(bars: &[Bar], style: Style) -> [f64; 2] {
    let found = || bars.iter().filter_map(|bar| bar.value.as_ref().ok());
    let ends =
        |end: fn(&Interval) -> f64| found().map(move |e| e.interval.as_ref().map_or(e.mean, end));
    let high = ends(|one| one.high).fold(0.0, f64::max);
    let greatest = match style {
        // Shares have a fixed end.
        Style::Percent(_) if high <= 1.0 => 1.0,
        _ if high > 0.0 => high,
        _ => 1.0,
    };
    [beginning(ends(|one| one.low).collect(), greatest), greatest]
}

/// The start of an axis up to `greatest`: below most values if that is in its upper part, else 0. A
/// few values far below the rest do not compress it.
pub(super) fn beginning(mut lows: Vec<f64>, greatest: f64) -> f64 {
    lows.sort_unstable_by(f64::total_cmp);
    let high = |low: &&f64| **low > EMPTY * greatest;
    let most = lows.get(lows.len() / 4).as_ref().is_some_and(high);
    let first = lows.iter().find(high).filter(|_| most);
    first.map_or(0.0, |low| begins(*low, greatest))
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

pub(super) fn class(arm: usize, strong: bool) -> String {
    let strong = if strong { " strong" } else { "" };
    format!("a{}{strong}", arm % crate::render::ARM_COLOURS)
}

fn line(points: impl Iterator<Item = (f64, f64)>) -> String {
    points
        .enumerate()
        .fold(String::new(), |mut path, (index, (x, y))| {
            let step = if index == 0 { 'M' } else { 'L' };
            // Writing to a string cannot fail.
            let _ = write!(path, "{step}{} {}", px(x), px(y));
            path
        })
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
    fn an_axis_of_bars_begins_below_most_of_them() {
        let of = |values: &[f64]| {
            let bar = |value: &f64| Bar {
                arm: None,
                label: String::new(),
                strong: false,
                value: Estimate::of(&[*value]).ok_or_else(String::new),
            };
            bounds(
                &values.iter().map(bar).collect::<Vec<_>>(),
                Style::Percent(1),
            )
        };
        let [low, high] = of(&[0.13, 0.944, 0.97, 0.99, 1.0]);
        assert!((low - 0.94).abs() < 1e-9 && high == 1.0);
        assert_eq!(of(&[0.2, 0.3, 0.99]), [0.0, 1.0]);
        assert_eq!(of(&[]), [0.0, 1.0]);
    }

    #[test]
    fn a_chart_without_lines_is_drawn() {
        let chart = LineChart {
            label: "empty".to_owned(),
            title: "Nothing".to_owned(),
            x_label: "x".to_owned(),
            x_ticks: Vec::new(),
            y: Scale::Log {
                floor: 1e-6,
                top: 1.0,
            },
            series: Vec::new(),
        };
        assert!(matches!(chart.draw(), Picture::Svg { .. }));
    }
}
