//! A plot of a run's curves.

use std::fmt::Write;

use crate::finetune::history::History;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 48.0;

/// An SVG of the loss by step, and of the validation loss if there is any.
pub fn curves(history: &History) -> String {
    let losses: Vec<(f64, f64)> = (1..).map(f64::from).zip(history.losses.clone()).collect();
    let checks: Vec<(f64, f64)> = history
        .validations
        .iter()
        .map(|one| (one.step as f64, one.loss))
        .collect();
    let all = || losses.iter().chain(&checks).map(|point| point.1);
    let low = all().fold(f64::INFINITY, f64::min);
    let high = all().fold(f64::NEG_INFINITY, f64::max);
    let steps = (history.losses.len() as f64).max(1.0);
    let place = |(step, loss): (f64, f64)| {
        let x = MARGIN + step / steps * (WIDTH - 2.0 * MARGIN);
        let share = (loss - low) / (high - low).max(1e-12);
        (x, HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN))
    };
    let line = |points: &[(f64, f64)], style: &str| {
        let mut path = String::new();
        for &point in points {
            let (x, y) = place(point);
            // Writing to a string cannot fail.
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        format!(
            "<polyline fill=\"none\" {style} points=\"{}\"/>\n",
            path.trim_end()
        )
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"loss by step\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    if low.is_finite() && high.is_finite() {
        svg += &line(&losses, "stroke=\"#9ab\" stroke-width=\"1\"");
        svg += &line(&checks, "stroke=\"#b40\" stroke-width=\"2\"");
        for (text, y) in [(high, MARGIN), (low, HEIGHT - MARGIN)] {
            let _ = writeln!(svg, "<text x=\"4\" y=\"{y}\">{text:.3}</text>");
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"{}\">loss by step, 1 to {steps}; thick: held-out \
         windows</text>\n</svg>",
        HEIGHT - 12.0
    );
    svg
}
