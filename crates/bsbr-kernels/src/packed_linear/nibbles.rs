//! Weights in 4 bits, by groups of 32 inputs.
//!
//! A weight is a *nibble* from 0 to 15: `scale · (nibble - 8)`, with a scale of its group and output.
//! Inputs are rounded to multiples of a step of their row and group. The sum of a group's products
//! is an exact integer, and the sums of groups are added in f32, in their order.
//!
//! A strip has the weights of 8 inputs: the low nibbles of its bytes are those of the first four, the
//! high nibbles those of the others. So a register of nibbles becomes two of bytes by one shift.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::int8::nearest;
use super::panels::{COLUMNS, Strip};
use super::rows::bf16_bits;
use super::tile::{Engine, ROWS, Sums};
use crate::cpu::math::vectorised;

/// Inputs of a group.
pub(super) const GROUP: usize = 32;
/// Strips of a group.
pub(super) const STRIPS: usize = GROUP / 8;
/// Groups of 32 bits of the inputs of a group.
pub(super) const WORDS: usize = GROUP / 4;

/// The scales of a group's weights in a panel, in bf16.
pub(super) type Scales = [u16; COLUMNS];

/// A group of a row of inputs: number i is `step · byte_i`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InputGroup {
    pub(super) step: f32,
    /// The part of a sum of products that is due to the zero of the weights.
    pub(super) offset: i32,
}

/// Rows of inputs in 8 bits.
#[derive(Clone, Copy)]
pub(super) struct NibbleRows<'a> {
    /// `[N, depth, 8]`
    pub(super) words: &'a [u32],
    /// `[N, depth]`
    pub(super) groups: &'a [InputGroup],
    /// Number of groups of a row.
    pub(super) depth: usize,
}

impl<'a> NibbleRows<'a> {
    /// The groups from number `from` on of the rows from number `row` on.
    pub(super) fn at(self, row: usize, from: usize) -> Self {
        let start = row * self.depth + from;
        Self {
            words: self.words.get(start * WORDS..).unwrap_or_default(),
            groups: self.groups.get(start..).unwrap_or_default(),
            ..self
        }
    }
}

/// Rounds a row to 255 levels of each group, the last of which may be incomplete.
///
/// A group with NaN or an infinity has no valid step.
#[inline(always)]
pub(super) fn round_row(row: &[f32], words: &mut [u32], groups: &mut [InputGroup]) {
    let bytes: &mut [i8] = bytemuck::cast_slice_mut(words);
    let whole = row.as_chunks::<GROUP>();
    let mut last = [0.0; GROUP];
    last[..whole.1.len()].copy_from_slice(whole.1);
    let rows = whole.0.iter().chain([&last]);
    for ((x, bytes), group) in rows.zip(bytes.as_chunks_mut::<GROUP>().0).zip(groups) {
        let mut largest = 0.0_f32;
        let mut is_finite = true;
        for x in x {
            let size = x.abs();
            largest = if size > largest { size } else { largest };
            is_finite &= size < f32::INFINITY;
        }
        let step = largest / 127.0;
        let step = match is_finite {
            false => f32::NAN,
            true if step < f32::MIN_POSITIVE => 0.0,
            true => step,
        };
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let mut sum = 0;
        for (byte, x) in bytes.iter_mut().zip(x) {
            let value = nearest(x * inverse) as i32;
            *byte = value as i8;
            sum += value;
        }
        *group = InputGroup {
            step,
            offset: -8 * sum,
        };
    }
}

/// Packs a panel in f32, whose number of inputs is a multiple of [`GROUP`].
#[inline(always)]
pub(super) fn pack(wide: &[[f32; COLUMNS]], strips: &mut [Strip], scales: &mut [Scales]) {
    let groups = wide.as_chunks::<GROUP>().0.iter();
    let strips = strips.as_chunks_mut::<STRIPS>().0.iter_mut();
    for ((rows, strips), scales) in groups.zip(strips).zip(scales) {
        let (mut low, mut high) = ([0.0_f32; COLUMNS], [0.0_f32; COLUMNS]);
        for row in rows {
            for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(row) {
                *low = if x < *low { x } else { *low };
                *high = if x > *high { x } else { *high };
            }
        }
        let mut wide_scales = [0.0; COLUMNS];
        for (((scale, wide), low), high) in
            scales.iter_mut().zip(&mut wide_scales).zip(low).zip(high)
        {
            // The largest weight, of either sign, is -8 scales.
            let largest = if high >= -low { high } else { low };
            *scale = bf16_bits(largest / -8.0) as u16;
            *wide = widened(*scale);
        }
        for (strip, rows) in strips.iter_mut().zip(rows.as_chunks::<8>().0) {
            *strip = [0; COLUMNS];
            for (i, row) in rows.iter().enumerate() {
                let shift = 8 * (i % 4) + 4 * (i / 4);
                for ((word, &x), &scale) in strip.iter_mut().zip(row).zip(&wide_scales) {
                    *word |= nibble(x, scale) << shift;
                }
            }
        }
    }
}

/// A weight in scales, from 0 for -8 to 15.
#[inline(always)]
fn nibble(weight: f32, scale: f32) -> u32 {
    let scales = if scale != 0.0 { weight / scale } else { 0.0 };
    let value = nearest(scales) + 8.0;
    let value = if value > 15.0 { 15.0 } else { value };
    let value = if value < 0.0 { 0.0 } else { value };
    value as i32 as u32
}

#[inline(always)]
fn widened(scale: u16) -> f32 {
    f32::from_bits(u32::from(scale) << 16)
}

/// Adds the products of `count` rows with the groups of a panel to their sums in f32.
///
/// All engines give the same bits, whatever the number of rows, and however a
/// panel is divided.
pub(super) fn add_products(
    engine: Engine,
    rows: NibbleRows<'_>,
    count: usize,
    strips: &[Strip],
    scales: &[Scales],
    sums: &mut Sums,
) {
    let strips = strips.as_chunks::<STRIPS>().0;
    if count == 0 || strips.is_empty() {
        return;
    }
    let needed = (count - 1) * rows.depth + strips.len();
    assert!(
        count <= ROWS
            && scales.len() == strips.len()
            && needed <= rows.groups.len()
            && needed * WORDS <= rows.words.len(),
        "rows of a tile out of bounds"
    );
    match engine {
        Engine::Plain => vectorised(
            #[inline(always)]
            || plain(rows, count, strips, scales, sums),
        ),
        #[cfg(target_arch = "x86_64")]
        Engine::Avx2 => avx2::add_nibbles(rows, count, strips, scales, sums),
        #[cfg(target_arch = "x86_64")]
        Engine::Avx512 => avx512::add_products(rows, count, strips, scales, sums),
    }
}

#[inline(always)]
fn plain(
    rows: NibbleRows<'_>,
    count: usize,
    strips: &[[Strip; STRIPS]],
    scales: &[Scales],
    sums: &mut Sums,
) {
    for (row, sums) in sums.iter_mut().enumerate().take(count) {
        let rows = rows.at(row, 0);
        let words = rows.words.as_chunks::<WORDS>().0;
        let inputs = rows.groups.iter().zip(words);
        for ((group, words), (strips, scales)) in inputs.zip(strips.iter().zip(scales)) {
            let mut totals = [group.offset; COLUMNS];
            for (strip, words) in strips.iter().zip(words.as_chunks::<2>().0) {
                let [low, high] = words.map(|word| word.to_le_bytes().map(|x| i32::from(x as i8)));
                for (total, weights) in totals.iter_mut().zip(strip) {
                    for ((low, high), pair) in low.iter().zip(high).zip(weights.to_le_bytes()) {
                        *total += low * i32::from(pair & 15) + high * i32::from(pair >> 4);
                    }
                }
            }
            for ((sum, total), &scale) in sums.iter_mut().zip(totals).zip(scales) {
                let product = total as f32 * (widened(scale) * group.step);
                *sum = (f32::from_bits(*sum) + product).to_bits();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // instructions that have no other form
mod avx512 {
    use core::arch::x86_64::{
        __m512, __m512i, _mm256_loadu_si256, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps,
        _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_dpbusd_epi32, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
        _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_ps,
    };

    use super::{NibbleRows, STRIPS, Scales, Strip, Sums, WORDS};

    /// Same as the outer function of this name, which has checked counts and lengths.
    pub(super) fn add_products(
        rows: NibbleRows<'_>,
        count: usize,
        strips: &[[Strip; STRIPS]],
        scales: &[Scales],
        sums: &mut Sums,
    ) {
        // SAFETY: an engine of this kind is made where these features were found.
        unsafe { by_rows(rows, count, strips, scales, sums) }
    }

    /// The rows of a tile, as many at once as a kernel supports.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn by_rows(
        rows: NibbleRows<'_>,
        count: usize,
        strips: &[[Strip; STRIPS]],
        scales: &[Scales],
        sums: &mut Sums,
    ) {
        let mut at = 0;
        macro_rules! kernels {
            ($($count:literal)*) => {
                $(while count - at >= $count {
                    // SAFETY: the function has the features, there are so many rows left, and
                    // their groups were counted.
                    unsafe {
                        let sums = sums.as_mut_ptr().add(at);
                        kernel::<$count>(rows.at(at, 0), strips, scales, sums);
                    }
                    at += $count;
                })*
            };
        }
        kernels!(12 8 4 2 1);
    }

    /// # Safety
    ///
    /// Each of `N` rows must have as many groups as there are strips and scales, and the processor
    /// must have AVX512-VNNI.
    #[inline(always)]
    unsafe fn kernel<const N: usize>(
        rows: NibbleRows<'_>,
        strips: &[[Strip; STRIPS]],
        scales: &[Scales],
        out: *mut Strip,
    ) {
        // SAFETY: the caller says that groups and instructions are there, and two registers are read
        // and written of strips of as many numbers.
        unsafe {
            let mut sums: [[__m512; 2]; N] = core::array::from_fn(|row| {
                let at = out.add(row).cast::<f32>();
                [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))]
            });
            let nibbles = _mm512_set1_epi8(15);
            let mut words = rows.words.as_ptr().cast::<i32>();
            let mut groups = rows.groups.as_ptr();
            let stride = rows.depth;
            for (strips, scales) in strips.iter().zip(scales) {
                let mut totals: [[__m512i; 2]; N] = core::array::from_fn(|row| {
                    [_mm512_set1_epi32((*groups.add(row * stride)).offset); 2]
                });
                for strip in strips {
                    let at = strip.as_ptr().cast::<i32>();
                    let both = [
                        _mm512_loadu_si512(at.cast()),
                        _mm512_loadu_si512(at.add(16).cast()),
                    ];
                    let low = both.map(|both| _mm512_and_si512(both, nibbles));
                    let high =
                        both.map(|both| _mm512_and_si512(_mm512_srli_epi32::<4>(both), nibbles));
                    for (row, totals) in totals.iter_mut().enumerate() {
                        let at = words.add(row * stride * WORDS);
                        for (half, weights) in [low, high].into_iter().enumerate() {
                            let x = _mm512_set1_epi32(*at.add(half));
                            totals[0] = _mm512_dpbusd_epi32(totals[0], weights[0], x);
                            totals[1] = _mm512_dpbusd_epi32(totals[1], weights[1], x);
                        }
                    }
                    words = words.add(2);
                }
                let at = scales.as_ptr();
                let scales = [at, at.add(16)].map(|at| {
                    let narrow = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(narrow))
                });
                for (row, (sums, totals)) in sums.iter_mut().zip(totals).enumerate() {
                    let step = _mm512_set1_ps((*groups.add(row * stride)).step);
                    for ((sum, total), scale) in sums.iter_mut().zip(totals).zip(scales) {
                        let product =
                            _mm512_mul_ps(_mm512_cvtepi32_ps(total), _mm512_mul_ps(scale, step));
                        *sum = _mm512_add_ps(*sum, product);
                    }
                }
                groups = groups.add(1);
            }
            for (row, sums) in sums.iter().enumerate() {
                let at = out.add(row).cast::<f32>();
                _mm512_storeu_ps(at, sums[0]);
                _mm512_storeu_ps(at.add(16), sums[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_within_half_a_step_of_their_group() {
        let row: Vec<f32> = (0..70)
            .map(|i| (i as f32 * 0.7).sin() * if i < 40 { 9.0 } else { 1e-3 })
            .collect();
        let mut words = vec![0; 3 * WORDS];
        let mut groups = vec![InputGroup::default(); 3];
        round_row(&row, &mut words, &mut groups);
        let bytes: &[i8] = bytemuck::cast_slice(&words);
        for (i, x) in row.iter().enumerate() {
            let step = groups[i / GROUP].step;
            let found = step * f32::from(bytes[i]);
            assert!((found - x).abs() <= 0.5001 * step, "{found} for {x}");
        }
        assert!(bytes[70..].iter().all(|&byte| byte == 0));
        for (group, bytes) in groups.iter().zip(bytes.chunks(GROUP)) {
            let sum: i32 = bytes.iter().copied().map(i32::from).sum();
            assert_eq!(group.offset, -8 * sum);
        }
    }

    #[test]
    fn weights_are_within_a_scale() {
        let wide: Vec<[f32; COLUMNS]> = (0..2 * GROUP)
            .map(|i| {
                core::array::from_fn(|column| match column {
                    3 => 0.0,
                    4 => (i as f32).cos().abs(),
                    5 => -(i as f32).cos().abs(),
                    _ => ((i * COLUMNS + column) as f32 * 1.3).sin() * 0.1,
                })
            })
            .collect();
        let mut strips = vec![[0; COLUMNS]; 2 * STRIPS];
        let mut scales = vec![[0; COLUMNS]; 2];
        pack(&wide, &mut strips, &mut scales);
        for (i, row) in wide.iter().enumerate() {
            for (column, &x) in row.iter().enumerate() {
                let word = strips[i / 8][column];
                let nibble = word >> (8 * (i % 4) + 4 * (i % 8 / 4)) & 15;
                let scale = widened(scales[i / GROUP][column]);
                let found = scale * (nibble as f32 - 8.0);
                // Weights of the other sign end at 7 scales.
                assert!((found - x).abs() <= 1.01 * scale.abs(), "{found} for {x}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_not_lost() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = vec![1.0; 40];
            row[35] = wrong;
            let mut groups = vec![InputGroup::default(); 2];
            round_row(&row, &mut [0; 2 * WORDS], &mut groups);
            let is_nan = groups.iter().map(|group| group.step.is_nan());
            assert!(is_nan.eq([false, true]));
        }
    }
}
