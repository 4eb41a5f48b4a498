//! The text that a row has read, kept from one length to the next.

use bsbr_attention::ArmConfig;
use bsbr_gpt2::{Gpt2, Gpt2Config};

use crate::bench::decode::GENERATED;
use crate::bench::floor::{Floor, attention_operations};
use crate::corpus::random;
use crate::decoding::{Context, Limits, torch_generate, within};
use crate::engines::{Engine, Kind, Process};
use crate::lab::Lab;

/// The number of tokens that allocates everything that reading needs.
const WARM_UP: usize = 16;

/// A reader, or why there is none.
pub(super) type Made = Result<Box<dyn Reader>, String>;

/// The id of the current row, the tokens that it has read, and its reader.
#[derive(Debug, Default)]
pub struct ReaderCache(Option<(String, usize, Made)>);

impl ReaderCache {
    /// The row `id`; a new one if the current row is another or has read more.
    pub(super) fn of(
        &mut self,
        id: &str,
        length: usize,
        new: impl FnOnce() -> Made,
    ) -> Result<&mut dyn Reader, String> {
        // Another row is dropped first: two long contexts may not fit into memory together.
        let current = self.0.take();
        let current = current.filter(|(known, read, _)| known == id && *read <= length);
        let reader = current.map_or_else(new, |(.., reader)| reader);
        match &mut self.0.insert((id.to_owned(), length, reader)).2 {
            Ok(reader) => Ok(reader.as_mut()),
            Err(reason) => Err(reason.clone()),
        }
    }
}

/// The measurements after a context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
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
pub(super) struct Timings {
    /// Seconds to read it, up to the first generated token.
    pub(super) first: f64,
    /// Size of its cache, in bytes.
    pub(super) cache: f64,
    /// Mean seconds per token after the short context and after this one, by round.
    pub(super) tokens: Vec<[f64; 2]>,
}

/// A case that reads and generates.
pub(super) trait Reader: std::fmt::Debug {
    /// Reads a context, and generates after it and after the short one.
    fn measure(&mut self, schedule: Schedule) -> Result<Timings, String>;
}

/// One of our models.
#[derive(Debug)]
pub(super) struct ModelReader {
    model: Gpt2,
    seed: u64,
    piece: usize,
    short: Context,
    long: Context,
    /// Why it stopped reading.
    stopped: Option<String>,
}

impl ModelReader {
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

impl Reader for ModelReader {
    fn measure(&mut self, schedule: Schedule) -> Result<Timings, String> {
        if let Err(reason) = self.read(schedule.lengths, schedule.limits) {
            self.stopped = Some(reason.clone());
            return Err(reason);
        }
        let contexts = [&self.short, &self.long];
        let round = |round: u64| {
            // The order rotates with each round.
            let first = (round % 2) as usize;
            let mut seconds = [0.0; 2];
            for place in [first, 1 - first] {
                let mut context = contexts[place].clone();
                seconds[place] = context.generate(&self.model, schedule.tokens, schedule.limits)?;
            }
            Ok(seconds)
        };
        let tokens: Result<_, String> = (0..schedule.rounds).map(round).collect();
        Ok(Timings {
            first: self.long.seconds,
            cache: self.long.bytes(),
            tokens: tokens?,
        })
    }
}

/// PyTorch, which keeps one context at a time.
#[derive(Debug)]
pub(super) struct Torch {
    process: Process,
    config: Gpt2Config,
}

impl Torch {
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub(super) fn start(lab: &Lab) -> Result<Self, String> {
        let config = lab.dense().config();
        let process = Engine::torch(lab)?;
        // A first run loads everything that later runs need.
        process.ask(Kind::Sdpa.word(), "read", WARM_UP)?;
        Ok(Self { process, config })
    }

    /// Reads a context, and generates after it in all rounds.
    fn run(&self, length: usize, schedule: Schedule) -> Result<(f64, Vec<f64>), String> {
        let seconds = self.process.ask(Kind::Sdpa.word(), "read", length)?;
        // The process has room for this many tokens after those it has read.
        let tokens = schedule.tokens.min(GENERATED / schedule.rounds as usize);
        let token = |_| torch_generate(&self.process, tokens.max(1), schedule.limits);
        let tokens = (0..schedule.rounds).map(token);
        Ok((seconds, tokens.collect::<Result<_, String>>()?))
    }
}

impl Reader for Torch {
    fn measure(&mut self, schedule: Schedule) -> Result<Timings, String> {
        let [short, length] = schedule.lengths;
        let (seconds, before) = self.run(short, schedule)?;
        let expected = seconds * longer(&self.config, [short, length]);
        within(expected, length, schedule.limits)?;
        let (first, after) = self.run(length, schedule)?;
        let pairs = before.into_iter().zip(after);
        Ok(Timings {
            first,
            cache: self.process.ask(Kind::Sdpa.word(), "cache", 0)?,
            tokens: pairs.map(|(before, after)| [before, after]).collect(),
        })
    }
}

/// The ratio of the times to read `to` and `from` tokens at once, by their operations.
fn longer(config: &Gpt2Config, lengths: [usize; 2]) -> f64 {
    let [from, to] = lengths.map(|tokens| {
        let attention = attention_operations(config, &ArmConfig::DENSE, tokens);
        Floor::of(config, tokens, size_of::<f32>()).operations + config.n_layer as f64 * attention
    });
    to / from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_made_anew_where_it_cannot_go_on() {
        #[derive(Debug)]
        struct Nobody;
        impl Reader for Nobody {
            fn measure(&mut self, _: Schedule) -> Result<Timings, String> {
                Err("nothing".to_owned())
            }
        }
        let mut held = ReaderCache::default();
        let mut made = 0;
        for (id, length, expected) in [("a", 1, 1), ("a", 4, 1), ("b", 4, 2), ("b", 1, 3)] {
            let new = || {
                made += 1;
                Ok(Box::new(Nobody) as Box<dyn Reader>)
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
