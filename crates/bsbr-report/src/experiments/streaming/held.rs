//! What a row has read, kept from one length to the next.

use bsbr_gpt2::{Gpt2, Gpt2Config};

use crate::bench::Place;
use crate::bench::decode::GENERATED;
use crate::corpus::random;
use crate::decoding::{Context, Limits, torch_bytes, torch_generate, torch_read, within};
use crate::lab::Lab;
use crate::torch::Baseline;

/// The number of tokens that allocates everything that reading needs.
const WARM_UP: usize = 16;

/// The current row, with what it has read.
#[derive(Default)]
pub struct Held(Option<Row>);

/// A row, or why it could not read this far.
struct Row {
    id: String,
    length: usize,
    reader: Result<Box<dyn Reading>, String>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = self.0.as_ref().map(|row| (&row.id, row.length));
        f.debug_tuple("Held").field(&row).finish()
    }
}

impl Held {
    /// The row `id`, made anew if the current one is another or has read more.
    pub(super) fn of(
        &mut self,
        id: &str,
        length: usize,
        new: impl FnOnce() -> Result<Box<dyn Reading>, String>,
    ) -> Result<&mut dyn Reading, String> {
        let row = match self.0.take() {
            Some(row) if row.id == id && row.length <= length => Row { length, ..row },
            other => {
                // Two long contexts may not fit into memory together.
                drop(other);
                Row {
                    id: id.to_owned(),
                    length,
                    reader: new(),
                }
            }
        };
        match &mut self.0.insert(row).reader {
            Ok(reader) => Ok(reader.as_mut()),
            Err(reason) => Err(reason.clone()),
        }
    }
}

/// The measurements after a context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    /// Lengths of the short context and of the measured one, in tokens.
    pub(super) lengths: [usize; 2],
    /// The number of rounds of generation after each.
    pub(super) rounds: u64,
    /// The number of generated tokens.
    pub(super) tokens: usize,
    pub(super) limits: Limits,
}

/// The results after a context.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Seconds to read it, up to the first generated token.
    pub(super) first: f64,
    /// Size of its cache, in bytes.
    pub(super) cache: f64,
    /// Mean seconds per token after the short context and after this one, by round.
    pub(super) tokens: Vec<[f64; 2]>,
}

/// A contestant that reads and generates.
pub(super) trait Reading {
    /// Reads a context, and generates after it and after the short one.
    fn measure(&mut self, rounds: Rounds) -> Result<Found, String>;
}

/// One of our models.
pub(super) struct Ours {
    model: Gpt2,
    seed: u64,
    piece: usize,
    short: Context,
    long: Context,
    /// Why it stopped reading.
    stopped: Option<String>,
}

impl Ours {
    pub(super) fn new(model: Gpt2, seed: u64, piece: usize) -> Self {
        let mut warm = Context::new(&model);
        // The reason is reported for each measurement.
        let _ = warm.read(&model, &[0; WARM_UP], piece, Limits::NONE);
        Self {
            short: Context::new(&model),
            long: Context::new(&model),
            stopped: None,
            model,
            seed,
            piece,
        }
    }
}

impl Ours {
    /// Reads the short context and the long one, each from where it stopped.
    fn read(&mut self, [short, length]: [usize; 2], limits: Limits) -> Result<(), String> {
        if let Some(reason) = &self.stopped {
            return Err(reason.clone());
        }
        let vocabulary = self.model.config().vocab_size;
        let ids = random(self.seed, 0, vocabulary, length.max(short));
        let on = |context: &mut Context, length: usize| {
            context.read(&self.model, &ids[..length], self.piece, limits)
        };
        on(&mut self.short, short)?;
        if self.long.length < short && length >= short {
            self.long = self.short.clone();
        }
        on(&mut self.long, length)
    }
}

impl Reading for Ours {
    fn measure(&mut self, rounds: Rounds) -> Result<Found, String> {
        if let Err(reason) = self.read(rounds.lengths, rounds.limits) {
            self.stopped = Some(reason.clone());
            return Err(reason);
        }
        let time = |context: &Context| {
            let mut context = context.clone();
            context.generate(&self.model, rounds.tokens, rounds.limits)
        };
        let round = |round: u64| {
            // The order rotates with each round.
            if round.is_multiple_of(2) {
                let before = time(&self.short)?;
                return Ok([before, time(&self.long)?]);
            }
            let after = time(&self.long)?;
            Ok([time(&self.short)?, after])
        };
        Ok(Found {
            first: self.long.seconds,
            cache: self.long.bytes(),
            tokens: (0..rounds.rounds)
                .map(round)
                .collect::<Result<_, String>>()?,
        })
    }
}

/// PyTorch, which keeps one context at a time.
pub(super) struct Torch {
    baseline: Baseline,
    config: Gpt2Config,
}

impl Torch {
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub(super) fn start(lab: &Lab) -> Result<Self, String> {
        let place = Place::new(lab.device_name(), &lab.dtype());
        let config = lab.dense().config().clone();
        let baseline = Baseline::start(lab.python(), &config, &place)?;
        // A first run loads everything that later runs need.
        torch_read(&baseline, WARM_UP)?;
        Ok(Self { baseline, config })
    }

    /// Reads a context, and generates after it in all rounds.
    fn run(&self, length: usize, rounds: Rounds) -> Result<(f64, Vec<f64>), String> {
        let seconds = torch_read(&self.baseline, length)?;
        // The process has room for this many tokens after those it has read.
        let tokens = rounds.tokens.min(GENERATED / rounds.rounds as usize);
        let token = |_| torch_generate(&self.baseline, tokens.max(1), rounds.limits);
        let tokens = (0..rounds.rounds).map(token);
        Ok((seconds, tokens.collect::<Result<_, String>>()?))
    }
}

impl Reading for Torch {
    fn measure(&mut self, rounds: Rounds) -> Result<Found, String> {
        let [short, length] = rounds.lengths;
        let (seconds, before) = self.run(short, rounds)?;
        let expected = seconds * longer(&self.config, [short, length]);
        within(expected, length, rounds.limits)?;
        let (first, after) = self.run(length, rounds)?;
        let pairs = before.into_iter().zip(after);
        Ok(Found {
            first,
            cache: torch_bytes(&self.baseline)?,
            tokens: pairs.map(|(before, after)| [before, after]).collect(),
        })
    }
}

/// The ratio of the times to read `to` and `from` tokens at once, by the operations of layers and
/// attention.
fn longer(config: &Gpt2Config, [from, to]: [usize; 2]) -> f64 {
    let (d, inner) = (config.n_embd as f64, config.inner_size() as f64);
    let of = |tokens: usize| {
        let tokens = tokens as f64;
        tokens * (4.0 * d * d + 2.0 * d * inner + tokens * d)
    };
    of(to) / of(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_made_anew_where_it_cannot_go_on() {
        struct Nobody;
        impl Reading for Nobody {
            fn measure(&mut self, _: Rounds) -> Result<Found, String> {
                Err("nothing".to_owned())
            }
        }
        let mut held = Held::default();
        let mut made = 0;
        for (id, length, expected) in [("a", 1, 1), ("a", 4, 1), ("b", 4, 2), ("b", 1, 3)] {
            let new = || {
                made += 1;
                Ok(Box::new(Nobody) as Box<dyn Reading>)
            };
            assert!(held.of(id, length, new).is_ok());
            assert_eq!(made, expected, "{id} {length}");
        }
        let none = || Err("no such arm".to_owned());
        assert_eq!(held.of("c", 1, none).err().as_deref(), Some("no such arm"));
        let never = || panic!("it is not asked again");
        assert_eq!(held.of("c", 2, never).err().as_deref(), Some("no such arm"));
    }

    #[test]
    fn attention_takes_over_in_the_end() {
        let config = Gpt2Config::default();
        let times = |to| longer(&config, [1024, to]);
        assert_eq!(times(1024), 1.0);
        assert!(times(2048) > 2.0 && times(2048) < 2.4);
        assert!(times(65_536) > 400.0);
    }
}
