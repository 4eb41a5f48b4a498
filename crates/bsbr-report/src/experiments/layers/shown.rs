//! The contents of the section on layer-wise conversion.

use crate::estimate::Estimate;
use crate::experiments::layers::LayerByLayer;
use crate::experiments::layers::sets::{Layers, Order};
use crate::experiments::prelude::*;
use crate::present::words::listed;

/// The format of KL.
const KL: Style = Style::Digits(3);

/// An experiment, its records, and the model's size.
pub(super) struct View<'a> {
    experiment: &'a LayerByLayer,
    records: &'a Records,
    /// Layers of the model; 0 before anything is recorded.
    of: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(experiment: &'a LayerByLayer, records: &'a Records) -> Self {
        Self {
            experiment,
            records,
            of: records.first().map_or(0, |record| record.model.layers),
        }
    }

    /// The blocks of a name in the specification.
    pub(super) fn blocks(&self, name: &str) -> Vec<Block> {
        let arms = self.experiment.converted();
        let observations = arms.filter_map(|(_, arm)| self.observation(arm).map(Block::Text));
        match name {
            "observations" => observations.collect(),
            _ => vec![Block::Table(self.choices())],
        }
    }

    /// The rows of a name in the specification: layers alone, or the sets of an order.
    pub(super) fn rows(&self, name: &str) -> Vec<Subject> {
        let row = |place: usize, arm: &ArmSpec, set: &Layers, words: String| Subject {
            arm: Some(place),
            ..Subject::other(&set.id(arm, self.of), &format!("{}, {words}", arm.label))
        };
        let mut rows = Vec::new();
        let mut orders = Order::ALL.into_iter();
        let order = orders.find(|order| order.words().trim_end_matches(" k") == name);
        if let (None, Some(arm)) = (order, dense(self.experiment.arms())) {
            rows.push(Subject {
                arm: Some(0),
                ..Subject::other(&arm.id, &format!("{}: none", arm.label))
            });
        }
        for (place, arm) in self.experiment.converted() {
            let Some(order) = order else {
                let one = |layer| row(place, arm, &Layers::one(layer), format!("layer {layer}"));
                rows.extend((0..self.of).map(one));
                continue;
            };
            let steps = self.experiment.steps(self.records, arm, self.of);
            for (index, set) in self.sets(order, arm).iter().enumerate() {
                let added = steps.get(index).filter(|_| order == Order::Greedy);
                let added = added.map(|step| format!(" (+ {})", step.layer));
                let added = added.unwrap_or_default();
                let words = format!("{}: {}{added}", index + 1, set.words());
                rows.push(row(place, arm, set, words));
            }
        }
        rows
    }

    /// The lines of a name in the specification: arms by single layers, or the orders of each arm
    /// by the number of layers.
    pub(super) fn lines(&self, name: &str) -> Vec<(String, Vec<Line>)> {
        // Distinct colours, because no arm has its own line in a chart of orders.
        const COLOURS: [usize; 3] = [3, 5, 1];
        let arms = self.experiment.converted();
        if name == "alone" {
            let line = |(place, arm): (usize, &ArmSpec)| {
                let point = |layer| (layer, Layers::one(layer).id(arm, self.of));
                Line {
                    subject: Subject {
                        arm: Some(place),
                        ..Subject::other(&arm.id, &arm.label)
                    },
                    points: (0..self.of).map(point).collect(),
                }
            };
            return vec![(String::new(), arms.map(line).collect())];
        }
        let of_arm = |(_, arm): (usize, &ArmSpec)| {
            let line = |(order, colour): (Order, usize)| {
                let sets = (1..).zip(self.sets(order, arm));
                Line {
                    subject: Subject {
                        arm: Some(colour),
                        default: order == Order::Greedy,
                        ..Subject::other("", order.words())
                    },
                    points: sets.map(|(k, set)| (k, set.id(arm, self.of))).collect(),
                }
            };
            let lines = Order::ALL.into_iter().zip(COLOURS).map(line);
            (arm.label.clone(), lines.collect())
        };
        arms.map(of_arm).collect()
    }

    /// Whether orders chosen on some texts are the best on others.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let arms = self.experiment.converted();
        arms.filter_map(|(_, arm)| self.verdict(arm)).collect()
    }

    fn of_set(&self, arm: &ArmSpec, set: &Layers, quantity: &str) -> Result<Estimate, String> {
        let (id, length) = (set.id(arm, self.of), self.experiment.settings.length);
        self.records.estimate(&id, Pool::Texts, length, quantity)
    }

    fn sets(&self, order: Order, arm: &ArmSpec) -> Vec<Layers> {
        self.experiment.sets(order, self.records, arm, self.of)
    }

    /// A summary of an arm's tables, once they are complete.
    fn observation(&self, arm: &ArmSpec) -> Option<String> {
        let number = |value: f64| KL.number(value);
        let alone = (0..self.of).map(|layer| self.of_set(arm, &Layers::one(layer), "kl"));
        let alone: Vec<Estimate> = alone.collect::<Result<_, _>>().ok()?;
        let ranked = || alone.iter().enumerate();
        let (most, costly) = ranked().max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        let (least, cheap) = ranked().min_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        let sum: f64 = alone.iter().map(|one| one.mean).sum();
        let all = Layers::between(0, self.of);
        let all = self.of_set(arm, &all, "kl").ok()?.mean;
        let steps = self.experiment.steps(self.records, arm, self.of);
        let order: Vec<usize> = steps.iter().map(|step| step.layer).collect();
        let mut text = format!(
            "**{}**: converted alone, layer {most} costs the most, a KL of {}, and layer {least} \
             the least, {}. These costs sum to {}; all layers together cost {}, {:.2} times the \
             sum. The greedy order is {}.",
            arm.label,
            with_interval(*costly),
            with_interval(*cheap),
            number(sum),
            number(all),
            all / sum,
            listed(&order).replace(" and ", ", "),
        );
        let half = self.of / 2;
        let share = |order: Order| -> Option<String> {
            let sets = self.sets(order, arm);
            let found = self.of_set(arm, sets.get(half.checked_sub(1)?)?, "kl");
            Some(format!("{:.0} %", 100.0 * found.ok()?.mean / all))
        };
        let shares = Order::ALL.map(share);
        if let [Some(first), Some(last), Some(greedy)] = shares {
            text.push_str(&format!(
                " With {half} of {} layers converted, KL reaches {greedy} of its full value in the \
                 greedy order, {first} for the first layers and {last} for the last.",
                self.of
            ));
        }
        let counts = Order::ALL.map(|order| self.layers_within_agreement(order, arm).to_string());
        let [first, last, greedy] = &counts;
        text.push_str(&format!(
            " The largest number of converted layers with at least {} % top-1 agreement is {greedy} \
             in the greedy order, {first} for the first layers and {last} for the last.",
            Style::Percent(0).number(self.experiment.settings.least_agreement),
        ));
        Some(text)
    }

    /// The number of layers that an order converts before agreement falls below the required
    /// value.
    fn layers_within_agreement(&self, order: Order, arm: &ArmSpec) -> usize {
        let least = self.experiment.settings.least_agreement;
        let found = self.sets(order, arm).into_iter();
        let found = found.map_while(|set| self.of_set(arm, &set, "top1").ok());
        found.take_while(|top1| top1.mean >= least).count()
    }

    /// Whether the order chosen on some texts is the best on others, at the number of layers where
    /// it is worst.
    fn verdict(&self, arm: &ArmSpec) -> Option<Verdict> {
        let [first, last, greedy] = Order::ALL.map(|order| self.sets(order, arm));
        let beyond = |k: usize| -> Option<(usize, Estimate)> {
            let own = greedy.get(k)?;
            let kl = |set: &Layers| Some(self.of_set(arm, set, "kl").ok()?.mean);
            let (first, last) = (first.get(k)?, last.get(k)?);
            let better = if kl(first)? <= kl(last)? { first } else { last };
            let [own, better] = [own, better].map(|set| set.id(arm, self.of));
            let length = self.experiment.settings.length;
            let beyond = self
                .records
                .difference(&own, &better, Pool::Texts, length, "kl")?;
            Some((k + 1, beyond))
        };
        // All orders end with all layers.
        let all = (0..self.of.saturating_sub(1)).filter_map(beyond);
        let (k, found) = all.max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        let claim = format!(
            "Greedy order: largest excess of KL over the better of first k and last k, at k = {k}"
        );
        let bounds = Bounds {
            at_most: Some(0.0),
            ..Bounds::default()
        };
        Some(bounds.verdict(&claim, &arm.label, Cell::Measured(found, KL), KL))
    }

    /// The candidates of each step of the greedy order.
    fn choices(&self) -> Table {
        let mut rows = Vec::new();
        for (place, arm) in self.experiment.converted() {
            let steps = self.experiment.steps(self.records, arm, self.of);
            for (index, step) in steps.iter().enumerate() {
                let cell = |layer: usize| {
                    let found = step.tried.iter().find(|(tried, _)| *tried == layer);
                    let converted = || Cell::Text("converted".to_owned());
                    found.map_or_else(converted, |(_, found)| Cell::of(found.clone(), KL))
                };
                rows.push(Row {
                    head: format!("{}, step {}: layer {}", arm.label, index + 1, step.layer),
                    arm: Some(place),
                    cells: (0..self.of).map(cell).collect(),
                    ..Row::default()
                });
            }
        }
        Table {
            title: "How the greedy order was chosen".to_owned(),
            note: "KL (dense ‖ converted) on the selection texts, with one more layer; the lowest \
                   is chosen."
                .to_owned(),
            corner: "Choice".to_owned(),
            columns: Vec::from_iter((0..self.of).map(|n| format!("with layer {n}").into())),
            rows,
            folded: true,
            ..Table::default()
        }
    }
}

/// `0.0123 [0.0110, 0.0140]`
fn with_interval(kl: Estimate) -> String {
    let cell = Cell::Measured(kl, KL);
    let ends = cell.brackets().map(|ends| format!(" {ends}"));
    cell.main() + &ends.unwrap_or_default()
}
