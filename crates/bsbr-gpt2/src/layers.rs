//! The parameterised layers of GPT-2, with Hugging Face's tensor names.

use bsbr_kernels::PackedActivation;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor};

use crate::packing::Packing;

/// A trainable parameter of zeros that takes no memory until it is used.
pub(crate) fn lazy_zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let init = move |device: &Device, require_grad: bool| {
        Tensor::zeros(shape, device).set_require_grad(require_grad)
    };
    Param::uninitialized(ParamId::new(), init, device.clone(), true, shape.into())
}

/// Whether weights such as `weight` stay in half precision in a model that computes in f32. This
/// requires a device that multiplies the two types directly, and no training.
///
/// Elsewhere a model computes in the type of its weights.
pub(crate) fn stays_half<const D: usize>(weight: &Tensor<D>) -> bool {
    matches!(weight.dtype(), DType::F16 | DType::BF16)
        && bsbr_kernels::fuses_mixed_matmul(&weight.device())
}

/// Hugging Face's `Conv1D`: a linear layer whose weight is stored `[in, out]`.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[in, out]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
    pub(crate) packing: Packing,
}

impl Conv1d {
    /// A layer of zeros, for loading or initialisation.
    pub fn zeros(input: usize, output: usize, device: &Device) -> Self {
        Self {
            weight: lazy_zeros([input, output], device),
            bias: lazy_zeros([output], device),
            packing: Packing::default(),
        }
    }

    /// `x · weight + bias`.
    ///
    /// # Shapes
    ///
    /// - input: `[B, N, in]`
    /// - output: `[B, N, out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let shape = self.output_shape(&x);
        let rows = Self::rows(x);
        let packed = self.packing.forward(&rows, PackedActivation::Identity);
        let out = packed.unwrap_or_else(|| {
            let product = self.product(rows);
            let bias = self.bias_like(&product);
            bsbr_kernels::add_bias(product, bias)
        });
        out.reshape(shape)
    }

    /// All rows of all sequences: a batched product would pack the weight once per sequence.
    ///
    /// # Shapes
    ///
    /// - input: `[B, N, in]`
    /// - output: `[B·N, in]`
    pub(crate) fn rows(x: Tensor<3>) -> Tensor<2> {
        let [batch, seq_len, input] = x.dims();
        x.reshape([batch * seq_len, input])
    }

    /// `x · weight`.
    ///
    /// # Shapes
    ///
    /// - rows: `[B·N, in]`
    /// - output: `[B·N, out]`
    pub(crate) fn product(&self, rows: Tensor<2>) -> Tensor<2> {
        self.packing.product(rows, self.weight.val())
    }

    /// The bias, in the type of `product`.
    pub(crate) fn bias_like(&self, product: &Tensor<2>) -> Tensor<1> {
        self.bias.val().cast(product.dtype())
    }

    /// The shape of the output for `x`.
    pub(crate) fn output_shape(&self, x: &Tensor<3>) -> [usize; 3] {
        let [batch, seq_len, _] = x.dims();
        [batch, seq_len, self.bias.val().dims()[0]]
    }
}

/// Layer normalisation over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[n_embd]`
    pub weight: Param<Tensor<1>>,
    /// `[n_embd]`
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// Weight one, bias zero.
    pub fn new(size: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([size], device)),
            bias: Param::from_tensor(Tensor::zeros([size], device)),
            epsilon,
        }
    }

    /// `(x − mean) / √(variance + ε) · weight + bias`, the variance biased as in PyTorch.
    ///
    /// # Shapes
    ///
    /// - input and output: `[B, N, n_embd]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let dtype = x.dtype();
        let [weight, bias] = [&self.weight, &self.bias].map(|param| param.val().cast(dtype));
        bsbr_kernels::layer_norm(x, weight, bias, self.epsilon)
    }
}

/// A table of embeddings.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, n_embd]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// A table of zeros, for loading or initialisation.
    pub fn zeros(rows: usize, size: usize, device: &Device) -> Self {
        Self {
            weight: lazy_zeros([rows, size], device),
        }
    }

    /// The embedding of each id, in the type of the model's computation: that of the table, or f32
    /// if the device multiplies half precision directly.
    ///
    /// # Shapes
    ///
    /// - ids: `[B, N]`
    /// - output: `[B, N, n_embd]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let table = self.weight.val();
        let is_half = stays_half(&table);
        let rows = burn::tensor::module::embedding(table, ids);
        match is_half {
            true => rows.cast(DType::F32),
            false => rows,
        }
    }
}
