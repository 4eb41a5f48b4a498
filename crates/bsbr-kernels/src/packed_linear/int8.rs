//! Weights in 8 bits: rounding, and the stored form.

use burn::tensor::TensorData;

/// The weight of a linear layer in 8 bits: value i of output o is `weights[i][o] · steps[o]`.
#[derive(Clone, Debug)]
pub struct Int8Weight {
    /// `[in, out]` of type i8, each from -127 to 127.
    pub weights: TensorData,
    /// One per output.
    pub steps: Vec<f32>,
}

impl Int8Weight {
    /// Rounds a weight `[in, out]`, row-major, in the same way as packed layers of 8 bits: to 255
    /// levels per output.
    ///
    /// # Panics
    ///
    /// Panics if the length of the weight does not match its shape.
    pub fn rounded(weight: &[f32], [inputs, outputs]: [usize; 2]) -> Self {
        assert!(
            weight.len() == inputs * outputs,
            "int8: {} numbers for [{inputs}, {outputs}]",
            weight.len()
        );
        let mut steps = vec![0.0_f32; outputs];
        for row in weight.chunks_exact(outputs.max(1)) {
            for (largest, x) in steps.iter_mut().zip(row) {
                *largest = largest.max(x.abs());
            }
        }
        for step in &mut steps {
            *step = weight_step(*step);
        }
        let of_row = |row: &[f32]| -> Vec<i8> {
            let columns = row.iter().zip(&steps);
            columns
                .map(|(&x, &step)| round_weight(x, step) as u8 as i8)
                .collect()
        };
        let weights: Vec<i8> = weight
            .chunks_exact(outputs.max(1))
            .flat_map(of_row)
            .collect();
        Self {
            weights: TensorData::new(weights, [inputs, outputs]),
            steps,
        }
    }

    /// Inputs and outputs; `None` if these are not values of type i8 with a step for each output.
    pub fn shape(&self) -> Option<[usize; 2]> {
        let [inputs, outputs] = self.weights.shape()[..].try_into().ok()?;
        let numbers = self.weights.as_slice::<i8>().ok()?;
        let fits = numbers.len() == inputs * outputs && self.steps.len() == outputs;
        fits.then_some([inputs, outputs])
    }

    /// The weight in f32, `[in, out]`, row-major; empty if [`Self::shape`] is `None`.
    pub fn widened(&self) -> Vec<f32> {
        let (Some([_, outputs]), Ok(numbers)) = (self.shape(), self.weights.as_slice::<i8>())
        else {
            return Vec::new();
        };
        let rows = numbers.chunks_exact(outputs.max(1));
        let of_row = |row| -> Vec<f32> {
            let columns = std::iter::zip(row, &self.steps);
            columns
                .map(|(&x, step): (&i8, _)| f32::from(x) * step)
                .collect()
        };
        rows.flat_map(of_row).collect()
    }
}

/// The step of an output with the largest weight `largest`.
pub(super) fn weight_step(largest: f32) -> f32 {
    largest / 127.0
}

/// A weight in steps, in the lowest byte.
#[inline(always)]
pub(super) fn round_weight(weight: f32, step: f32) -> u32 {
    let steps = if step > 0.0 { weight / step } else { 0.0 };
    nearest(steps) as i32 as u32 & 0xFF
}

/// The nearest integer of a number below 2²² in size, with ties to even. The sum has no fractional
/// digits. The function of `f32` would be a call where it is not an instruction.
#[inline(always)]
pub(super) fn nearest(x: f32) -> f32 {
    const NO_FRACTION: f32 = 12_582_912.0;
    (x + NO_FRACTION) - NO_FRACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rounded_is_within_half_a_step_and_rounds_to_itself() {
        let shape = [7, 3];
        let weight: Vec<f32> = (0..21)
            .map(|i| {
                if i % 3 == 2 {
                    0.0
                } else {
                    (i as f32 * 1.7).sin() * 0.3
                }
            })
            .collect();
        let rounded = Int8Weight::rounded(&weight, shape);
        assert_eq!(rounded.shape(), Some(shape));
        let widened = rounded.widened();
        for ((found, x), column) in widened.iter().zip(&weight).zip((0..3).cycle()) {
            let most = 0.5 * rounded.steps[column] * 1.001;
            assert!((found - x).abs() <= most, "{found} for {x}");
        }
        let again = Int8Weight::rounded(&widened, shape);
        assert_eq!(
            again.weights.as_slice::<i8>().unwrap(),
            rounded.weights.as_slice::<i8>().unwrap()
        );
    }

    #[test]
    fn other_data_have_no_shape() {
        let of = |weights, steps: usize| Int8Weight {
            weights,
            steps: vec![1.0; steps],
        };
        assert_eq!(of(TensorData::new(vec![1_i8; 6], [2, 3]), 2).shape(), None);
        assert_eq!(of(TensorData::new(vec![1_i8; 6], [6]), 6).shape(), None);
        let floats = of(TensorData::new(vec![1_f32; 6], [2, 3]), 3);
        assert_eq!(floats.shape(), None);
        assert!(floats.widened().is_empty());
    }
}
