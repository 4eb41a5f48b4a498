//! The section on choosing by length.

use crate::estimate::Estimate;
use crate::experiments::common::{
    Column, by_arm, extension_words, greatest, lines, plural, provenance, short_length, verdicts,
};
use crate::experiments::hybrid::{BESIDE_FORM, ByLength, CHOSEN, CROSSOVER, DENSE, HYBRID};
use crate::experiments::timed::SPEEDUP;
use crate::growth::Crossover;
use crate::record::{Pool, Records};
use crate::render::chart::LineChart;
use crate::render::scale::Scale;
use crate::reported;
use crate::section::{Block, Cell, Figure, Picture, Row, Section, Style, Table, Verdict};
use crate::spec::ArmSpec;

/// KL below this is drawn on the floor of a chart.
const KL_FLOOR: f64 = 1e-6;

/// Nines of the axis of top-1 agreement.
const NINES: u32 = 3;

fn style(quantity: &str) -> Style {
    match quantity {
        "kl" => Style::Digits(3),
        "cosine" => Style::Fixed(5),
        "top1" => Style::Percent(2),
        _ => SPEEDUP,
    }
}

/// An experiment and its records.
struct View<'a> {
    experiment: &'a ByLength,
    records: &'a Records,
}

pub(super) fn section(experiment: &ByLength, records: &Records) -> Section {
    let spec = &experiment.spec;
    let view = View {
        experiment,
        records,
    };
    let rows = &experiment.rows;
    let chosen = experiment.timed(records, rows, CHOSEN);
    let before = experiment.timed(records, experiment.forms(), CROSSOVER);
    let mut first = before.times("Time of the whole model in the rounds for the crossover".into());
    first.folded = true;
    let mut blocks: Vec<Block> = view.observation().map(Block::Text).into_iter().collect();
    blocks.extend([
        Block::Figure(view.figure()),
        Block::Table(view.overview()),
        Block::Table(view.by_length("kl", "KL (dense ‖ row) by length, nats per position")),
        Block::Table(view.by_length("top1", "Top-1 agreement by length")),
        Block::Table(chosen.times("Time of the whole model, by length".into())),
        Block::Table(chosen.speedups("Time of the whole model: speed-up over dense".into())),
        Block::Table(first),
    ]);
    let mut claims = verdicts(spec, records, |bar| style(&bar.quantity));
    claims.extend(
        [view.exact(), view.converted(), view.as_fast()]
            .into_iter()
            .flatten(),
    );
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: view.method(),
        verdicts: claims,
        headlines: Vec::new(),
        blocks,
        comparisons: reported::compare(&experiment.claims, &spec.method.arms, records),
        provenance: provenance(spec, records),
    }
}

impl View<'_> {
    fn lengths(&self) -> &[usize] {
        &self.experiment.settings.lengths
    }

    fn arm(&self) -> &ArmSpec {
        self.experiment.arm()
    }

    /// A quantity of texts or of the rounds after the choice.
    fn estimate(&self, id: &str, length: usize, quantity: &str) -> Result<Estimate, String> {
        let from = match quantity {
            "speedup" | BESIDE_FORM => Pool::Source(CHOSEN),
            _ => Pool::Texts,
        };
        self.records.estimate(id, from, length, quantity)
    }

    /// Whether the hybrid reads sequences of this length with dense attention; `None` where its
    /// records do not agree.
    fn reads_dense(&self, length: usize) -> Result<Option<bool>, String> {
        let found = self.estimate(HYBRID, length, DENSE)?;
        Ok(match found.mean {
            1.0 => Some(true),
            0.0 => Some(false),
            _ => None,
        })
    }

    /// The lengths that it reads with dense attention, or those that it does not.
    fn lengths_read(&self, dense: bool) -> impl Iterator<Item = usize> {
        let lengths = self.lengths().iter().copied();
        lengths.filter(move |&length| self.reads_dense(length) == Ok(Some(dense)))
    }

    fn method(&self) -> Vec<String> {
        let (settings, counts) = (&self.experiment.settings, &self.experiment.counts);
        let label = &self.arm().label;
        let mut paragraphs = vec![
            format!(
                "First `dense` and {label} take turns in rounds: {} of each at each length after \
                 one that is not timed (of what takes longer than {:.0} s, {}), a forward pass of \
                 the whole model to the logits of the last token, without a cache, on random ids. \
                 Where their medians cross is the boundary. Then the hybrid takes turns with both \
                 in as many new rounds, so that it is not judged by the rounds that chose for it. \
                 Closeness is measured on {} at each length, which take turns between the domains.",
                plural(counts.runs, "timed run"),
                settings.slow_seconds,
                counts.slow_runs.min(counts.runs),
                plural(counts.texts, "text"),
            ),
            format!(
                "The hybrid has the weights once. It reads a sequence of up to the boundary with \
                 dense attention and a longer one with {label}, from first token to last: whoever \
                 calls it says how long the sequence becomes, continuation included. It cannot \
                 choose by the tokens that it has seen so far, for then a text fed in pieces would \
                 be read otherwise than at once. And a text beyond the boundary is read otherwise \
                 than a part of it below, by what the conversion loses."
            ),
        ];
        paragraphs.extend(extension_words(settings.extension, self.records));
        paragraphs
    }

    /// Where the boundary is, and what is gained at the longest sequence.
    fn observation(&self) -> Option<String> {
        let longest = self.lengths().iter().copied().max()?;
        let label = &self.arm().label;
        let crossover = self.experiment.crossover(self.records)?;
        let mut text = match crossover {
            Crossover::Always => format!(
                "**Boundary**: {label} is faster than dense at every length, and the hybrid is \
                 {label} throughout."
            ),
            Crossover::Never => format!(
                "**Boundary**: {label} is not faster than dense up to {longest} tokens, and the \
                 hybrid is dense throughout."
            ),
            Crossover::At(..) => format!(
                "**Boundary**: {label} is faster than dense from {} tokens on (interpolated \
                 between lengths, with a bootstrap 95 % interval); the hybrid is dense up to there.",
                crossover.describe(longest)
            ),
        };
        if let Ok(found) = self.estimate(HYBRID, longest, "speedup") {
            text.push_str(&format!(
                " At {longest} tokens it is {} times as fast as dense.",
                SPEEDUP.number(found.mean)
            ));
        }
        Some(text)
    }

    fn verdict(
        &self,
        claim: String,
        bar: String,
        found: Estimate,
        style: Style,
        holds: bool,
    ) -> Verdict {
        Verdict {
            claim,
            arm: self.experiment.rows[2].label.clone(),
            bar,
            n: Some(found.n),
            measured: Cell::Measured(found, style),
            holds: Some(holds),
        }
    }

    /// Below the boundary it is the dense model.
    fn exact(&self) -> Option<Verdict> {
        let (length, found) = self
            .lengths_read(true)
            .filter_map(|length| Some((length, self.estimate(HYBRID, length, "kl").ok()?)))
            .max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        Some(self.verdict(
            format!(
                "Up to the boundary, KL (dense ‖ hybrid) where it is greatest, {length} tokens"
            ),
            "= 0".to_owned(),
            found,
            style("kl"),
            found.mean == 0.0,
        ))
    }

    /// Above the boundary it is the arm.
    fn converted(&self) -> Option<Verdict> {
        let (length, found) = self
            .lengths_read(false)
            .filter_map(|length| {
                let arm = &self.arm().id;
                let found = self
                    .records
                    .difference(HYBRID, arm, Pool::Texts, length, "kl")?;
                Some((length, found))
            })
            .max_by(|(_, a), (_, b)| a.mean.abs().total_cmp(&b.mean.abs()))?;
        Some(self.verdict(
            format!(
                "Beyond the boundary, its KL less that of {} where they differ most, {length} \
                 tokens",
                self.arm().label
            ),
            "= 0".to_owned(),
            found,
            style("kl"),
            found.mean == 0.0,
        ))
    }

    /// It is as fast as what it reads with.
    fn as_fast(&self) -> Option<Verdict> {
        let most = 1.0 + self.experiment.settings.tolerance;
        let (length, found) = self
            .lengths()
            .iter()
            .filter_map(|&length| Some((length, self.estimate(HYBRID, length, BESIDE_FORM).ok()?)))
            .max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        Some(self.verdict(
            format!(
                "Its time ÷ that of what it reads with in the same round, where that is most, {length} \
                 tokens"
            ),
            format!("≤ {}", SPEEDUP.number(most)),
            found,
            SPEEDUP,
            found.mean <= most,
        ))
    }

    /// All about the hybrid, by length.
    fn overview(&self) -> Table {
        const ROWS: [(&str, &str); 5] = [
            ("speedup", "speed-up over dense"),
            (BESIDE_FORM, "time ÷ that of what it reads with"),
            ("kl", "KL (dense ‖ hybrid), nats"),
            ("top1", "top-1 agreement"),
            ("cosine", "cosine"),
        ];
        let [dense, arm, _] = &self.experiment.rows;
        let read = |&length: &usize| match self.reads_dense(length) {
            Ok(Some(true)) => Cell::Text(dense.label.clone()),
            Ok(Some(false)) => Cell::Text(arm.label.clone()),
            Ok(None) => Cell::Missing(
                "recorded with one boundary and with another; delete the records and run again"
                    .to_owned(),
            ),
            Err(reason) => Cell::Missing(reason),
        };
        let row = |head: &str, cells: Vec<Cell>| Row {
            head: head.to_owned(),
            arm: None,
            strong: false,
            cells,
        };
        let mut rows = vec![row("reads with", self.lengths().iter().map(read).collect())];
        rows.push(row(
            "its median time ÷ the lower of both",
            self.lengths().iter().map(|&n| self.regret(n)).collect(),
        ));
        rows.extend(ROWS.map(|(quantity, title)| {
            let cells = self.lengths().iter().map(|&length| {
                let found = self.estimate(HYBRID, length, quantity);
                Cell::of(found, style(quantity))
            });
            row(title, cells.collect())
        }));
        Table {
            title: "The hybrid by length".to_owned(),
            note: "Times are those of the rounds after the choice; closeness is that of texts. Beside \
                   the lower of the medians of dense and arm, 1 is a choice that was right."
                .to_owned(),
            corner: "Hybrid".to_owned(),
            columns: self
                .lengths()
                .iter()
                .map(|n| format!("{n} tokens"))
                .collect(),
            rows,
            folded: false,
        }
    }

    /// What a wrong choice costs: 1 where it is right.
    fn regret(&self, length: usize) -> Cell {
        let experiment = self.experiment;
        let timed = experiment.timed(self.records, &experiment.rows, CHOSEN);
        let [dense, arm, hybrid] = &experiment.rows;
        let median = |row: &ArmSpec| timed.median(&row.id, length);
        match (median(hybrid), median(dense), median(arm)) {
            (Some(own), Some(dense), Some(arm)) => Cell::Number(own / dense.min(arm), SPEEDUP),
            _ => Cell::Missing("not all of them were timed".to_owned()),
        }
    }

    fn by_length(&self, quantity: &str, title: &str) -> Table {
        let columns: Vec<Column<'_>> = self
            .lengths()
            .iter()
            .map(|&length| Column {
                title: format!("{length} tokens"),
                from: Pool::Texts,
                length,
                quantity: quantity.to_owned(),
                style: style(quantity),
            })
            .collect();
        let note = "Each sample is a text, its value the mean over all positions.";
        by_arm(title, note, &self.experiment.rows, self.records, &columns)
    }

    fn figure(&self) -> Figure {
        let chosen = self
            .experiment
            .timed(self.records, &self.experiment.rows, CHOSEN);
        let mut pictures = vec![
            chosen.seconds_chart("Seconds, the whole model".to_owned()),
            chosen.speedup_chart("Speed-up over dense".to_owned()),
        ];
        pictures.push(self.chart("KL (dense ‖ row)", "kl", |high| {
            Scale::log(KL_FLOOR, high)
        }));
        pictures.push(self.chart("Top-1 agreement", "top1", |_| Scale::Nines { most: NINES }));
        Figure {
            id: "length".to_owned(),
            title: "Time and closeness by length".to_owned(),
            note: "Means with bootstrap 95 % intervals, over rounds above and over texts below. \
                   The hybrid's line covers that of the form that it reads with; what is exact lies \
                   on the edge of the axis."
                .to_owned(),
            pictures,
            columns: 2,
        }
    }

    /// What the arm and the hybrid lose; the dense line would be the axis.
    fn chart(&self, title: &str, quantity: &str, scale: fn(f64) -> Scale) -> Picture {
        let at = |length: usize| (length as f64).log2();
        let mut series = lines(&self.experiment.rows, |id| {
            let points = self
                .lengths()
                .iter()
                .map(|&length| Some((at(length), self.estimate(id, length, quantity).ok()?)));
            points.flatten().collect()
        });
        series.retain(|one| one.arm > 0);
        LineChart {
            label: format!("{title} by length, for the arm and the hybrid"),
            title: title.to_owned(),
            x_label: "tokens".to_owned(),
            x_ticks: self
                .lengths()
                .iter()
                .map(|&length| (at(length), short_length(length)))
                .collect(),
            y: scale(greatest(&series)),
            series,
        }
        .draw()
    }
}
