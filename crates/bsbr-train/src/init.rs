//! Initial weights of a model that is trained from scratch.

use bsbr_gpt2::parameters::replace_tensors;
use bsbr_gpt2::{ConfigError, Gpt2, Gpt2Config};
use burn::tensor::{Device, TensorData};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Root mean square of a token's embedding, and of a position's, before training.
const EMBEDDING_RMS: f64 = 0.3;
/// Weight of the final norm, which makes initial logits small although embeddings are not.
const FINAL_NORM_WEIGHT: f64 = 0.15;
/// Share of the residual stream with initial positions; tokens have the rest.
const POSITION_SHARE: f64 = 1.0 / 3.0;
/// Angular frequency of the fastest position sinusoid, in radians a token.
const FASTEST: f64 = 2.0;
/// Scale of the queries and keys of the heads that start as look-back heads.
const LOOK_BACK_GAIN: f64 = 2.8;
/// Scale of the queries and keys of the heads that start as matching heads.
const MATCH_GAIN: f64 = 1.6;
/// Tokens that the narrowest neighbourhood head looks back over; each further head looks four times
/// as far.
const NARROWEST: f64 = 16.0;
/// The distance in tokens from which matching heads prefer nearer matches; the best match still
/// wins.
const MATCH_REACH: f64 = 24.0;
/// The largest share of a matching head's dimensions that encode distance.
const MATCH_DISTANCE_SHARE: f64 = 0.5;
/// Scale of the queries and keys by which heads of the later layers measure distance.
const DISTANCE_GAIN: f64 = 2.8;
/// How strongly a matching head copies what it finds, in units of an embedding.
const COPY_GAIN: f64 = 2.0;

/// A model with the initial weights of pretraining: a pure function of `config` and `seed`.
///
/// Weights are normal as in GPT-2, with four differences that let a small model retrieve text from
/// thousands of tokens ago after little training (the format stays GPT-2):
///
/// - The position table starts as sinusoids on a third of the dimensions, token embeddings on the
///   others, so that a window at a random offset trains all positions.
/// - The heads of the first layer start by looking 1, 2, 3, … tokens back: their queries are the
///   position sinusoids rotated by that distance. Each copies what it sees into its own random
///   directions.
/// - The first head of each later layer except the last starts as a matching head (an induction
///   head): it looks for tokens that were preceded by the current token, prefers matches of several
///   tokens and near matches, and copies the one it finds.
/// - The other heads of the later layers start as neighbourhood heads: they look at the last 16,
///   64, 256, … tokens. Without them a small model learns to guess from all earlier text even if
///   the last few sentences predict better.
///
/// These heads are only initial: every weight is trained.
///
/// # Errors
///
/// [`ConfigError`] if the configuration is invalid.
pub fn init(config: &Gpt2Config, seed: u64, device: &Device) -> Result<Gpt2, ConfigError> {
    // Validated first, because the construction allocates what the sizes say.
    config.validate()?;
    let construction = Construction::new(config, seed);
    let model = Gpt2::zeros(config, device)?;
    Ok(replace_tensors(model, |name, shape| {
        construction
            .tensor(name, shape)
            .map(|values| TensorData::new(values, shape.to_vec()))
    }))
}

struct Construction {
    size: usize,
    num_heads: usize,
    head_dim: usize,
    num_layers: usize,
    initializer_range: f64,
    seed: u64,
    /// Dimensions for positions; an even number.
    position_dims: usize,
    /// `[head_dim, token_dims]`, rows orthonormal: how heads read a token.
    reader: Vec<Vec<f64>>,
    /// `[head_dim, size]`, rows orthonormal: where look-back head `h` writes it.
    writers: Vec<Vec<Vec<f64>>>,
    /// `[match_dims, match_dims]`, orthonormal: distinguishes the k-th previous token from the
    /// others in a match.
    turns: Vec<Vec<Vec<f64>>>,
}

impl Construction {
    fn new(config: &Gpt2Config, seed: u64) -> Self {
        let size = config.n_embd;
        let head_dim = config.head_dim();
        let position_dims = (((size as f64 * POSITION_SHARE) as usize).max(2) / 2 * 2).min(size);
        let token_dims = size - position_dims;
        let table = |purpose: u64, rows: usize, columns: usize| {
            orthonormal_rows(&mut stream(seed, purpose), rows, columns)
        };
        let rows = head_dim.min(token_dims);
        let distance_dims = (2 * slow_pairs(position_dims, head_dim, MATCH_REACH).len())
            .min((head_dim as f64 * MATCH_DISTANCE_SHARE) as usize);
        let match_dims = rows.min(head_dim - distance_dims);
        Self {
            size,
            num_heads: config.n_head,
            head_dim,
            num_layers: config.n_layer,
            initializer_range: config.initializer_range,
            seed,
            position_dims,
            reader: table(1000, rows, token_dims),
            writers: (0..config.n_head)
                .map(|h| table(2000 + h as u64, rows, size))
                .collect(),
            turns: (0..config.n_head)
                .map(|h| table(3000 + h as u64, match_dims, match_dims))
                .collect(),
        }
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
        let purpose = name
            .bytes()
            .fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        let mut rng = stream(self.seed, purpose);
        let residual_std = self.initializer_range / (2.0 * self.num_layers as f64).sqrt();
        let values = match name {
            "wte.weight" | "lm_head.weight" => self.token_table(&mut rng, shape[0]),
            "ln_f.weight" => vec![FINAL_NORM_WEIGHT; shape.iter().product()],
            "wpe.weight" => self.position_table(shape[0]),
            _ if name.ends_with("attn.c_attn.weight") => {
                let mut values = normal(&mut rng, shape, self.initializer_range);
                self.shape_projection(layer_of(name)?, &mut values);
                values
            }
            _ if name.ends_with("attn.c_proj.weight") => {
                let mut values = normal(&mut rng, shape, residual_std);
                self.shape_output(layer_of(name)?, &mut values);
                values
            }
            _ if name.ends_with("mlp.c_proj.weight") => normal(&mut rng, shape, residual_std),
            _ if name.ends_with("mlp.c_fc.weight") => {
                normal(&mut rng, shape, self.initializer_range)
            }
            _ => return None,
        };
        Some(values.into_iter().map(|v| v as f32).collect())
    }

    fn token_table(&self, rng: &mut ChaCha8Rng, rows: usize) -> Vec<f64> {
        let mut values = normal(rng, &[rows, self.size], EMBEDDING_RMS);
        for row in values.chunks_mut(self.size) {
            row[..self.position_dims].fill(0.0);
        }
        values
    }

    fn position_table(&self, rows: usize) -> Vec<f64> {
        let amplitude = EMBEDDING_RMS * std::f64::consts::SQRT_2;
        let mut values = vec![0.0; rows * self.size];
        for (position, row) in values.chunks_mut(self.size).enumerate() {
            for pair in 0..self.position_dims / 2 {
                let angle = position as f64 * frequency(self.position_dims, pair);
                row[2 * pair] = amplitude * angle.sin();
                row[2 * pair + 1] = amplitude * angle.cos();
            }
        }
        values
    }

    /// Column of `c_attn` for part 0 (query), 1 (key) or 2 (value) of a head's dimension.
    fn column(&self, part: usize, head: usize, dim: usize) -> usize {
        part * self.size + head * self.head_dim + dim
    }

    fn is_matching(&self, layer: usize) -> bool {
        layer > 0 && layer + 1 < self.num_layers.max(3)
    }

    fn shape_projection(&self, layer: usize, weight: &mut [f64]) {
        let width = 3 * self.size;
        let clear = |weight: &mut [f64], head: usize| {
            for row in weight.chunks_mut(width) {
                for part in 0..3 {
                    let start = self.column(part, head, 0);
                    row[start..start + self.head_dim].fill(0.0);
                }
            }
        };
        if layer == 0 {
            for head in 0..self.num_heads {
                clear(weight, head);
                self.look_back(head, weight, width);
            }
            return;
        }
        let matching = usize::from(self.is_matching(layer));
        if matching > 0 {
            clear(weight, 0);
            self.matching(weight, width);
        }
        for head in matching..self.num_heads {
            let reach = NARROWEST * 4f64.powi((head - matching) as i32);
            self.prefer_near(head, reach, 0, weight, width);
        }
    }

    /// The first head compares the current token, and those from the look-back heads, with the
    /// token one further back at every earlier token.
    fn matching(&self, weight: &mut [f64], width: usize) {
        for (back, turn) in self.turns.iter().enumerate() {
            for (dim, turned) in turn.iter().enumerate() {
                for (inner, factor) in turned.iter().enumerate() {
                    let gain = MATCH_GAIN * factor;
                    let query = self.column(0, 0, dim);
                    let key = self.column(1, 0, dim);
                    match back.checked_sub(1) {
                        None => {
                            for (token_dim, value) in self.reader[inner].iter().enumerate() {
                                let row = self.position_dims + token_dim;
                                weight[row * width + query] += gain * value;
                            }
                        }
                        Some(head) => {
                            for (row, value) in self.writers[head][inner].iter().enumerate() {
                                weight[row * width + query] += gain * value;
                            }
                        }
                    }
                    for (row, value) in self.writers[back][inner].iter().enumerate() {
                        weight[row * width + key] += gain * value;
                    }
                }
            }
        }
        let match_dims = self.turns.first().map_or(0, Vec::len);
        self.prefer_near(0, MATCH_REACH, match_dims, weight, width);
        self.read_tokens(0, weight, width);
    }

    /// Head `head` prefers tokens less than `reach` back: its queries and keys, from dimension
    /// `first` on, are the position sinusoids of longer periods. The other dimensions are left to
    /// training.
    fn prefer_near(&self, head: usize, reach: f64, first: usize, weight: &mut [f64], width: usize) {
        let room = first..self.head_dim;
        let rows = slow_pairs(self.position_dims, self.head_dim, reach)
            .into_iter()
            .flat_map(|pair| [2 * pair, 2 * pair + 1]);
        for (dim, row) in room.zip(rows) {
            for part in 0..2 {
                weight[row * width + self.column(part, head, dim)] += DISTANCE_GAIN;
            }
        }
    }

    /// The values of head `head` are the reader's view of a token.
    fn read_tokens(&self, head: usize, weight: &mut [f64], width: usize) {
        for (dim, reader) in self.reader.iter().enumerate() {
            for (token_dim, value) in reader.iter().enumerate() {
                let row = self.position_dims + token_dim;
                weight[row * width + self.column(2, head, dim)] = *value;
            }
        }
    }

    /// Head `head` of the first layer looks `head + 1` tokens back and reads that token.
    fn look_back(&self, head: usize, weight: &mut [f64], width: usize) {
        let distance = (head + 1) as f64;
        for pair in 0..(self.head_dim / 2).min(self.position_dims / 2) {
            // sin(a − ωδ) = sin a cos ωδ − cos a sin ωδ; cos(a − ωδ) = cos a cos ωδ + sin a sin ωδ.
            let (sin, cos) = (frequency(self.position_dims, pair) * distance).sin_cos();
            let (row_sin, row_cos) = (2 * pair * width, (2 * pair + 1) * width);
            let query = |dim: usize| self.column(0, head, 2 * pair + dim);
            let key = |dim: usize| self.column(1, head, 2 * pair + dim);
            weight[row_sin + query(0)] = LOOK_BACK_GAIN * cos;
            weight[row_cos + query(0)] = -LOOK_BACK_GAIN * sin;
            weight[row_sin + query(1)] = LOOK_BACK_GAIN * sin;
            weight[row_cos + query(1)] = LOOK_BACK_GAIN * cos;
            weight[row_sin + key(0)] = LOOK_BACK_GAIN;
            weight[row_cos + key(1)] = LOOK_BACK_GAIN;
        }
        self.read_tokens(head, weight, width);
    }

    fn shape_output(&self, layer: usize, weight: &mut [f64]) {
        let heads = match layer {
            0 => self.num_heads,
            _ if self.is_matching(layer) => 1,
            _ => 0,
        };
        for head in 0..heads {
            let rows = &mut weight
                [head * self.head_dim * self.size..(head + 1) * self.head_dim * self.size];
            rows.fill(0.0);
            if layer == 0 {
                for (row, writer) in rows.chunks_mut(self.size).zip(&self.writers[head]) {
                    for (value, direction) in row.iter_mut().zip(writer) {
                        *value = EMBEDDING_RMS * direction;
                    }
                }
            } else {
                for (row, reader) in rows.chunks_mut(self.size).zip(&self.reader) {
                    for (value, direction) in row[self.position_dims..].iter_mut().zip(reader) {
                        *value = COPY_GAIN * EMBEDDING_RMS * direction;
                    }
                }
            }
        }
    }
}

/// Angular frequency of position sinusoid `pair`, in radians a token.
fn frequency(position_dims: usize, pair: usize) -> f64 {
    let pairs = (position_dims / 2).max(2);
    let slowest = std::f64::consts::PI / 8192.0;
    FASTEST * (slowest / FASTEST).powf(pair as f64 / (pairs - 1) as f64)
}

/// Position sinusoids that fit into a head and turn by less than one radian in `reach` tokens.
fn slow_pairs(position_dims: usize, head_dim: usize, reach: f64) -> Vec<usize> {
    (0..(head_dim / 2).min(position_dims / 2))
        .filter(|&pair| frequency(position_dims, pair) <= 1.0 / reach)
        .collect()
}

fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("h.")?.split('.').next()?.parse().ok()
}

fn stream(seed: u64, purpose: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose);
    rng
}

/// Standard normal by Box and Muller, so that the weights depend only on the generator.
fn gaussian(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}

fn normal(rng: &mut ChaCha8Rng, shape: &[usize], std: f64) -> Vec<f64> {
    (0..shape.iter().product())
        .map(|_| std * gaussian(rng))
        .collect()
}

/// Random orthonormal rows, by Gram and Schmidt.
fn orthonormal_rows(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(rows);
    while basis.len() < rows.min(columns) {
        let mut row: Vec<f64> = (0..columns).map(|_| gaussian(rng)).collect();
        for other in &basis {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            for (a, b) in row.iter_mut().zip(other) {
                *a -= along * b;
            }
        }
        let norm = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        if norm > 1e-6 {
            basis.push(row.into_iter().map(|a| a / norm).collect());
        }
    }
    basis
}
