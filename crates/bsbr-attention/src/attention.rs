//! The attention of one layer, for any arm.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::compression::CompressionBases;
use crate::config::{ArmConfig, compressed_rank};
use crate::error::ConfigError;
use crate::padding::Padding;
use crate::published::PublishedRouting;
use crate::tuning::{Own, RetrievalTuning};
use crate::{dense, local, moments, published};

/// Sizes that an arm depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// H, attention heads.
    pub num_heads: usize,
    /// D, dimensions of a head.
    pub head_dim: usize,
    /// Dimensions of the attention input, H·D in GPT-2.
    pub hidden_size: usize,
}

/// Inputs of one layer's attention.
#[derive(Debug, Clone)]
pub struct AttentionInput {
    /// Queries, unscaled. `[B, H, N, D]`
    pub query: Tensor<4>,
    /// Keys. `[B, H, N, D]`
    pub key: Tensor<4>,
    /// Values. `[B, H, N, D]`
    pub value: Tensor<4>,
    /// The attention input, after `ln_1`; read by learned routings. `[B, N, H·D]`
    pub hidden_states: Tensor<3>,
    /// σ: the factor of q·k before the softmax.
    pub scale: f64,
    /// Left padding of the rows.
    pub padding: Padding,
}

impl AttentionInput {
    /// The same input with every row's real tokens first.
    pub(crate) fn aligned(self) -> Self {
        let padding = self.padding.clone();
        self.map(|x| padding.to_front(x, 2))
    }

    /// Queries, keys and values, with σ. Drops the attention input, which is as large as the output.
    pub(crate) fn without_hidden_states(self) -> ([Tensor<4>; 3], f64) {
        ([self.query, self.key, self.value], self.scale)
    }

    /// `of` each tensor, without padding; the attention input is `[B, 1, N, H·D]`.
    pub(crate) fn map(self, of: impl Fn(Tensor<4>) -> Tensor<4>) -> Self {
        Self {
            query: of(self.query),
            key: of(self.key),
            value: of(self.value),
            hidden_states: of(self.hidden_states.unsqueeze_dim(1)).squeeze_dim(1),
            scale: self.scale,
            padding: Padding::none(),
        }
    }
}

/// An attention arm and its own parameters, if any.
///
/// With `compression` above 1 the bases, and all output that depends on them, are NaN until they
/// are loaded or set by [`with_bases`](Self::with_bases).
#[derive(Module, Debug)]
pub struct Attention {
    #[module(skip)]
    config: ArmConfig,
    /// Routing between chunks: in the published arm, and in the moments arm with learned
    /// parameters.
    pub routing: Option<PublishedRouting>,
    /// Bases of compressed states, if `compression` is above 1.
    pub bases: Option<CompressionBases>,
    /// Temperature, bias and gain of the moments arm, if it has learned parameters.
    pub tuning: Option<RetrievalTuning>,
}

impl Attention {
    /// The arm of `config`, with parameters that need no training.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting is out of bounds.
    pub fn new(config: ArmConfig, shape: HeadShape, device: &Device) -> Result<Self, ConfigError> {
        config.validate(shape)?;
        let (routed, tuned) = match &config {
            ArmConfig::Published(_) => (true, None),
            ArmConfig::Moments(c) if c.learned => (c.state, Some(c.state)),
            _ => (false, None),
        };
        let routing = routed.then(|| PublishedRouting::new(shape, device));
        let tuning = tuned.map(|state| RetrievalTuning::neutral(shape.num_heads, state, device));
        let bases = match config.compression() {
            1 => None,
            factor => Some(CompressionBases::uncalibrated(
                shape.num_heads,
                shape.head_dim,
                compressed_rank(shape.head_dim, factor),
                device,
            )),
        };
        Ok(Self {
            config,
            routing,
            bases,
            tuning,
        })
    }

    /// Sets the routing from the projection of queries, keys and values: by
    /// [`PublishedRouting::from_qkv`] in the published arm and by
    /// [`PublishedRouting::from_query_and_key`] in the moments arm.
    ///
    /// # Shapes
    ///
    /// - weight: `[hidden, 3·hidden]`, as GPT-2's `c_attn`
    /// - bias: `[3·hidden]`
    pub fn init_from_projection(mut self, weight: Tensor<2>, bias: Tensor<1>) -> Self {
        if self.routing.is_some() {
            self.routing = Some(match self.config {
                ArmConfig::Moments(_) => PublishedRouting::from_query_and_key(weight, bias),
                _ => PublishedRouting::from_qkv(weight, bias),
            });
        }
        self
    }

    /// The moments arm with learned parameters that change nothing yet. Other arms, and arms that
    /// already have such parameters, are returned unchanged.
    ///
    /// # Shapes
    ///
    /// Same as [`Self::init_from_projection`].
    pub fn with_learned(mut self, heads: usize, weight: Tensor<2>, bias: Tensor<1>) -> Self {
        if let ArmConfig::Moments(config) = &mut self.config
            && !config.learned
        {
            config.learned = true;
            let device = weight.device();
            self.tuning = Some(RetrievalTuning::neutral(heads, config.state, &device));
            self.routing = config
                .state
                .then(|| PublishedRouting::from_query_and_key(weight, bias));
        }
        self
    }

    /// The arm's own parameters.
    pub(crate) fn own(&self) -> Own<'_> {
        Own {
            bases: self.bases.as_ref(),
            tuning: self.tuning.as_ref(),
            routing: self.routing.as_ref(),
        }
    }

    /// Sets the bases of compressed states; has no effect without compression.
    pub fn with_bases(mut self, bases: CompressionBases) -> Self {
        if self.bases.is_some() {
            self.bases = Some(bases);
        }
        self
    }

    /// The arm and its settings.
    pub fn config(&self) -> &ArmConfig {
        &self.config
    }

    /// Attention output of every token.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, N, D]`; rows of padding tokens are zero.
    pub fn forward(&self, input: AttentionInput) -> Tensor<4> {
        let padding = input.padding.clone();
        let input = input.aligned();
        let output = match (&self.config, &self.routing) {
            (ArmConfig::Local(config), _) => local::forward(config, input),
            (ArmConfig::Moments(config), _) => moments::forward(config, self.own(), input),
            (ArmConfig::Published(config), Some(routing)) => {
                published::forward(config, routing, self.bases.as_ref(), input)
            }
            // `new` gives the published arm its routing.
            (ArmConfig::Published(_), None) | (ArmConfig::Dense(_), _) => {
                dense::forward(self.config.kv_bits(), input)
            }
        };
        padding.to_back(output, 2)
    }
}
