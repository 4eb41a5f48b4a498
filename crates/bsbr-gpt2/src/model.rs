//! The whole model.

use bsbr_attention::{ArmConfig, Padding};
use bsbr_kernels::PackedActivation;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::batch::TokenBatch;
use crate::block::Block;
use crate::config::{Gpt2Config, MAX_SIZE};
use crate::error::{ConfigError, InputError};
use crate::layers::{Embedding, LayerNorm, lazy_zeros};
use crate::packing::Packing;
use crate::position::{Mix, PositionExtension};
use crate::spans::within;

/// The output layer of a model that is not tied to `wte`.
#[derive(Module, Debug)]
pub struct LmHead {
    /// `[V, n_embd]`, as Hugging Face stores it.
    pub weight: Param<Tensor<2>>,
}

/// GPT-2, with any arm in any layer.
///
/// The path of each parameter is its Hugging Face key without the
/// `transformer.` prefix; an arm's own parameters are `h.N.attn.bsbr.*`.
#[derive(Module, Debug)]
pub struct Gpt2 {
    /// Token embeddings. `[V, n_embd]`
    pub wte: Embedding,
    /// Position embeddings. `[n_positions, n_embd]`
    pub wpe: Embedding,
    /// The blocks.
    pub h: Vec<Block>,
    /// Norm after the last block.
    pub ln_f: LayerNorm,
    /// The output layer, if it is not tied to `wte`.
    pub lm_head: Option<LmHead>,
    pub(crate) head_packing: Packing,
    /// The configuration without the arms, which the blocks hold.
    #[module(skip)]
    pub(crate) base: Gpt2Config,
    #[module(skip)]
    extension: PositionExtension,
}

impl Gpt2 {
    /// A model of the given shape with weights of zero, for loading or initialisation.
    ///
    /// A weight is allocated only when it is first used or replaced.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration is invalid.
    pub fn zeros(config: &Gpt2Config, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            wte: Embedding::zeros(config.vocab_size, config.n_embd, device),
            wpe: Embedding::zeros(config.n_positions, config.n_embd, device),
            h: (0..config.n_layer)
                .map(|layer| Block::new(config, layer, device))
                .collect::<Result<_, _>>()?,
            ln_f: LayerNorm::new(config.n_embd, config.layer_norm_epsilon, device),
            lm_head: (!config.tie_word_embeddings).then(|| LmHead {
                weight: lazy_zeros([config.vocab_size, config.n_embd], device),
            }),
            head_packing: Packing::default(),
            base: config.clone().without_arms(),
            extension: PositionExtension::None,
        })
    }

    /// The model with embeddings of positions beyond `n_positions` defined by `extension`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Extension`] if a setting is out of bounds.
    pub fn with_position_extension(
        mut self,
        extension: PositionExtension,
    ) -> Result<Self, ConfigError> {
        extension.validate(self.base.n_positions)?;
        self.extension = extension;
        Ok(self)
    }

    /// The model with learned parameters in its layers of the moments arm; initially they change
    /// nothing. Other layers are unchanged.
    pub fn with_learned_retrieval(mut self) -> Self {
        for block in &mut self.h {
            let attention = &mut block.attn;
            let weight = attention.c_attn.weight.val().detach();
            let bias = attention.c_attn.bias.val().detach();
            let heads = self.base.n_head;
            attention.bsbr = attention.bsbr.clone().with_learned(heads, weight, bias);
        }
        self
    }

    /// The source of embeddings of positions beyond `n_positions`.
    pub fn position_extension(&self) -> PositionExtension {
        self.extension
    }

    /// The maximum number of tokens of a sequence, or `None` for no limit.
    pub fn max_positions(&self) -> Option<usize> {
        self.extension.limit(self.base.n_positions)
    }

    /// The model's configuration, with the arms of its blocks.
    pub fn config(&self) -> Gpt2Config {
        let base = self.base.clone();
        let dense = self.arms().all(|arm| *arm == ArmConfig::DENSE);
        match base.bsbr.is_none() && dense {
            true => base,
            false => base.with_arms(self.arms().cloned().collect()),
        }
    }

    /// The arm of each block.
    pub fn arms(&self) -> impl Iterator<Item = &ArmConfig> {
        self.h.iter().map(|block| block.attn.bsbr.config())
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.ln_f.weight.val().device()
    }

    /// Checks that the model can take `batch` after `past` tokens.
    ///
    /// # Errors
    ///
    /// [`InputError`] names the token or the length that the model cannot take.
    pub fn check(&self, batch: &TokenBatch, past: usize) -> Result<(), InputError> {
        batch.check_vocabulary(self.base.vocab_size)?;
        self.check_length(past.saturating_add(batch.longest()))
    }

    /// Checks that the model can take `batch` with its tokens at `positions`, row by row.
    ///
    /// # Errors
    ///
    /// [`InputError`] names the token, the position or the number of positions that the model
    /// cannot take.
    pub fn check_at(&self, batch: &TokenBatch, positions: &[usize]) -> Result<(), InputError> {
        batch.check_vocabulary(self.base.vocab_size)?;
        let expected = batch.batch_size() * batch.seq_len();
        if positions.len() != expected {
            return Err(InputError::Positions {
                found: positions.len(),
                expected,
            });
        }
        let last = positions.iter().max().copied().unwrap_or(0);
        self.check_length(last.saturating_add(1))
    }

    pub(crate) fn check_length(&self, seq_len: usize) -> Result<(), InputError> {
        match self.max_positions() {
            Some(n_positions) if seq_len > n_positions => Err(InputError::TooLong {
                seq_len,
                n_positions,
            }),
            _ => Ok(()),
        }
    }

    /// Token plus position embeddings; each row's positions start at its first real token, plus
    /// `offset`. [`Self::check`] tells whether all positions have embeddings.
    ///
    /// # Shapes
    ///
    /// - output: `[B, N, n_embd]`
    pub fn embed(&self, batch: &TokenBatch, offset: usize) -> Tensor<3> {
        self.embed_after(batch, |_| offset)
    }

    /// Same as [`Self::embed`], after `past(row)` tokens of each row.
    pub(crate) fn embed_after(
        &self,
        batch: &TokenBatch,
        past: impl Fn(usize) -> usize,
    ) -> Tensor<3> {
        let positions: Vec<usize> = (0..batch.batch_size())
            .flat_map(|row| {
                let (past, left) = (past(row), batch.padding().of_row(row));
                (0..batch.seq_len()).map(move |i| past + i.saturating_sub(left))
            })
            .collect();
        self.embed_at(batch, &positions)
    }

    /// Token plus position embeddings, with a position for each token of the batch, row by row.
    /// [`Self::check_at`] tells whether all positions have embeddings.
    ///
    /// # Shapes
    ///
    /// - positions: B·N
    /// - output: `[B, N, n_embd]`
    pub fn embed_at(&self, batch: &TokenBatch, positions: &[usize]) -> Tensor<3> {
        let shape = [batch.batch_size(), batch.seq_len(), self.base.n_embd];
        let positions = self.position_rows(positions).reshape(shape);
        self.wte.forward(batch.to_tensor(&self.device())) + positions
    }

    /// The embeddings of positions. `[positions, n_embd]`
    fn position_rows(&self, positions: &[usize]) -> Tensor<2> {
        let device = self.device();
        let n_positions = self.base.n_positions;
        let mixes: Vec<Mix> = positions
            .iter()
            .map(|position| self.extension.mix(*position, n_positions))
            .collect();
        let part = |number: usize| {
            let rows: Vec<i32> = mixes.iter().map(|mix| mix[number].0 as i32).collect();
            let rows = TensorData::new(rows, [1, mixes.len()]);
            let rows: Tensor<3> = self.wpe.forward(Tensor::from_data(rows, &device));
            rows.squeeze_dim::<2>(0)
        };
        let is_row = |mix: &Mix| mix[0].1 == 1.0 && mix[1].1 == 0.0 && mix[2].1 == 0.0;
        if mixes.iter().all(is_row) {
            return part(0);
        }
        let weighted = |number: usize| {
            let weights: Vec<f32> = mixes.iter().map(|mix| mix[number].1).collect();
            let rows = part(number);
            let data = TensorData::new(weights, [mixes.len(), 1]);
            let weights = Tensor::<2>::from_data(data, (&device, rows.dtype()));
            rows * weights
        };
        weighted(0) + weighted(1) + weighted(2)
    }

    /// The model with a table of `positions` rows; `extension` gives the new rows. Afterwards the
    /// model needs no extension, and its configuration has the new number of positions.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the extension is invalid, cannot give so many rows, or was applied
    /// before.
    pub fn extended(
        self,
        positions: usize,
        extension: PositionExtension,
    ) -> Result<Self, ConfigError> {
        let trained = self.base.n_positions;
        if let Some(before) = self.base.extended_positions() {
            return Err(ConfigError::Contradiction {
                message: format!(
                    "the table has {trained} positions, of which only {} were trained; extend the \
                     original model instead",
                    before.trained
                ),
            });
        }
        let max = extension.limit(trained).unwrap_or(MAX_SIZE).min(MAX_SIZE);
        if !(trained..=max).contains(&positions) {
            return Err(ConfigError::Extension {
                setting: "positions",
                found: positions,
                min: trained,
                max,
            });
        }
        let config = self.config().extended(positions, extension);
        config.validate()?;
        let mut model = self.with_position_extension(extension)?;
        let rows: Vec<usize> = (0..positions).collect();
        let table = model.position_rows(&rows).detach();
        model.wpe.weight = Param::from_tensor(table);
        model.base = config.without_arms();
        model.extension = PositionExtension::None;
        Ok(model)
    }

    /// The model with all positions marked as trained in its configuration.
    pub fn with_trained_positions(mut self) -> Self {
        self.base = self.base.with_trained_positions();
        self
    }

    /// Hidden states after the final norm.
    ///
    /// # Shapes
    ///
    /// - output: `[B, N, n_embd]`
    ///
    /// # Errors
    ///
    /// [`InputError`] if the model cannot take the batch.
    pub fn hidden_states(&self, batch: &TokenBatch) -> Result<Tensor<3>, InputError> {
        self.check(batch, 0)?;
        let x = within!("embedding", self.embed(batch, 0));
        let x = self.blocks(x, batch.padding());
        Ok(within!("layer norm", self.ln_f.forward(x)))
    }

    /// Every hidden state as `transformers` returns it: the embeddings, the residual stream after
    /// each block but the last, and the final norm's output.
    ///
    /// # Shapes
    ///
    /// - output: `n_layer + 1` of `[B, N, n_embd]`
    ///
    /// # Errors
    ///
    /// [`InputError`] if the model cannot take the batch.
    pub fn all_hidden_states(&self, batch: &TokenBatch) -> Result<Vec<Tensor<3>>, InputError> {
        self.check(batch, 0)?;
        let mut states = vec![self.embed(batch, 0)];
        let mut x = states[0].clone();
        for (layer, block) in self.h.iter().enumerate() {
            x = block.forward(x, batch.padding());
            if layer + 1 == self.h.len() {
                states.push(self.ln_f.forward(x.clone()));
            } else {
                states.push(x.clone());
            }
        }
        Ok(states)
    }

    /// Next-token logits from hidden states after the final norm.
    ///
    /// # Shapes
    ///
    /// - hidden_states: `[B, N, n_embd]`
    /// - output: `[B, N, V]`
    pub fn logits(&self, hidden_states: Tensor<3>) -> Tensor<3> {
        let [batch, seq_len, size] = hidden_states.dims();
        let rows = hidden_states.reshape([batch * seq_len, size]);
        let logits = self.logits_of_rows(rows);
        let vocab_size = logits.dims()[1];
        logits.reshape([batch, seq_len, vocab_size])
    }

    /// Next-token logits of only each row's last token.
    ///
    /// # Shapes
    ///
    /// - hidden_states: `[B, N, n_embd]`, after the final norm
    /// - output: `[B, V]`
    pub fn last_logits(&self, hidden_states: Tensor<3>) -> Tensor<2> {
        let [batch, seq_len, size] = hidden_states.dims();
        let last = hidden_states
            .narrow(1, seq_len.saturating_sub(1), 1)
            .reshape([batch, size]);
        within!("head", self.logits_of_rows(last))
    }

    fn logits_of_rows(&self, rows: Tensor<2>) -> Tensor<2> {
        let packed = self.head_packing.forward(&rows, PackedActivation::Identity);
        packed.unwrap_or_else(|| bsbr_kernels::mixed_matmul(rows, self.output_table().transpose()))
    }

    /// The weights of the output layer: `lm_head`, or `wte` if tied.
    ///
    /// # Shapes
    ///
    /// - output: `[V, n_embd]`
    pub fn output_table(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.wte.weight.val(),
        }
    }

    /// The residual stream after all blocks, before the final norm.
    ///
    /// # Shapes
    ///
    /// - x and output: `[B, N, n_embd]`
    pub fn blocks(&self, x: Tensor<3>, padding: &Padding) -> Tensor<3> {
        self.h.iter().fold(x, |x, block| block.forward(x, padding))
    }
}
