//! A transformer block: attention and feed-forward layer, each after a layer norm.

use bsbr_attention::{ArmConfig, Attention, AttentionInput, Padding};
use bsbr_kernels::PackedActivation;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};

use crate::config::{Activation, Gpt2Config};
use crate::error::ConfigError;
use crate::layers::{Conv1d, LayerNorm, stays_half};
use crate::spans::within;

/// Tokens whose inner activations a feed-forward layer holds at once. These activations are four
/// times as wide as the residual stream, and would dominate the memory of a forward pass. More rows
/// do not speed up the matrix product.
const SLAB: usize = 1024;

/// The same on a GPU, where more rows speed up matrix products.
const GPU_SLAB: usize = 16_384;

/// A block's attention: projections around an arm.
#[derive(Module, Debug)]
pub struct Gpt2Attention {
    /// Query, key and value projections side by side. `[n_embd, 3·n_embd]`
    pub c_attn: Conv1d,
    /// Output projection. `[n_embd, n_embd]`
    pub c_proj: Conv1d,
    /// The arm, with its own parameters.
    pub bsbr: Attention,
    #[module(skip)]
    num_heads: usize,
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    upcast: bool,
}

impl Gpt2Attention {
    fn new(config: &Gpt2Config, layer: usize, device: &Device) -> Result<Self, ConfigError> {
        let size = config.n_embd;
        let bsbr = Attention::new(config.arm(layer), config.head_shape(), device)
            .map_err(|source| ConfigError::Arm { layer, source })?;
        Ok(Self {
            c_attn: Conv1d::zeros(size, 3 * size, device),
            c_proj: Conv1d::zeros(size, size, device),
            bsbr,
            num_heads: config.n_head,
            scale: config.attention_scale(layer),
            upcast: config.reorder_and_upcast_attn,
        })
    }

    /// The arm's input, projected from the attention input. Queries, keys and values of a
    /// half-precision model are f32 if `reorder_and_upcast_attn` is set.
    ///
    /// # Shapes
    ///
    /// - hidden_states: `[B, N, n_embd]`, after `ln_1`
    pub fn project(&self, hidden_states: Tensor<3>, padding: &Padding) -> AttentionInput {
        let [batch, seq_len, size] = hidden_states.dims();
        let [query, key, value] = {
            let qkv = within!("qkv", self.c_attn.forward(hidden_states.clone()));
            let heads = [batch, seq_len, 3 * self.num_heads, size / self.num_heads];
            // Splitting by heads gives views, splitting by features copies.
            let heads = self.upcast(qkv).reshape(heads).swap_dims(1, 2);
            [0, 1, 2].map(|part| {
                heads
                    .clone()
                    .narrow(1, part * self.num_heads, self.num_heads)
            })
        };
        AttentionInput {
            query,
            key,
            value,
            hidden_states,
            scale: self.scale,
            padding: padding.clone(),
        }
    }

    /// The output projection of the heads' outputs.
    ///
    /// # Shapes
    ///
    /// - heads: `[B, H, N, D]`
    /// - output: `[B, N, n_embd]`
    pub fn merge(&self, heads: Tensor<4>) -> Tensor<3> {
        let [batch, num_heads, seq_len, head_dim] = heads.dims();
        // Unused weights need not exist in floating point.
        let weight = self.upcast.then(|| self.c_proj.weight.val());
        let heads = match weight.filter(|weight| !stays_half(weight)) {
            Some(weight) => heads.cast(weight.dtype()),
            None => heads,
        };
        let merged = [batch, seq_len, num_heads * head_dim];
        let heads = heads.swap_dims(1, 2).reshape(merged);
        within!("attention projection", self.c_proj.forward(heads))
    }
}

impl Gpt2Attention {
    /// Whether queries, keys and values can stay packed: only for dense attention from the first
    /// token of each row on. Half precision has no kernel for it.
    fn stays_packed(&self, dtype: DType, padding: &Padding) -> bool {
        *self.bsbr.config() == ArmConfig::DENSE && dtype == DType::F32 && padding.is_none()
    }

    /// Dense attention with both projections; equals [`Self::project`], [`Attention::forward`] and
    /// [`Self::merge`] in turn.
    ///
    /// # Shapes
    ///
    /// - hidden_states and output: `[B, N, n_embd]`
    fn forward_packed(&self, hidden_states: Tensor<3>) -> Tensor<3> {
        let qkv = within!("qkv", self.c_attn.forward(hidden_states));
        let heads = within!(
            "attention",
            bsbr_kernels::causal_attention_packed(qkv, self.num_heads, self.scale)
        );
        within!("attention projection", self.c_proj.forward(heads))
    }

    fn upcast(&self, x: Tensor<3>) -> Tensor<3> {
        match (self.upcast, x.dtype()) {
            (true, DType::F16 | DType::BF16) => x.cast(DType::F32),
            _ => x,
        }
    }
}

/// A block's feed-forward layer.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[n_embd, n_inner]`
    pub c_fc: Conv1d,
    /// `[n_inner, n_embd]`
    pub c_proj: Conv1d,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    fn new(config: &Gpt2Config, device: &Device) -> Self {
        Self {
            c_fc: Conv1d::zeros(config.n_embd, config.inner_size(), device),
            c_proj: Conv1d::zeros(config.inner_size(), config.n_embd, device),
            activation: config.activation_function,
        }
    }

    /// Without a backward pass, only the inner activations of a slab of tokens are held at once.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq_len, size] = x.dims();
        let rows = batch * seq_len;
        let slab_rows = match bsbr_kernels::is_gpu(&x.device()) {
            true => GPU_SLAB,
            false => SLAB,
        };
        if x.is_autodiff() || rows <= slab_rows {
            return self.all_at_once(x);
        }
        let flat = x.reshape([1, rows, size]);
        let slabs = (0..rows).step_by(slab_rows).map(|from| {
            let slab = flat.clone().narrow(1, from, slab_rows.min(rows - from));
            self.all_at_once(slab)
        });
        Tensor::cat(slabs.collect(), 1).reshape([batch, seq_len, size])
    }

    fn all_at_once(&self, x: Tensor<3>) -> Tensor<3> {
        let shape = self.c_fc.output_shape(&x);
        let rows = Conv1d::rows(x);
        let x = self.packed_inner(&rows).unwrap_or_else(|| {
            let x = within!("feed-forward in", self.c_fc.product(rows));
            within!("activation", self.activate(x))
        });
        within!("feed-forward out", self.c_proj.forward(x.reshape(shape)))
    }

    /// Output of the first layer and the activation, if that layer is packed.
    fn packed_inner(&self, rows: &Tensor<2>) -> Option<Tensor<2>> {
        let fused = match self.activation {
            Activation::GeluNew => PackedActivation::GeluNew,
            _ => PackedActivation::Identity,
        };
        let x = within!("feed-forward in", self.c_fc.packing.forward(rows, fused))?;
        Some(match self.activation {
            Activation::GeluNew => x,
            _ => within!("activation", self.activation.of(x)),
        })
    }

    /// Adds the bias to the first layer's product and applies the activation.
    fn activate(&self, product: Tensor<2>) -> Tensor<2> {
        let bias = self.c_fc.bias_like(&product);
        match self.activation {
            Activation::GeluNew => bsbr_kernels::add_bias_gelu(product, bias),
            activation => activation.of(bsbr_kernels::add_bias(product, bias)),
        }
    }
}

impl Activation {
    fn of(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::GeluNew => bsbr_kernels::gelu_new(x),
            Self::Gelu => activation::gelu(x),
            Self::Relu => activation::relu(x),
            Self::Silu => activation::silu(x),
            Self::Tanh => activation::tanh(x),
        }
    }
}

/// A transformer block.
#[derive(Module, Debug)]
pub struct Block {
    /// Before the attention.
    pub ln_1: LayerNorm,
    /// The attention.
    pub attn: Gpt2Attention,
    /// Before the feed-forward layer.
    pub ln_2: LayerNorm,
    /// The feed-forward layer.
    pub mlp: Mlp,
}

impl Block {
    pub(crate) fn new(
        config: &Gpt2Config,
        layer: usize,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        let norm = || LayerNorm::new(config.n_embd, config.layer_norm_epsilon, device);
        Ok(Self {
            ln_1: norm(),
            attn: Gpt2Attention::new(config, layer, device)?,
            ln_2: norm(),
            mlp: Mlp::new(config, device),
        })
    }

    /// The residual stream after this block.
    ///
    /// # Shapes
    ///
    /// - x and output: `[B, N, n_embd]`
    pub fn forward(&self, x: Tensor<3>, padding: &Padding) -> Tensor<3> {
        if !self.attn.stays_packed(x.dtype(), padding) {
            return self.forward_with(x, padding, |attention, input| attention.forward(input));
        }
        let normal = within!("layer norm", self.ln_1.forward(x.clone()));
        let y = self.attn.forward_packed(normal);
        self.finish(x, y)
    }

    /// Same as [`Self::forward`], with the attention computed by `attend`, for example through a
    /// cache.
    pub fn forward_with(
        &self,
        x: Tensor<3>,
        padding: &Padding,
        attend: impl FnOnce(&Attention, AttentionInput) -> Tensor<4>,
    ) -> Tensor<3> {
        let normal = within!("layer norm", self.ln_1.forward(x.clone()));
        let input = self.attn.project(normal, padding);
        let heads = within!("attention", attend(&self.attn.bsbr, input));
        let y = self.attn.merge(heads);
        self.finish(x, y)
    }

    /// The steps after the attention's output `y`.
    fn finish(&self, x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        let x = within!("residual", x + y);
        let normal = within!("layer norm", self.ln_2.forward(x.clone()));
        let y = self.mlp.forward(normal);
        within!("residual", x + y)
    }
}
