//! Figures as declared in specifications.

use crate::experiment::Experiment;
use crate::present::layout::{By, FigureSpec, PanelSpec, Placed, ScatterSpec, Source};
use crate::present::subject::{Line, Subject};
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
        let panels = spec
            .panels
            .iter()
            .flat_map(|panel| match (&panel.by, &panel.lines) {
                (None, None) => self.bar_charts(panel),
                _ => self.line_charts(panel),
            });
        let scatters = spec.scatters.iter().filter_map(|one| self.scatter(one));
        let pictures: Vec<Picture> = panels.chain(scatters).collect();
        Figure {
            id: spec.id.clone(),
            title: spec.title.clone(),
            note: self.words(0).fill(&spec.note),
            columns: pictures.len().min(2),
            pictures,
        }
    }

    /// A chart with a line per row, or one for each group of the experiment's own lines, with one
    /// vertical scale.
    fn line_charts(&self, panel: &PanelSpec) -> Vec<Picture> {
        let even = panel.even || panel.by == Some(By::Parts);
        let x = |value: usize| match even {
            true => value as f64,
            // Geometric values are evenly spaced.
            false => (value as f64 + 1.0).log2(),
        };
        let (values, charts) = self.series(panel, x);
        let step = match even {
            true => values.len().div_ceil(MOST_TICKS).max(1),
            false => 1,
        };
        let tick = |&value: &usize| match even {
            true => (x(value), value.to_string()),
            false => (x(value), short_length(value)),
        };
        let x_ticks: Vec<(f64, String)> = values.iter().step_by(step).map(tick).collect();
        let lines = charts.iter().flat_map(|(_, lines)| lines);
        let points = lines.flat_map(|line| &line.points);
        let y = panel.scale.over(points.map(|(_, found)| found));
        let x_label = self.words(0).fill(&panel.x);
        let chart = |(title, series): (String, Vec<Series>)| {
            LineChart {
                label: format!("{title}, one line per row"),
                title,
                x_label: x_label.clone(),
                x_ticks: x_ticks.clone(),
                y,
                series,
            }
            .draw()
        };
        charts.into_iter().map(chart).collect()
    }

    /// The values of a panel's lines, and the lines that have points, by the title of their chart.
    fn series(
        &self,
        panel: &PanelSpec,
        x: impl Fn(usize) -> f64,
    ) -> (Vec<usize>, Vec<(String, Vec<Series>)>) {
        let own = self.placed(&panel.of, None, None);
        let divisor = panel.divided_by.unwrap_or(1.0);
        let point = |value: usize, id: &str, place: &Place| {
            let found = self.estimate(id, place).ok()?;
            Some((x(value), found.scaled(1.0 / divisor)))
        };
        let mut values: Vec<usize> = Vec::new();
        let mut charts: Vec<(String, Vec<Series>)> = Vec::new();
        if let Some(by) = &panel.by {
            let places = self.places_by(by, &own, None);
            values.extend(places.iter().filter_map(|place| place.value));
            let without = dense(&self.spec.method.arms).filter(|_| panel.without_dense);
            let shown = self.subjects.iter();
            let shown = shown.filter(|one| without.is_none_or(|dense| dense.id != one.id));
            let line = |one: &Subject| {
                let points = places.iter();
                let points = points.filter_map(|place| point(place.value?, &one.id, place));
                Series {
                    arm: one.arm.unwrap_or_default(),
                    label: one.label.clone(),
                    strong: one.default,
                    points: points.collect(),
                }
            };
            charts.push((own.title.clone(), shown.map(line).collect()));
        }
        let lists = panel.lines.iter();
        for (name, lines) in lists.flat_map(|name| self.experiment.lines(name, self.records)) {
            let line = |one: Line| {
                values.extend(one.points.iter().map(|(value, _)| *value));
                let points = one.points.iter();
                Series {
                    points: points
                        .filter_map(|(value, id)| point(*value, id, &own))
                        .collect(),
                    arm: one.arm,
                    label: one.label,
                    strong: one.strong,
                }
            };
            let lines = lines.into_iter().map(line).collect();
            charts.push((own.title.replace("{row}", &name), lines));
        }
        for (_, lines) in &mut charts {
            lines.retain(|line| !line.points.is_empty());
        }
        values.sort_unstable();
        values.dedup();
        (values, charts)
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
        let own = self.placed(&panel.of, None, None);
        let mut charts = vec![(own.title.clone(), own.clone())];
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
        let quantity = self.quantity(&own.quantity);
        let chart = |(title, place): (String, Place)| {
            let bar = |subject: &Subject| Bar {
                arm: subject.arm,
                label: subject.label.clone(),
                strong: subject.default,
                value: self.estimate(&subject.id, &place),
            };
            let all: Vec<Bar> = self.subjects.iter().map(bar).collect();
            let label = format!("{}, {title}, one bar per row", quantity.title);
            bars(&title, &label, &all, own.style)
        };
        charts.into_iter().map(chart).collect()
    }
}
