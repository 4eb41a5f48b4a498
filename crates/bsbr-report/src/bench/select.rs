//! Samples and ratios from records.

use bsbr_attention::ArmConfig;
use bsbr_metrics::stats::{Bootstrap, Interval, quantile};

use crate::bench::record::{BenchRecord, Series};
use crate::bench::{Scope, machine};
use crate::estimate::RESAMPLES;
use crate::spec::ArmSpec;

/// Median, quartiles and a bootstrap interval of the median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The quartiles.
    pub quartiles: [f64; 2],
    /// The 95 % bootstrap interval of the median; `None` for one sample.
    pub interval: Option<Interval>,
    /// Number of samples.
    pub n: usize,
}

impl Spread {
    /// The spread of samples; `None` if there are none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let at = |q| quantile(samples, q).ok();
        let bootstrap = Bootstrap {
            resamples: RESAMPLES,
            seed: 0,
        };
        let drawn_median = |drawn: &[usize]| {
            let drawn: Vec<f64> = drawn.iter().map(|&index| samples[index]).collect();
            quantile(&drawn, 0.5).unwrap_or(f64::NAN)
        };
        Some(Self {
            median: at(0.5)?,
            quartiles: [at(0.25)?, at(0.75)?],
            interval: match samples.len() {
                1 => None,
                n => bootstrap.interval(n, drawn_median).ok(),
            },
            n: samples.len(),
        })
    }
}

/// The time of a contestant in a round, and the machine's rates in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Seconds.
    pub seconds: f64,
    /// Floating-point operations; 0 if unknown.
    pub work: f64,
    /// Operations per second of matrix products: the faster of ours and PyTorch's.
    pub product: f64,
    /// Bytes per second of a copy, reads and writes together, if there is one.
    pub copy: Option<f64>,
}

/// The records of a page; later ones replace earlier ones.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    records: Vec<BenchRecord>,
    arms: Vec<ArmSpec>,
}

impl Measured {
    /// From records in any order.
    pub fn new(mut records: Vec<BenchRecord>) -> Self {
        records.sort_by(|a, b| a.date.cmp(&b.date));
        Self {
            records,
            arms: Vec::new(),
        }
    }

    /// The same, with the arms that records name.
    pub fn with_arms(mut self, arms: Vec<ArmSpec>) -> Self {
        self.arms = arms;
        self
    }

    /// The selected records, with the same arms.
    pub fn only(&self, wanted: impl Fn(&BenchRecord) -> bool) -> Self {
        let records = self.records.iter().filter(|record| wanted(record));
        Self {
            records: records.cloned().collect(),
            arms: self.arms.clone(),
        }
    }

    /// The settings of an arm, if known.
    pub fn arm(&self, who: &str) -> Option<&ArmConfig> {
        let found = self.arms.iter().find(|arm| arm.id == who);
        found.map(|arm| &arm.config)
    }

    /// The records, oldest first.
    pub fn records(&self) -> &[BenchRecord] {
        &self.records
    }

    /// The newest series of that name.
    pub fn series(&self, scope: Scope, who: &str, part: &str, length: usize) -> Option<&Series> {
        let wanted = |one: &&Series| {
            one.scope == scope.id() && one.who == who && one.part == part && one.length == length
        };
        self.records
            .iter()
            .rev()
            .find_map(|record| record.series.iter().find(wanted))
    }

    /// The newest series of every contestant in a scope, in the order of the newest record with
    /// that scope.
    fn of_scope(&self, scope: Scope) -> impl Iterator<Item = &Series> {
        self.records
            .iter()
            .rev()
            .flat_map(|record| &record.series)
            .filter(move |one| one.scope == scope.id())
    }

    /// The lengths of a scope.
    pub fn lengths(&self, scope: Scope) -> Vec<usize> {
        let mut all: Vec<usize> = self.of_scope(scope).map(|one| one.length).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The contestants of a scope, without the limits of the machine.
    pub fn who(&self, scope: Scope) -> Vec<&str> {
        let limits = [machine::MATRIX, machine::TORCH_MATRIX, machine::COPY];
        let mut all: Vec<&str> = Vec::new();
        for one in self.of_scope(scope) {
            if !limits.contains(&one.who.as_str()) && !all.contains(&one.who.as_str()) {
                all.push(&one.who);
            }
        }
        all
    }

    /// The parts in a scope.
    pub fn parts(&self, scope: Scope) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for one in self.of_scope(scope) {
            if !all.contains(&one.part.as_str()) {
                all.push(&one.part);
            }
        }
        all
    }

    /// Each round of `who`, and the machine's rates in it, from the newest record that has both.
    pub fn rounds(&self, scope: Scope, who: &str, length: usize) -> Vec<Round> {
        let wanted = |one: &&Series, who: &str| {
            one.scope == scope.id() && one.who == who && one.part.is_empty() && one.length == length
        };
        for record in self.records.iter().rev() {
            let find = |who: &str| record.series.iter().find(|one| wanted(one, who));
            let (Some(own), Some(matrix)) = (find(who), find(machine::MATRIX)) else {
                continue;
            };
            let rate = |series: Option<&Series>, round: usize| {
                let one = series?;
                Some(one.work? / one.samples.get(round)?)
            };
            let [torch, copy] = [machine::TORCH_MATRIX, machine::COPY].map(find);
            return own
                .samples
                .iter()
                .enumerate()
                .map_while(|(at, &seconds)| {
                    let ours = rate(Some(matrix), at)?;
                    Some(Round {
                        seconds,
                        work: own.work.unwrap_or_default(),
                        product: ours.max(rate(torch, at).unwrap_or_default()),
                        copy: rate(copy, at),
                    })
                })
                .collect();
        }
        Vec::new()
    }

    /// The ratio of a contestant's times at two lengths in each round; empty if they are from
    /// different records.
    pub fn growth(
        &self,
        scope: Scope,
        who: &str,
        part: &str,
        [upper, lower]: [usize; 2],
    ) -> Vec<f64> {
        self.quotients(scope, part, [(who, upper), (who, lower)])
    }

    /// The ratio of two contestants in each round; empty if they are from different records.
    pub fn ratio(
        &self,
        scope: Scope,
        [upper, lower]: [&str; 2],
        part: &str,
        length: usize,
    ) -> Vec<f64> {
        self.quotients(scope, part, [(upper, length), (lower, length)])
    }

    /// The quotient of two contestants in each round of the newest record that has both.
    fn quotients(&self, scope: Scope, part: &str, [upper, lower]: [(&str, usize); 2]) -> Vec<f64> {
        let wanted = |one: &&Series, (who, length): (&str, usize)| {
            one.scope == scope.id() && one.who == who && one.part == part && one.length == length
        };
        for record in self.records.iter().rev() {
            let find = |of| record.series.iter().find(|one| wanted(one, of));
            if let (Some(upper), Some(lower)) = (find(upper), find(lower)) {
                let pairs = upper.samples.iter().zip(&lower.samples);
                return pairs.map(|(upper, lower)| upper / lower).collect();
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::record;

    #[test]
    fn the_spread_is_of_the_median() {
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0, 100.0]).unwrap();
        assert_eq!(
            (spread.median, spread.quartiles, spread.n),
            (3.0, [2.0, 4.0], 5)
        );
        let interval = spread.interval.unwrap();
        assert!(interval.low >= 1.0 && interval.low < 3.0 && interval.high > 3.0);
        assert_eq!(Spread::of(&[2.0]).unwrap().interval, None);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_of_one_round_and_one_record() {
        let old = record(
            "2026-01-01",
            &[("dense", &[4.0, 6.0]), ("torch-sdpa", &[2.0, 2.0])],
        );
        let new = record(
            "2026-01-02",
            &[("moments", &[1.0, 3.0]), ("dense", &[2.0, 4.0, 9.0])],
        );
        let measured = Measured::new(vec![new, old]);
        let ratio = |pair| measured.ratio(Scope::Model, pair, "", 16);
        assert_eq!(ratio(["dense", "torch-sdpa"]), [2.0, 3.0]);
        assert_eq!(ratio(["moments", "dense"]), [0.5, 0.75]);
        assert!(ratio(["moments", "torch-sdpa"]).is_empty());
        let newest = measured.series(Scope::Model, "dense", "", 16).unwrap();
        assert_eq!(newest.samples.len(), 3);
        assert_eq!(measured.lengths(Scope::Model), [16]);
        assert_eq!(
            measured.who(Scope::Model),
            ["moments", "dense", "torch-sdpa"]
        );
    }

    #[test]
    fn the_faster_product_is_the_rate_of_a_round() {
        let mut record = record(
            "2026-01-01",
            &[("matrix", &[1.0, 2.0]), ("torch-matrix", &[2.0, 1.0])],
        );
        for one in &mut record.series {
            one.work = Some(8.0);
        }
        assert!(
            Measured::new(vec![record.clone()])
                .who(Scope::Model)
                .is_empty()
        );
        let own = Series {
            samples: vec![4.0, 4.0, 4.0],
            ..Series::new("model", "dense", 16, "s")
        };
        record.series.push(own);
        // A later record without PyTorch: its rounds do not have the earlier record's products.
        let mut later = record.clone();
        later.date = "2026-01-02".to_owned();
        later.series.remove(1);
        let rates = |records: Vec<BenchRecord>| -> Vec<f64> {
            let rounds = Measured::new(records).rounds(Scope::Model, "dense", 16);
            rounds.iter().map(|round| round.product).collect()
        };
        assert_eq!(rates(vec![record.clone()]), [8.0, 8.0]);
        assert_eq!(rates(vec![record, later]), [8.0, 4.0]);
    }
}
