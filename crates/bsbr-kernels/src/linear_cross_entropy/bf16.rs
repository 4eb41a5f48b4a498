//! CPU kernel: the loss and its gradients with products in bf16, by the kernel of packed layers.

use burn::tensor::bf16;
use rayon::prelude::*;

use super::kernel::Problem;
use crate::cpu::math::{exp, row_max, row_sum_exp, vectorised};
use crate::packed_linear::{PackedLinear, round_row_to_bf16, rounded_to_bf16};

impl Problem<'_> {
    /// Weighted sum of the losses, and its gradients with respect to hidden `[R, C]` and, if
    /// `head_grad`, head `[V, C]`; otherwise the latter is empty. `packed` is the head, for logits
    /// and for the gradient of hidden.
    pub(super) fn loss_and_grads_in_bf16(
        &self,
        [forward, backward]: [&PackedLinear; 2],
        head_grad: bool,
    ) -> (f32, Vec<f32>, Vec<f32>) {
        let (classes, c) = (self.classes(), self.features);
        let mut loss = 0.0;
        let mut dhidden = vec![0.0; self.targets.len() * c];
        let mut dhead = vec![0.0; if head_grad { classes * c } else { 0 }];
        for chunk in self.chunks() {
            let rows = chunk.rows.len();
            let hidden = rounded_to_bf16(&chunk.hidden);
            let mut logits = forward.rows_of_bf16(&hidden);
            let mut grads = vec![bf16::ZERO; rows * classes];
            let of_rows = logits.par_chunks_exact_mut(classes);
            let losses: Vec<f32> = of_rows
                .zip(grads.par_chunks_exact_mut(classes))
                .zip(&chunk.rows)
                .map(|((logits, grads), &row)| self.row_in_bf16(row, logits, grads))
                .collect();
            // In the order of the rows, whatever the threads.
            loss += losses.iter().copied().map(f64::from).sum::<f64>();
            drop(logits);
            let part = backward.rows_of_bf16(&grads);
            for (part, &row) in part.chunks_exact(c.max(1)).zip(&chunk.rows) {
                dhidden[row * c..(row + 1) * c].copy_from_slice(part);
            }
            if head_grad && let Some(hidden) = PackedLinear::of_bf16(&hidden, [rows, c]) {
                hidden.add_columns_of_bf16(&grads, &mut dhead);
            }
        }
        (loss as f32, dhidden, dhead)
    }

    /// The weighted loss of a row, and the gradient of its logits, which are overwritten.
    fn row_in_bf16(&self, row: usize, logits: &mut [f32], grads: &mut [bf16]) -> f32 {
        let (weight, target) = (self.weights[row], self.targets[row]);
        vectorised(
            #[inline(always)]
            || {
                let max = row_max(logits);
                let lse = max + row_sum_exp(logits, max).ln();
                let loss = weight * (lse - logits[target]);
                for x in &mut *logits {
                    *x = exp(*x - lse) * weight;
                }
                logits[target] -= weight;
                round_row_to_bf16(grads, logits);
                loss
            },
        )
    }
}
