//! Charts as separate files.

use maud::{PreEscaped, html};

use crate::render::chart::WIDTH;
use crate::section::{Figure, Picture};

/// Colours, light and dark; the page and the plots share them.
pub(super) const COLOURS: &str = include_str!("colours.css");

/// Styles of the classes in charts; the page and the plots share them.
pub(super) const CHART: &str = include_str!("chart.css");

/// Distance between charts of a sheet.
const GAP: f64 = 28.0;

/// The SVG pictures of a figure on one sheet, or `None` if there are none.
pub(super) fn sheet(figure: &Figure) -> Option<String> {
    let charts = figure.pictures.iter().filter_map(|picture| match picture {
        Picture::Svg { height, body, .. } => Some((*height, body.as_str())),
        Picture::Png { .. } => None,
    });
    let charts: Vec<(f64, &str)> = charts.collect();
    if charts.is_empty() {
        return None;
    }
    let columns = figure.columns.clamp(1, charts.len());
    let mut placed = Vec::with_capacity(charts.len());
    let mut top = GAP / 2.0;
    for row in charts.chunks(columns) {
        for (column, &(height, body)) in row.iter().enumerate() {
            let left = GAP / 2.0 + column as f64 * (WIDTH + GAP);
            placed.push((left, top, height, body));
        }
        top += row.iter().map(|chart| chart.0).fold(0.0, f64::max) + GAP;
    }
    let width = columns as f64 * (WIDTH + GAP);
    let height = top - GAP / 2.0;
    let svg = html! {
        svg .chart .sheet xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}"))
            width=(width) height=(height) role="img" {
            title { (figure.title) }
            style { (PreEscaped(format!("{COLOURS}{CHART}"))) }
            rect .paper width="100%" height="100%" {}
            @for (left, top, height, body) in placed {
                svg x=(left) y=(top) width=(WIDTH) height=(height)
                    viewBox=(format!("0 0 {WIDTH} {height}")) { (PreEscaped(body)) }
            }
        }
    };
    Some(svg.into_string() + "\n")
}
