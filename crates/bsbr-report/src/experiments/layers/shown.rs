//! The contents of the section on layer-wise conversion.

use crate::estimate::Estimate;
use crate::experiments::layers::LayerByLayer;
use crate::experiments::layers::sets::{Layers, Order};
use crate::present::subject::Subject;
use crate::present::words::listed;
use crate::present::{by_estimate, greatest};
use crate::record::{Pool, Records};
use crate::render::chart::{Bar, LineChart, Series, bars};
use crate::render::scale::Scale;
use crate::section::{Better, Block, Cell, Column, Figure, Picture, Row, Style, Table, Verdict};
use crate::spec::{ArmSpec, dense};
use crate::verdict::Bounds;

/// Quantities of the tables, their titles, and which direction is better.
const COLUMNS: [(&str, &str, Better); 5] = [
    ("kl", "KL (dense ‖ converted), nats", Better::Less),
    ("top1", "top-1 agreement", Better::More),
    ("cosine", "cosine", Better::More),
    (NLL, "perplexity", Better::Less),
    ("nll.minus_dense", "loss − dense, nats", Better::Less),
];

/// The minimum upper end of an axis of KL.
const LEAST_TOP: f64 = 1e-6;

/// Negative log-likelihood per token, in nats.
const NLL: &str = "nll";

fn style(quantity: &str) -> Style {
    match quantity {
        "cosine" => Style::Fixed(5),
        "top1" => Style::Percent(2),
        "nll.minus_dense" => Style::Fixed(4),
        _ => Style::Digits(3),
    }
}

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
        match name {
            "observations" => {
                let arms = self.experiment.converted();
                let words = arms.filter_map(|(_, arm)| self.observation(arm));
                words.map(Block::Text).collect()
            }
            "figure" => vec![Block::Figure(self.figure())],
            _ => {
                let mut tables = vec![self.alone()];
                tables.extend(Order::ALL.map(|order| self.in_order(order)));
                tables.push(self.choices());
                tables.into_iter().map(Block::Table).collect()
            }
        }
    }

    /// Whether orders chosen on some texts are the best on others.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let arms = self.experiment.converted();
        arms.filter_map(|(_, arm)| self.verdict(arm)).collect()
    }

    fn length(&self) -> usize {
        self.experiment.settings.length
    }

    fn estimate(&self, id: &str, quantity: &str) -> Result<Estimate, String> {
        self.records
            .estimate(id, Pool::Texts, self.length(), quantity)
    }

    fn of_set(&self, arm: &ArmSpec, set: &Layers, quantity: &str) -> Result<Estimate, String> {
        self.estimate(&set.id(arm, self.of), quantity)
    }

    fn sets(&self, order: Order, arm: &ArmSpec) -> Vec<Layers> {
        self.experiment.sets(order, self.records, arm, self.of)
    }

    /// A summary of an arm's tables, once they are complete.
    fn observation(&self, arm: &ArmSpec) -> Option<String> {
        let number = |value: f64| style("kl").number(value);
        let alone: Vec<Estimate> = (0..self.of)
            .map(|layer| {
                self.of_set(arm, &Layers::between(layer, layer + 1), "kl")
                    .ok()
            })
            .collect::<Option<_>>()?;
        let ranked = || alone.iter().enumerate();
        let (most, costly) = ranked().max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        let (least, cheap) = ranked().min_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        let sum: f64 = alone.iter().map(|one| one.mean).sum();
        let all = self.estimate(&arm.id, "kl").ok()?.mean;
        let steps = self.experiment.steps(self.records, arm, self.of);
        let order: Vec<usize> = steps.iter().map(|step| step.layer).collect();
        let mut text = format!(
            "**{}**: converted alone, layer {most} costs the most, a KL of {}, and layer {least} \
             the least, {}. These costs sum to {}; all layers together cost {}, {:.2} times the \
             sum. The greedy order is {}.",
            arm.label,
            with_interval(costly),
            with_interval(cheap),
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
        let counts = Order::ALL.map(|order| self.enough(order, arm).to_string());
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
    fn enough(&self, order: Order, arm: &ArmSpec) -> usize {
        let least = self.experiment.settings.least_agreement;
        let sets = self.sets(order, arm).into_iter();
        sets.take_while(|set| {
            let found = self.of_set(arm, set, "top1");
            found.is_ok_and(|top1| top1.mean >= least)
        })
        .count()
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
            let difference = self.records.difference(
                &own.id(arm, self.of),
                &better.id(arm, self.of),
                Pool::Texts,
                self.length(),
                "kl",
            )?;
            Some((k + 1, difference))
        };
        // All orders end with all layers.
        let worst = (0..self.of.saturating_sub(1))
            .filter_map(beyond)
            .max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean));
        let (k, found) = worst?;
        let measured = Cell::Measured(found, style("kl"));
        let bounds = Bounds {
            at_most: Some(0.0),
            ..Bounds::default()
        };
        Some(Verdict {
            claim: format!(
                "Greedy order: largest excess of KL over the better of first k and last k, at k = \
                 {k}"
            ),
            arm: arm.label.clone(),
            required: bounds.words(style("kl")),
            judgement: bounds.judge(&measured),
            measured,
        })
    }

    fn alone(&self) -> Table {
        let mut subjects: Vec<Subject> = dense(&self.experiment.spec.method.arms)
            .map(|arm| Subject {
                arm: Some(0),
                ..Subject::other(&arm.id, &format!("{}: none", arm.label))
            })
            .into_iter()
            .collect();
        for (place, arm) in self.experiment.converted() {
            for layer in 0..self.of {
                let set = Layers::between(layer, layer + 1);
                subjects.push(self.subject(place, arm, &set, &format!("layer {layer}")));
            }
        }
        self.table("Each layer alone", "One layer is converted.", &subjects)
    }

    fn in_order(&self, order: Order) -> Table {
        let mut subjects = Vec::new();
        for (place, arm) in self.experiment.converted() {
            let steps = self.experiment.steps(self.records, arm, self.of);
            for (index, set) in self.sets(order, arm).iter().enumerate() {
                let words = match (order, steps.get(index)) {
                    (Order::Greedy, Some(step)) => {
                        format!("{}: {} (+ {})", index + 1, set.words(), step.layer)
                    }
                    _ => format!("{}: {}", index + 1, set.words()),
                };
                subjects.push(self.subject(place, arm, set, &words));
            }
        }
        let (title, note) = match order {
            Order::First => ("The first k layers", "k, and the converted layers."),
            Order::Last => ("The last k layers", "k, and the converted layers."),
            Order::Greedy => (
                "The k cheapest layers, chosen greedily",
                "k, the converted layers, and the layer that this step added. The order was chosen \
                 on other texts.",
            ),
        };
        self.table(title, note, &subjects)
    }

    fn subject(&self, place: usize, arm: &ArmSpec, set: &Layers, words: &str) -> Subject {
        Subject {
            arm: Some(place),
            ..Subject::other(&set.id(arm, self.of), &format!("{}, {words}", arm.label))
        }
    }

    fn table(&self, title: &str, note: &str, subjects: &[Subject]) -> Table {
        let columns = COLUMNS.map(|(quantity, title, better)| {
            let column = Column {
                better: Some(better),
                ..Column::from(title)
            };
            (column, style(quantity))
        });
        let head = Table {
            title: title.to_owned(),
            note: note.to_owned(),
            corner: "Converted".to_owned(),
            ..Table::default()
        };
        by_estimate(head, subjects, &columns, |subject, place| {
            let (quantity, ..) = COLUMNS[place];
            let found = self.estimate(&subject.id, quantity)?;
            Ok(if quantity == NLL { found.exp() } else { found })
        })
    }

    /// The candidates of each step of the greedy order.
    fn choices(&self) -> Table {
        let mut rows = Vec::new();
        for (place, arm) in self.experiment.converted() {
            let steps = self.experiment.steps(self.records, arm, self.of);
            for (index, step) in steps.iter().enumerate() {
                let cell = |layer: usize| match step.tried.iter().find(|(tried, _)| *tried == layer)
                {
                    Some((_, found)) => Cell::of(found.clone(), style("kl")),
                    None => Cell::Text("converted".to_owned()),
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
            note:
                "KL (dense ‖ converted) on the selection texts, with one more layer; the lowest is \
                   chosen."
                    .to_owned(),
            corner: "Choice".to_owned(),
            columns: (0..self.of)
                .map(|layer| format!("with layer {layer}").into())
                .collect(),
            rows,
            folded: true,
            ..Table::default()
        }
    }

    fn figure(&self) -> Figure {
        let charts: Vec<(&ArmSpec, Vec<Series>)> = self
            .experiment
            .converted()
            .map(|(_, arm)| (arm, self.lines(arm)))
            .collect();
        // One scale for all arms.
        let high = charts.iter().map(|(_, lines)| greatest(lines));
        let high = high.fold(LEAST_TOP, f64::max);
        let low = charts
            .iter()
            .flat_map(|(_, lines)| lines)
            .flat_map(|line| &line.points)
            .map(|(_, kl)| kl.mean)
            .filter(|&kl| kl > 0.0)
            .fold(high, f64::min);
        let mut pictures: Vec<Picture> = charts
            .into_iter()
            .map(|(arm, series)| {
                let title = format!("{}: KL by number of converted layers", arm.label);
                LineChart {
                    label: format!("{title}, one line per order"),
                    title,
                    x_label: "converted layers".to_owned(),
                    x_ticks: (1..=self.of)
                        .step_by(self.of.div_ceil(8).max(1))
                        .map(|k| (k as f64, k.to_string()))
                        .collect(),
                    y: Scale::decades(low, high),
                    series,
                }
                .draw()
            })
            .collect();
        pictures.extend(self.experiment.converted().map(|arm| self.bars(arm)));
        Figure {
            id: "orders".to_owned(),
            title: "The cost of converted layers".to_owned(),
            note:
                "KL (dense ‖ converted) in nats per position, with bootstrap 95 % intervals over \
                   texts; the upper axis is logarithmic."
                    .to_owned(),
            pictures,
            columns: 2,
        }
    }

    /// KL by the number of layers, for each order.
    fn lines(&self, arm: &ArmSpec) -> Vec<Series> {
        // Distinct colours, because no arm has its own line here.
        const COLOURS: [usize; 3] = [3, 5, 1];
        Order::ALL
            .into_iter()
            .zip(COLOURS)
            .map(|(order, colour)| Series {
                arm: colour,
                label: order.words().to_owned(),
                strong: order == Order::Greedy,
                points: self
                    .sets(order, arm)
                    .iter()
                    .enumerate()
                    .filter_map(|(index, set)| {
                        Some(((index + 1) as f64, self.of_set(arm, set, "kl").ok()?))
                    })
                    .collect(),
            })
            .filter(|series| !series.points.is_empty())
            .collect()
    }

    fn bars(&self, (place, arm): (usize, &ArmSpec)) -> Picture {
        let all: Vec<Bar> = (0..self.of)
            .map(|layer| Bar {
                arm: Some(place),
                label: format!("layer {layer}"),
                strong: false,
                value: self.of_set(arm, &Layers::between(layer, layer + 1), "kl"),
            })
            .collect();
        let title = format!("{}: KL of each layer alone", arm.label);
        bars(
            &title,
            &format!("{title}, one bar per layer"),
            &all,
            Style::Digits(2),
        )
    }
}

/// `0.0123 [0.0110, 0.0140]`
fn with_interval(kl: &Estimate) -> String {
    let style = style("kl");
    let interval = kl.interval.map(|interval| {
        format!(
            " [{}, {}]",
            style.beside(interval.low, kl.mean),
            style.beside(interval.high, kl.mean)
        )
    });
    format!("{}{}", style.number(kl.mean), interval.unwrap_or_default())
}
