//! Scatter charts: two numbers of each row.

use maud::html;

use crate::estimate::Estimate;
use crate::present::subject::Subject;
use crate::render::chart::{LABEL_GAP, WIDTH, class, mark, picture, px, room, short, spread};
use crate::render::scale::{Scale, ScaleSpec, range};
use crate::section::Picture;
use crate::style::Style;

/// The smallest part of an axis that values may use before the axis starts at 0.
const LEAST: f64 = 0.01;

/// A row's two numbers: across and upwards.
pub type Point = (Subject, [Estimate; 2]);

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Its quantity.
    pub label: String,
    /// The format of its numbers.
    pub style: Style,
    /// The scale of values; a linear one over their range by default.
    pub scale: Option<ScaleSpec>,
}

impl Axis {
    /// The scale for some values, and its ticks.
    fn over<'a>(
        &self,
        values: impl Iterator<Item = &'a Estimate> + Clone,
    ) -> (Scale, Vec<(f64, String)>) {
        if let Some(scale) = self.scale {
            let scale = scale.over(values);
            return (scale, scale.ticks());
        }
        let [low, high] = range(values, |high| if high > 1.0 { quarters(high) } else { 1.0 });
        let low = if high - low < LEAST * high { 0.0 } else { low };
        let tick = |quarter: u8| {
            let part = f64::from(quarter) / 4.0;
            (part, short(self.style.number(low + (high - low) * part)))
        };
        (Scale::Linear { low, high }, (0..=4).map(tick).collect())
    }
}

/// A number of at least `high` with round quarters.
fn quarters(high: f64) -> f64 {
    let decade = 10f64.powf((high / 4.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 3.0, 5.0, 10.0].map(|step| 4.0 * step * decade);
    steps.into_iter().find(|top| *top >= high).unwrap_or(high)
}

/// Points with the intervals of both numbers; `None` without two points.
pub fn scatter(title: &str, axes: &[Axis; 2], points: &[Point]) -> Option<Picture> {
    const LEFT: f64 = 48.0;
    const TOP: f64 = 40.0;
    if points.len() < 2 {
        return None;
    }
    let right = WIDTH - room(points.iter().map(|(subject, _)| subject), 10.0);
    let bottom = (TOP + LABEL_GAP * (points.len() - 1) as f64).max(260.0);
    let [(x_scale, x_ticks), (y_scale, y_ticks)] =
        [0, 1].map(|side| axes[side].over(points.iter().map(move |(_, found)| &found[side])));
    let at_x = |place: f64| LEFT + (right - LEFT) * place;
    let at_y = |place: f64| bottom - (bottom - TOP) * place;
    let x = |value: f64| at_x(x_scale.place(value));
    let y = |value: f64| at_y(y_scale.place(value));
    let heights: Vec<f64> = points.iter().map(|(_, [_, up])| y(up.mean)).collect();
    let labels = spread(&heights, TOP, bottom);
    let below = |value: f64| matches!(y_scale, Scale::Linear { low, .. } if value < low);
    let body = html! {
        text .title x="0" y="13" { (title) }
        text x="0" y="30" { (axes[1].label) }
        @for (place, name) in &y_ticks {
            @let up = px(at_y(*place));
            line .grid x1=(px(LEFT)) x2=(px(right)) y1=(up) y2=(up) {}
            text x=(px(LEFT - 6.0)) y=(up) dy="3.5" text-anchor="end" { (name) }
        }
        @for (place, name) in &x_ticks {
            @let across = px(at_x(*place));
            line .grid x1=(across) x2=(across) y1=(px(TOP)) y2=(px(bottom)) {}
            text x=(across) y=(px(bottom + 15.0)) text-anchor="middle" { (name) }
        }
        text x=(px((LEFT + right) / 2.0)) y=(px(bottom + 32.0)) text-anchor="middle" {
            (axes[0].label)
        }
        @for ((subject, [across, up]), label) in points.iter().zip(&labels) {
            @let ([first, last], [low, high]) = (across.ends(), up.ends());
            @let (at, height) = (x(across.mean), y(up.mean));
            g class=(class(subject, subject.default)) {
                path .whisker d=(format!(
                    "M{} {up}H{}M{across} {}V{}",
                    px(x(first)), px(x(last)), px(y(low)), px(y(high)),
                    up = px(height), across = px(at)
                )) {}
                path .mark d=(mark(subject.arm, at, height)) {}
                path .leader d=(format!(
                    "M{} {}L{} {}", px(at + 4.0), px(height), px(right + 5.0), px(*label)
                )) {}
                text .name x=(px(right + 8.0)) y=(px(*label)) dy="3.5" {
                    (subject.label)
                    @if below(up.mean) { " (" (axes[1].style.number(up.mean)) ")" }
                }
            }
        }
    };
    let label = format!("{title}: one point per row");
    Some(picture(bottom + 40.0, body, label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_where_quarters_are_round() {
        let tops = [3.1, 0.9, 17.0, 1.05].map(quarters);
        for (found, expected) in tops.into_iter().zip([4.0, 1.0, 20.0, 1.2]) {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
    }

    #[test]
    fn an_axis_of_equal_values_starts_at_zero() {
        let axis = Axis {
            label: String::new(),
            style: Style::Percent(1),
            scale: None,
        };
        let all = [1.0, 1.0, 1.0, 1.0, 0.2].map(|value| Estimate::of(&[value]).unwrap());
        let (scale, ticks) = axis.over(all.iter());
        assert_eq!(
            scale,
            Scale::Linear {
                low: 0.0,
                high: 1.0
            }
        );
        let names: Vec<&str> = ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["0", "25", "50", "75", "100"]);
    }

    #[test]
    fn points_stand_by_both_numbers_and_the_default_is_marked() {
        let axis = |label: &str, scale| Axis {
            label: label.to_owned(),
            style: Style::Fixed(2),
            scale,
        };
        let point = |arm: usize, x: f64, y: f64| {
            let subject = Subject {
                arm: Some(arm),
                default: arm == 1,
                ..Subject::other("", &format!("arm {arm}"))
            };
            (subject, [x, y].map(|one| Estimate::of(&[one]).unwrap()))
        };
        let points = [point(0, 1.0, 0.0), point(1, 1.5, 0.001), point(2, 3.0, 0.1)];
        let axes = [axis("speed", None), axis("KL", Some(ScaleSpec::Decades))];
        assert!(scatter("t", &axes, &points[..1]).is_none());
        let Some(Picture::Svg { body, .. }) = scatter("t", &axes, &points) else {
            panic!("no picture");
        };
        assert!(body.contains("a1 strong") && !body.contains("a2 strong"));
        for part in ["speed", "KL", "0.001", "arm 0", "arm 1", "arm 2"] {
            assert!(body.contains(part), "{part}: {body}");
        }
    }
}
