//! Figures as declared in specifications.

use std::collections::BTreeSet;

use crate::present::layout::{By, FigureSpec, PanelSpec, ScatterSpec, Source, ValuesSpec};
use crate::present::subject::Subject;
use crate::present::words::short_length;
use crate::present::{Values, View};
use crate::render::chart::{Bar, Series, bars, lines};
use crate::render::scatter::{Axis, Point, scatter};
use crate::section::{Figure, Picture};
use crate::spec::ArmSpec;

/// The maximum number of ticks on an axis of parts.
const MAX_TICKS: usize = 8;

impl View<'_> {
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
            true => values.len().div_ceil(MAX_TICKS).max(1),
            false => 1,
        };
        let tick = |&value: &usize| match even {
            true => (x(value), value.to_string()),
            false => (x(value), short_length(value)),
        };
        let ticks: Vec<(f64, String)> = values.iter().step_by(step).map(tick).collect();
        let points = charts.iter().flat_map(|(_, series)| series);
        let points = points.flat_map(|(_, points)| points);
        let scale = panel.scale.over(points.map(|(_, found)| found));
        let axis = self.words(0).fill(&panel.x);
        let charts = charts.iter();
        charts
            .map(|(title, series)| lines(title, (&axis, &ticks), scale, series))
            .collect()
    }

    /// The values of a panel's lines, and the lines that have points, by the title of their chart.
    fn series(
        &self,
        panel: &PanelSpec,
        x: impl Fn(usize) -> f64,
    ) -> (Vec<usize>, Vec<(String, Vec<Series>)>) {
        let own = self.declared(&panel.of, None, None);
        let factor = 1.0 / panel.divided_by.unwrap_or(1.0);
        let mut values = Vec::new();
        let mut charts: Vec<(String, Vec<Series>)> = Vec::new();
        let mut line = |subject: Subject, points: Vec<(usize, &str, &Values)>| -> Series {
            values.extend(points.iter().map(|(value, ..)| *value));
            let found = points.into_iter().filter_map(|(value, id, of)| {
                let found = self.estimate(id, of).ok()?;
                Some((x(value), found.scaled(factor)))
            });
            (subject, found.collect())
        };
        if let Some(by) = &panel.by {
            let all = self.values_by(by, &own, None);
            let is_dense = |one: &Subject| self.spec.arm(&one.id).is_some_and(|arm| arm.is_dense());
            let shown = self.subjects.iter();
            let shown = shown.filter(|one| !(panel.without_dense && is_dense(one)));
            let series = shown.map(|one| {
                let points = all.iter();
                let points = points.filter_map(|of| Some((of.value?, one.id.as_str(), of)));
                line(one.clone(), points.collect())
            });
            charts.push((own.title.clone(), series.collect()));
        }
        let lists = panel.lines.iter();
        for (name, lines) in lists.flat_map(|name| self.experiment.lines(name, self.records)) {
            let series = lines.into_iter().map(|one| {
                let points = one.points.iter();
                let points = points.map(|(value, id)| (*value, id.as_str(), &own));
                line(one.subject, points.collect())
            });
            charts.push((own.title.replace("{row}", &name), series.collect()));
        }
        for (_, series) in &mut charts {
            series.retain(|(_, points)| !points.is_empty());
        }
        values.sort_unstable();
        values.dedup();
        (values, charts)
    }

    /// A point for each row with both numbers.
    fn scatter(&self, spec: &ScatterSpec<ValuesSpec>) -> Option<Picture> {
        let both = [&spec.x, &spec.y].map(|one| self.declared(one, None, None));
        let points = self.subjects.iter().filter_map(|subject| {
            let [x, y] = both.each_ref().map(|of| self.estimate(&subject.id, of));
            let subject = Subject {
                label: self.short_label(subject),
                ..subject.clone()
            };
            Some((subject, [x.ok()?, y.ok()?]))
        });
        let points: Vec<Point> = points.collect();
        let axis = |of: &Values, scale| Axis {
            label: match of.style.unit() {
                " %" => format!("{}, %", of.title),
                _ => of.title.clone(),
            },
            style: of.style,
            scale,
        };
        let axes = [axis(&both[0], None), axis(&both[1], spec.y_scale)];
        scatter(&spec.title, &axes, &points)
    }

    /// The label of a row without the swept setting, if there is only one.
    fn short_label(&self, subject: &Subject) -> String {
        let arms = &self.spec.method.arms;
        let settings = arms.iter().filter_map(ArmSpec::swept_value);
        let settings: BTreeSet<&str> = settings.map(|(_, setting, _)| setting).collect();
        let own = self.spec.arm(&subject.id).and_then(ArmSpec::swept_value);
        match own.filter(|_| settings.len() == 1) {
            Some((base, _, value)) => format!("{base}, {value}"),
            None => subject.label.clone(),
        }
    }

    /// Bars of all texts, and of each domain if requested.
    fn bar_charts(&self, panel: &PanelSpec) -> Vec<Picture> {
        let own = self.declared(&panel.of, None, None);
        let mut charts = vec![own.clone()];
        if panel.each {
            let domains = self.records.domains().into_iter();
            charts.extend(domains.map(|domain| Values {
                title: domain.to_owned(),
                from: Source::Named(domain.to_owned()),
                ..own.clone()
            }));
        }
        let quantity = self.quantity(&own.quantity).title;
        let chart = |of: Values| {
            let subjects = self.subjects.iter();
            let all: Vec<Bar<'_>> = subjects
                .map(|subject| (subject, self.estimate(&subject.id, &of)))
                .collect();
            let label = format!("{quantity}, {}, one bar per row", of.title);
            bars(&of.title, label, &all, of.style)
        };
        charts.into_iter().map(chart).collect()
    }
}
