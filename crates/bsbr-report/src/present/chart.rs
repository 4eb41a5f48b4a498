//! Figures as declared in specifications.

use crate::estimate::Estimate;
use crate::experiment::Experiment;
use crate::present::layout::{FigureSpec, PanelSpec, Placed, ScatterSpec, Source};
use crate::present::subject::Subject;
use crate::present::words::short_length;
use crate::present::{Place, View};
use crate::render::chart::{Bar, LineChart, Series, bars};
use crate::render::scatter::{Axis, Point, scatter};
use crate::section::{Figure, Picture};
use crate::spec::dense;

/// The maximum number of ticks on an axis of parts.
const MOST_TICKS: usize = 8;

impl<E: Experiment + ?Sized> View<'_, E> {
    pub(super) fn figure(&self, spec: &FigureSpec) -> Figure {
        let panels = spec.panels.iter().flat_map(|panel| match &panel.by {
            Some(by) => vec![self.line_chart(panel, by)],
            None => self.bar_charts(panel),
        });
        let scatters = spec.scatters.iter().filter_map(|one| self.scatter(one));
        let pictures: Vec<Picture> = panels.chain(scatters).collect();
        Figure {
            id: spec.id.clone(),
            title: spec.title.clone(),
            note: self.words().fill(&spec.note, 0),
            columns: pictures.len().min(2),
            pictures,
        }
    }

    fn of_panel(&self, panel: &PanelSpec) -> Place {
        Place {
            suffix: panel.suffix.clone(),
            make: panel.make,
            ..self.place(&panel.quantity, panel.from.as_ref(), panel.at.as_ref())
        }
    }

    fn line_chart(&self, panel: &PanelSpec, by: &str) -> Picture {
        let places = self.places_by(by, &self.of_panel(panel), None);
        let parts = by == "parts";
        // Geometric values are evenly spaced.
        let x = |value: usize| match parts {
            true => value as f64,
            false => (value as f64 + 1.0).log2(),
        };
        let divisor = panel.divided_by.unwrap_or(1.0);
        let without = match panel.without_dense {
            true => dense(&self.spec.method.arms).map(|arm| arm.id.as_str()),
            false => None,
        };
        let shown = self
            .subjects
            .iter()
            .filter(|one| Some(one.id.as_str()) != without);
        let series = lines(shown, |id| {
            let points = places.iter().filter_map(|place| {
                let found = self.estimate(id, place).ok()?;
                Some((x(place.value?), found.scaled(1.0 / divisor)))
            });
            points.collect()
        });
        let step = match parts {
            true => places.len().div_ceil(MOST_TICKS).max(1),
            false => 1,
        };
        let ticks = places.iter().step_by(step).filter_map(|place| {
            let value = place.value?;
            let name = if parts {
                value.to_string()
            } else {
                short_length(value)
            };
            Some((x(value), name))
        });
        LineChart {
            label: format!("{}, one line per row", panel.title),
            title: panel.title.clone(),
            x_label: self.words().fill(&panel.x, 0),
            x_ticks: ticks.collect(),
            y: panel.scale.over(values(&series)),
            series,
        }
        .draw()
    }

    /// A point for each row with both numbers.
    fn scatter(&self, spec: &ScatterSpec<Placed>) -> Option<Picture> {
        let [x, y] = [&spec.x, &spec.y].map(|one| self.placed(one, None, None));
        let points = self.subjects.iter().filter_map(|subject| {
            Some(Point {
                arm: subject.arm.unwrap_or_default(),
                label: subject.label.clone(),
                strong: subject.default,
                x: self.estimate(&subject.id, &x).ok()?,
                y: self.estimate(&subject.id, &y).ok()?,
            })
        });
        let points: Vec<Point> = points.collect();
        let axis = |place: &Place, scale| Axis {
            label: match place.style.unit() {
                " %" => format!("{}, %", place.title),
                _ => place.title.clone(),
            },
            style: place.style,
            scale,
        };
        let (x, y) = (axis(&x, spec.x_scale), axis(&y, spec.y_scale));
        scatter(&spec.title, [&x, &y], &points)
    }

    /// Bars of all texts, and of each domain if requested.
    fn bar_charts(&self, panel: &PanelSpec) -> Vec<Picture> {
        let own = self.of_panel(panel);
        let mut charts = vec![(panel.title.clone(), own.clone())];
        if panel.each {
            let domains = self.records.domains().into_iter();
            charts.extend(domains.map(|domain| {
                let from = Source::Named(domain.to_owned());
                (
                    domain.to_owned(),
                    Place {
                        from,
                        ..own.clone()
                    },
                )
            }));
        }
        let quantity = self.quantity(&panel.quantity);
        let chart = |(title, place): (String, Place)| {
            let bar = |subject: &Subject| Bar {
                arm: subject.arm,
                label: subject.label.clone(),
                strong: subject.default,
                value: self.estimate(&subject.id, &place),
            };
            let all: Vec<Bar> = self.subjects.iter().map(bar).collect();
            let label = format!("{}, {title}, one bar per row", quantity.title);
            bars(&title, &label, &all, quantity.style)
        };
        charts.into_iter().map(chart).collect()
    }
}

/// A line for each subject that has points.
fn lines<'a>(
    subjects: impl IntoIterator<Item = &'a Subject>,
    points: impl Fn(&str) -> Vec<(f64, Estimate)>,
) -> Vec<Series> {
    let one = |subject: &Subject| Series {
        arm: subject.arm.unwrap_or_default(),
        label: subject.label.clone(),
        strong: subject.default,
        points: points(&subject.id),
    };
    let all = subjects.into_iter().map(one);
    all.filter(|series| !series.points.is_empty()).collect()
}

/// The values of these lines.
fn values(series: &[Series]) -> impl Iterator<Item = &Estimate> + Clone {
    let points = series.iter().flat_map(|one| &one.points);
    points.map(|(_, found)| found)
}

/// The largest upper end of an interval, or value, of these lines.
pub(crate) fn greatest(series: &[Series]) -> f64 {
    let ends = values(series).map(|found| found.interval.map_or(found.mean, |ends| ends.high));
    ends.fold(0.0, f64::max)
}
