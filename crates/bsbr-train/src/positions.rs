//! The positions of a micro-batch's windows in a model's position table.

use bsbr_gpt2::{Gpt2, InputError, TokenBatch};
use burn::tensor::Tensor;
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Positions of the tokens of a micro-batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Positions {
    /// Each window starts here and has no gaps.
    From(usize),
    /// A position for each token, row by row.
    Each(Vec<usize>),
}

impl Positions {
    /// Windows of `window` tokens at a random offset in a table of `n_positions`: a pure function
    /// of the seed, the step and the micro-batch.
    pub fn random_offset(
        seed: u64,
        step: u64,
        micro: u64,
        n_positions: usize,
        window: usize,
    ) -> Self {
        let mut rng = of_step(seed, step);
        rng.set_word_pos(u128::from(micro) * 16);
        let room = n_positions.saturating_sub(window) as u64;
        Self::From(rng.random_range(0..=room) as usize)
    }

    /// `[rows, window]` tokens spread over a table of `n_positions`: each row is divided into
    /// `chunks`, the first at the start of the table and each other one a random number of
    /// positions after the previous one. Also a pure function.
    pub fn skipping(
        seed: u64,
        step: u64,
        micro: u64,
        [rows, window]: [usize; 2],
        n_positions: usize,
        chunks: usize,
    ) -> Self {
        let mut rng = of_step(seed, step);
        // A range of random numbers for each micro-batch, after those of offsets.
        rng.set_word_pos((u128::from(micro) + 1) << 40);
        let room = n_positions.saturating_sub(window) as u64;
        let gaps = chunks.min(window).saturating_sub(1);
        let mut positions = Vec::with_capacity(rows * window);
        for _ in 0..rows {
            let mut starts = sample(&mut rng, window.saturating_sub(1), gaps).into_vec();
            let mut skipped: Vec<u64> = (0..gaps).map(|_| rng.random_range(0..=room)).collect();
            starts.sort_unstable();
            skipped.sort_unstable();
            positions.extend((0..window).map(|i| {
                // Chunks start after these places.
                let before = starts.partition_point(|start| *start < i);
                i + before.checked_sub(1).map_or(0, |gap| skipped[gap] as usize)
            }));
        }
        Self::Each(positions)
    }

    /// The same without gaps: windows that had gaps start at position 0.
    pub fn without_skips(&self) -> Self {
        match self {
            Self::From(offset) => Self::From(*offset),
            Self::Each(_) => Self::From(0),
        }
    }

    /// Checks that `model` can take `batch` at these positions.
    pub fn check(&self, model: &Gpt2, batch: &TokenBatch) -> Result<(), InputError> {
        match self {
            Self::From(offset) => model.check(batch, *offset),
            Self::Each(positions) => model.check_at(batch, positions),
        }
    }

    /// Token plus position embeddings. `[B, N, n_embd]`
    pub fn embed(&self, model: &Gpt2, batch: &TokenBatch) -> Tensor<3> {
        match self {
            Self::From(offset) => model.embed(batch, *offset),
            Self::Each(positions) => model.embed_at(batch, positions),
        }
    }
}

fn of_step(seed: u64, step: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(step);
    rng
}

#[cfg(test)]
mod tests {
    use bsbr_data::stream::TrainWindow;
    use bsbr_gpt2::Gpt2Config;
    use burn::tensor::Device;

    use super::*;
    use crate::batch::language_modelling;
    use crate::init::init;

    fn drawn(positions: Positions) -> Vec<usize> {
        match positions {
            Positions::Each(all) => all,
            Positions::From(offset) => vec![offset],
        }
    }

    #[test]
    fn windows_with_gaps_keep_their_order_and_stay_within_the_table() {
        let (rows, window, table) = (3, 20, 100);
        let mut reached = vec![false; table];
        for step in 0..200 {
            for chunks in [2, 3, 20, 50] {
                let all = drawn(Positions::skipping(
                    7,
                    step,
                    1,
                    [rows, window],
                    table,
                    chunks,
                ));
                assert_eq!(all.len(), rows * window);
                for row in all.chunks(window) {
                    assert_eq!(row[0], 0);
                    assert!(row.is_sorted_by(|a, b| a < b), "{row:?}");
                    let gaps = row.windows(2).filter(|pair| pair[1] - pair[0] > 1);
                    assert!(gaps.count() < chunks);
                    row.iter().for_each(|at| reached[*at] = true);
                }
            }
        }
        assert!(reached.iter().all(|reached| *reached));
    }

    /// A window whose positions have no gaps trains like one at the start of the table.
    #[test]
    fn windows_without_gaps_are_ordinary_ones() {
        let config = Gpt2Config {
            vocab_size: 16,
            n_positions: 12,
            n_embd: 16,
            n_layer: 1,
            n_head: 2,
            bos_token_id: None,
            eos_token_id: None,
            ..Gpt2Config::default()
        };
        let model = init(&config, 3, &Device::default().autodiff()).unwrap();
        let windows = [0, 5].map(|row| TrainWindow {
            ids: (0..9).map(|i| (i * i + row) % 16).collect(),
            weights: vec![1.0; 8],
        });
        let of = |positions: Positions| {
            let (grads, losses) =
                language_modelling(&model, &windows, &positions, 16.0, false).unwrap();
            let table = grads.get::<2>(model.wpe.weight.id).unwrap();
            (
                losses.value,
                table.into_data().iter::<f32>().collect::<Vec<_>>(),
            )
        };
        let ordinary = of(Positions::From(0));
        assert_eq!(of(Positions::skipping(1, 2, 3, [2, 8], 12, 1)), ordinary);
        // The same windows with gaps have other gradients, in other rows.
        let (loss, table) = of(Positions::Each([0, 1, 2, 3, 8, 9, 10, 11].repeat(2)));
        assert_ne!(loss, ordinary.0);
        assert!(table[4 * 16..8 * 16].iter().all(|value| *value == 0.0));
        assert!(table[8 * 16..].iter().any(|value| *value != 0.0));
    }

    #[test]
    fn positions_are_a_function_of_seed_step_and_micro_batch() {
        let at = |seed, step, micro| Positions::skipping(seed, step, micro, [2, 32], 500, 4);
        assert_eq!(at(1, 2, 3), at(1, 2, 3));
        for other in [at(0, 2, 3), at(1, 3, 3), at(1, 2, 4)] {
            assert_ne!(at(1, 2, 3), other);
        }
        let [first, second] = [0, 32].map(|from| drawn(at(1, 2, 3))[from..from + 32].to_vec());
        assert_ne!(first, second, "each row has chunks of its own");
    }

    #[test]
    fn a_table_without_room_and_one_chunk_leave_windows_whole() {
        let whole: Vec<usize> = (0..16).collect();
        for (table, chunks) in [(16, 4), (100, 1), (100, 0)] {
            assert_eq!(
                drawn(Positions::skipping(1, 2, 3, [1, 16], table, chunks)),
                whole
            );
        }
        let one = drawn(Positions::skipping(1, 2, 3, [2, 1], 100, 4));
        assert_eq!(one, [0, 0], "windows of one token");
    }
}
