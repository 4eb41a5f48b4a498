//! Elementary functions and row loops, written so that they vectorise.
//!
//! Every function here is `inline(always)` and is meant to be called within
//! [`vectorised`], which compiles its body once per instruction set and picks one
//! at run time. The arithmetic uses no fused multiply-add, so results are equal
//! on all instruction sets.

/// Number of independent accumulators in a reduction over a row: the width of
/// an AVX-512 register, whatever the machine, so that sums do not depend on it.
pub(crate) const LANES: usize = 16;

/// Runs `body` compiled for the best instruction set of this machine.
///
/// The body must be an `#[inline(always)]` closure, or it is compiled only for
/// the baseline.
#[inline]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        fn avx512<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        let avx2_found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if avx2_found
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the processor has every feature that the function enables.
            #[allow(unsafe_code)] // choosing an instruction set at run time is unsafe
            return unsafe { avx512(body) };
        }
        if avx2_found {
            // SAFETY: the processor has every feature that the function enables.
            #[allow(unsafe_code)] // choosing an instruction set at run time is unsafe
            return unsafe { avx2(body) };
        }
    }
    body()
}

/// Below this, `exp` is less than the smallest normal number and taken as zero.
const EXP_LO: f32 = -87.336_54;
/// Above this, `exp` overflows: the result is infinite.
const EXP_HI: f32 = 88.722_83;

/// `eˣ` with a relative error below 2e-7; zero under the normal range,
/// infinite above it, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2; adding 1.5·2²³ rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let clamped = if x < EXP_LO { EXP_LO } else { x };
    let clamped = if clamped > EXP_HI { EXP_HI } else { clamped };
    let shifted = clamped * core::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HI - n * LN2_LO;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    // 2ⁿ in two factors, because n can be 128.
    let bits = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = bits >> 1;
    let lo = f32::from_bits((half.wrapping_add(127) << 23) as u32);
    let hi = f32::from_bits((bits.wrapping_sub(half).wrapping_add(127) << 23) as u32);
    let y = y * lo * hi;
    let y = if x > EXP_HI { f32::INFINITY } else { y };
    if x < EXP_LO { 0.0 } else { y }
}

/// `2ˣ` for x ≤ 0 with a relative error below 3e-7; zero under the normal range,
/// NaN for NaN. It needs two thirds of the operations of [`exp`].
#[inline(always)]
pub(crate) fn exp2_below(x: f32) -> f32 {
    // x = n + r with |r| ≤ 1/2; adding 1.5·2²³ rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    const LO: f32 = -126.0;
    let clamped = if x < LO { LO } else { x };
    let shifted = clamped + ROUND;
    let r = clamped - (shifted - ROUND);
    let mut p = 1.535_336_2e-4;
    p = p * r + 1.339_887_4e-3;
    p = p * r + 9.618_437e-3;
    p = p * r + 5.550_332_5e-2;
    p = p * r + 2.402_264_8e-1;
    p = p * r + 6.931_472e-1;
    p = p * r + 1.0;
    let bits = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let y = p * f32::from_bits(bits.wrapping_add(127) << 23);
    if x < LO { 0.0 } else { y }
}

/// The largest element of a row, or `-inf` for an empty row.
#[inline(always)]
pub(crate) fn row_max(row: &[f32]) -> f32 {
    row_max_of(
        row,
        #[inline(always)]
        |x| x,
    )
}

/// The largest result of `of` for a row's elements, or `-inf` for an empty row.
#[inline(always)]
pub(crate) fn row_max_of(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            let x = of(x);
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for x in lanes.into_iter().chain(rest.iter().map(|&x| of(x))) {
        max = if x > max { x } else { max };
    }
    max
}

/// Sum of `exp(x - shift)` over a row.
#[inline(always)]
pub(crate) fn row_sum_exp(row: &[f32], shift: f32) -> f32 {
    row_sum_of(
        row,
        #[inline(always)]
        |x| exp(x - shift),
    )
}

/// Replaces every element `x` by `exp(x - shift)` and returns their sum.
#[inline(always)]
pub(crate) fn row_exp_sum(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            let y = exp(*x - shift);
            *x = y;
            *lane += y;
        }
    }
    let mut sum = sum_lanes(lanes);
    for x in rest {
        let y = exp(*x - shift);
        *x = y;
        sum += y;
    }
    sum
}

/// Replaces every element `x`, none of which is above `shift`, by `2^(x - shift)`
/// and returns their sum.
#[inline(always)]
pub(crate) fn row_exp2_sum(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            let y = exp2_below(*x - shift);
            *x = y;
            *lane += y;
        }
    }
    let mut sum = sum_lanes(lanes);
    for x in rest {
        let y = exp2_below(*x - shift);
        *x = y;
        sum += y;
    }
    sum
}

/// Sum of a row.
#[inline(always)]
pub(crate) fn row_sum(row: &[f32]) -> f32 {
    row_sum_of(
        row,
        #[inline(always)]
        |x| x,
    )
}

/// Sum of the squared differences from `centre` over a row.
#[inline(always)]
pub(crate) fn row_sum_sq_diff(row: &[f32], centre: f32) -> f32 {
    row_sum_of(
        row,
        #[inline(always)]
        |x| (x - centre) * (x - centre),
    )
}

#[inline(always)]
fn row_sum_of(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += term(x);
        }
    }
    let mut sum = sum_lanes(lanes);
    for &x in rest {
        sum += term(x);
    }
    sum
}

/// Dot product of two rows of the same length, of which the second may be integers.
#[inline(always)]
pub(crate) fn row_dot<T: Copy + Into<f32>>(a: &[f32], b: &[T]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((lane, x), &y) in lanes.iter_mut().zip(a).zip(b) {
            let y: f32 = y.into();
            *lane += x * y;
        }
    }
    let mut sum = sum_lanes(lanes);
    for (x, &y) in a_rest.iter().zip(b_rest) {
        let y: f32 = y.into();
        sum += x * y;
    }
    sum
}

/// Adds to `acc` the sum of `rows`, each as long as `acc`, times their weights. Rows may be
/// integers.
#[inline(always)]
pub(crate) fn add_weighted<T: Copy + Into<f32>>(acc: &mut [f32], weights: &[f32], rows: &[T]) {
    let len = acc.len();
    let (wide, rest) = acc.as_chunks_mut::<{ 4 * LANES }>();
    let narrow_from = wide.len() * 4 * LANES;
    let (narrow, rest) = rest.as_chunks_mut::<LANES>();
    let rest_from = narrow_from + narrow.len() * LANES;
    // The sums stay in registers: four at a time, then one.
    for (number, acc) in wide.iter_mut().enumerate() {
        let at = number * 4 * LANES;
        if let ([a, b, c, d], _) = acc.as_chunks_mut::<LANES>() {
            let (mut e, mut f, mut g, mut h) = (*a, *b, *c, *d);
            for (row, &weight) in rows.chunks_exact(len).zip(weights) {
                if let [i, j, k, l, ..] = row[at..].as_chunks::<LANES>().0 {
                    add_scaled(&mut e, weight, i);
                    add_scaled(&mut f, weight, j);
                    add_scaled(&mut g, weight, k);
                    add_scaled(&mut h, weight, l);
                }
            }
            (*a, *b, *c, *d) = (e, f, g, h);
        }
    }
    for (number, acc) in narrow.iter_mut().enumerate() {
        let at = narrow_from + number * LANES;
        let mut sum = *acc;
        for (row, &weight) in rows.chunks_exact(len).zip(weights) {
            if let Some(row) = row[at..].first_chunk::<LANES>() {
                add_scaled(&mut sum, weight, row);
            }
        }
        *acc = sum;
    }
    if !rest.is_empty() {
        for (row, weight) in rows.chunks_exact(len).zip(weights) {
            for (acc, &x) in rest.iter_mut().zip(&row[rest_from..]) {
                let x: f32 = x.into();
                *acc += weight * x;
            }
        }
    }
}

#[inline(always)]
fn add_scaled<T: Copy + Into<f32>>(sum: &mut [f32; LANES], weight: f32, row: &[T; LANES]) {
    for (sum, &x) in sum.iter_mut().zip(row) {
        let x: f32 = x.into();
        *sum += weight * x;
    }
}

/// Copies a row to another of the same length, without the call of
/// `copy_from_slice`, which costs as much as a short row.
#[inline(always)]
pub(crate) fn row_copy(to: &mut [f32], from: &[f32]) {
    let (to_chunks, to_rest) = to.as_chunks_mut::<LANES>();
    let (from_chunks, from_rest) = from.as_chunks::<LANES>();
    for (to, from) in to_chunks.iter_mut().zip(from_chunks) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

/// Adds `row` to `to`, of the same length.
#[inline(always)]
pub(crate) fn row_add(to: &mut [f32], row: &[f32]) {
    let (chunks, rest) = to.as_chunks_mut::<LANES>();
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    for (chunk, row) in chunks.iter_mut().zip(row_chunks) {
        for (x, y) in chunk.iter_mut().zip(row) {
            *x += y;
        }
    }
    for (x, y) in rest.iter_mut().zip(row_rest) {
        *x += y;
    }
}

/// Subtracts `row` from `from`, of the same length.
#[inline(always)]
pub(crate) fn row_subtract(from: &mut [f32], row: &[f32]) {
    let (chunks, rest) = from.as_chunks_mut::<LANES>();
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    for (chunk, row) in chunks.iter_mut().zip(row_chunks) {
        for (x, y) in chunk.iter_mut().zip(row) {
            *x -= y;
        }
    }
    for (x, y) in rest.iter_mut().zip(row_rest) {
        *x -= y;
    }
}

/// Adds up the accumulators of a reduction, pairwise.
#[inline(always)]
pub(crate) fn sum_lanes(lanes: [f32; LANES]) -> f32 {
    // Every step has its own array and loop, so that all are unrolled and nothing
    // goes through memory.
    let mut eight = [0.0; LANES / 2];
    for i in 0..LANES / 2 {
        eight[i] = lanes[i] + lanes[i + LANES / 2];
    }
    let mut four = [0.0; LANES / 4];
    for i in 0..LANES / 4 {
        four[i] = eight[i] + eight[i + LANES / 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_whole_range() {
        let mut worst = 0.0_f64;
        let mut x = -87.3_f32;
        while x < 88.7 {
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
            x += 0.000_37;
        }
        assert!(worst < 2e-7, "relative error {worst:e}");
    }

    #[test]
    fn exp_at_the_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert!(exp(88.72).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp2_is_accurate_below_zero() {
        let mut worst = 0.0_f64;
        let mut x = 0.0_f32;
        while x >= -126.0 {
            let exact = f64::from(x).exp2();
            worst = worst.max(((f64::from(exp2_below(x)) - exact) / exact).abs());
            x -= 0.000_37;
        }
        assert!(worst < 3e-7, "relative error {worst:e}");
        assert_eq!(exp2_below(0.0), 1.0);
        assert_eq!(exp2_below(-126.5), 0.0);
        assert_eq!(exp2_below(-1e30), 0.0);
        assert_eq!(exp2_below(f32::NEG_INFINITY), 0.0);
        assert!(exp2_below(f32::NAN).is_nan());
    }

    #[test]
    fn row_loops_agree_with_their_scalar_form() {
        for len in [0, 1, 15, 16, 17, 64, 101] {
            let row: Vec<f32> = (0..len)
                .map(|i| ((i * 37) % 23) as f32 * 0.25 - 3.0)
                .collect();
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(vectorised(|| row_max(&row)), max);
            let mut p = row.clone();
            let sum = vectorised(|| row_exp_sum(&mut p, 1.0));
            let exact: f32 = row.iter().map(|x| (x - 1.0).exp()).sum();
            assert!((sum - exact).abs() <= 1e-5 * exact.max(1.0));
            let dot = vectorised(|| row_dot(&row, &p));
            let exact: f32 = row.iter().zip(&p).map(|(a, b)| a * b).sum();
            assert!((dot - exact).abs() <= 1e-4 * exact.abs().max(1.0));
        }
    }
}
