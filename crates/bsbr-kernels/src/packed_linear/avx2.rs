//! Products by AVX2 and FMA. Pairs in bf16 are multiplied as numbers in f32.
//!
//! AVX2 multiplies unsigned by signed bytes and adds pairs in 16 bits, which must hold them, so that sums
//! are exact. Weights in 4 bits are from 0 to 15: all sums of
//! a group of inputs fit. Inputs of weights in 8 bits are from 0 to 255, and two of their products do
//! not fit. Less [`MIDDLE`] they do: the size of an input is at most 128, and takes its sign to the
//! weight, which is at most 127.
#![allow(unsafe_code)] // instructions that have no other form

use core::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps,
    _mm256_cvtepu16_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_ps, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::ProductType;
use super::nibbles::{NibbleRows, STRIPS, Scales, WORDS};
use super::panels::Strip;
use super::tile::{Order, ROWS, Sums, TileRows};

/// What is subtracted from inputs in 8 bits.
pub(super) const MIDDLE: i32 = 128;

/// Registers of a strip.
const VECTORS: usize = 4;
/// Groups of 32 bits in a register.
const LANES: usize = 8;

/// Adds the products of groups of inputs and weights to sums.
trait Step {
    /// The inputs of a row, as all weights of a strip are multiplied by them.
    type Inputs: Copy;

    /// # Safety
    ///
    /// The processor must have AVX2 and FMA.
    unsafe fn inputs(group: __m256i) -> Self::Inputs;

    /// # Safety
    ///
    /// The processor must have AVX2 and FMA.
    unsafe fn step(sums: __m256i, inputs: Self::Inputs, weights: __m256i) -> __m256i;
}

struct Single;
struct Half;
struct Bytes;

impl Step for Single {
    type Inputs = __m256;

    #[inline(always)]
    unsafe fn inputs(group: __m256i) -> __m256 {
        // SAFETY: the caller says that there is AVX2.
        unsafe { _mm256_castsi256_ps(group) }
    }

    #[inline(always)]
    unsafe fn step(sums: __m256i, inputs: __m256, weights: __m256i) -> __m256i {
        // SAFETY: the caller says that there is FMA.
        unsafe {
            let [sums, weights] = [sums, weights].map(|x| _mm256_castsi256_ps(x));
            _mm256_castps_si256(_mm256_fmadd_ps(inputs, weights, sums))
        }
    }
}

impl Half {
    /// The second and the first number of each pair, in f32.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2.
    #[inline(always)]
    unsafe fn numbers(pairs: __m256i) -> [__m256; 2] {
        // SAFETY: the caller says that there is AVX2.
        unsafe {
            let second = _mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF_0000_u32 as i32));
            let first = _mm256_slli_epi32::<16>(pairs);
            [second, first].map(|x| _mm256_castsi256_ps(x))
        }
    }
}

impl Step for Half {
    type Inputs = [__m256; 2];

    #[inline(always)]
    unsafe fn inputs(group: __m256i) -> [__m256; 2] {
        // SAFETY: the caller says that there is AVX2.
        unsafe { Self::numbers(group) }
    }

    #[inline(always)]
    unsafe fn step(sums: __m256i, inputs: [__m256; 2], weights: __m256i) -> __m256i {
        // SAFETY: the caller says that there are AVX2 and FMA.
        unsafe {
            let weights = Self::numbers(weights);
            let sums = _mm256_fmadd_ps(inputs[0], weights[0], _mm256_castsi256_ps(sums));
            _mm256_castps_si256(_mm256_fmadd_ps(inputs[1], weights[1], sums))
        }
    }
}

impl Step for Bytes {
    /// Inputs less [`MIDDLE`], and their size.
    type Inputs = [__m256i; 2];

    #[inline(always)]
    unsafe fn inputs(group: __m256i) -> [__m256i; 2] {
        // SAFETY: the caller says that there is AVX2.
        unsafe {
            let x = _mm256_xor_si256(group, _mm256_set1_epi8(MIDDLE as u8 as i8));
            [x, _mm256_abs_epi8(x)]
        }
    }

    #[inline(always)]
    unsafe fn step(sums: __m256i, [x, size]: [__m256i; 2], weights: __m256i) -> __m256i {
        // SAFETY: the caller says that there is AVX2.
        unsafe {
            let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(weights, x));
            let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            _mm256_add_epi32(sums, fours)
        }
    }
}

/// Same as [`add_products`](super::tile::add_products), which has checked counts and lengths.
pub(super) fn add_products(
    products: ProductType,
    rows: TileRows<'_>,
    strips: &[Strip],
    sums: &mut Sums,
) {
    // SAFETY: an engine of this kind is made where these features were found.
    unsafe {
        match products {
            ProductType::F32 => single(rows, strips, sums),
            ProductType::Bf16 => half(rows, strips, sums),
            _ => bytes(rows, strips, sums),
        }
    }
}

// The sums of as many rows as possible stay in registers, beside their inputs and weights.

#[target_feature(enable = "avx2,fma")]
fn single(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
    // SAFETY: the function has the features, and `rows` was compared with `strips`.
    unsafe { by_order::<Single, 3>(rows, strips, sums) }
}

#[target_feature(enable = "avx2,fma")]
fn half(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
    // SAFETY: the function has the features, and `rows` was compared with `strips`.
    unsafe { by_order::<Half, 2>(rows, strips, sums) }
}

#[target_feature(enable = "avx2,fma")]
fn bytes(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
    // SAFETY: the function has the features, and `rows` was compared with `strips`.
    unsafe { by_order::<Bytes, 2>(rows, strips, sums) }
}

/// # Safety
///
/// `rows` must have been compared with `strips`, and the processor must have AVX2 and FMA.
#[inline(always)]
unsafe fn by_order<S: Step, const N: usize>(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
    let (groups, sums) = (rows.groups.as_ptr(), sums.as_mut_ptr());
    // SAFETY: the caller says so.
    unsafe {
        match rows.order {
            Order::Rows { stride } => {
                by_count::<S, N, 1>(rows.count, groups, stride, strips, sums);
            }
            Order::Interleaved => {
                by_count::<S, N, ROWS>(rows.count, groups, 1, strips, sums);
            }
        }
    }
}

/// # Safety
///
/// The same as of [`kernel`], for `count` rows.
#[inline(always)]
unsafe fn by_count<S: Step, const N: usize, const GROUP: usize>(
    count: usize,
    groups: *const u32,
    stride: usize,
    strips: &[Strip],
    sums: *mut Strip,
) {
    let together = count - count % N;
    // SAFETY: the caller says so, and there are so many rows.
    unsafe {
        for row in (0..together).step_by(N) {
            kernel::<S, N, GROUP>(groups.add(row * stride), stride, strips, sums.add(row));
        }
        for row in together..count {
            kernel::<S, 1, GROUP>(groups.add(row * stride), stride, strips, sums.add(row));
        }
    }
}

/// # Safety
///
/// Each of `N` rows must have as many groups as strips, at a distance of `GROUP`, and the processor
/// must have AVX2 and FMA.
#[inline(always)]
unsafe fn kernel<S: Step, const N: usize, const GROUP: usize>(
    groups: *const u32,
    stride: usize,
    strips: &[Strip],
    out: *mut Strip,
) {
    // SAFETY: the caller says that groups and instructions are there, and four registers are read and
    // written of strips of as many numbers.
    unsafe {
        let at = |row: usize, vector: usize| out.add(row).cast::<i32>().add(LANES * vector);
        let mut sums: [[__m256i; VECTORS]; N] = core::array::from_fn(|row| {
            core::array::from_fn(|vector| _mm256_loadu_si256(at(row, vector).cast()))
        });
        for (i, strip) in strips.iter().enumerate() {
            let inputs: [S::Inputs; N] = core::array::from_fn(|row| {
                S::inputs(_mm256_set1_epi32(
                    *groups.add(row * stride + i * GROUP) as i32
                ))
            });
            for vector in 0..VECTORS {
                let weights = _mm256_loadu_si256(strip.as_ptr().add(LANES * vector).cast());
                for (sums, inputs) in sums.iter_mut().zip(inputs) {
                    sums[vector] = S::step(sums[vector], inputs, weights);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (vector, sum) in sums.into_iter().enumerate() {
                _mm256_storeu_si256(at(row, vector).cast(), sum);
            }
        }
    }
}

/// Same as [`add_products`](super::nibbles::add_products), which has checked counts and lengths.
pub(super) fn add_nibbles(
    rows: NibbleRows<'_>,
    count: usize,
    strips: &[[Strip; STRIPS]],
    scales: &[Scales],
    sums: &mut Sums,
) {
    // SAFETY: an engine of this kind is made where this feature was found.
    unsafe { nibbles(rows, count, strips, scales, sums) }
}

#[target_feature(enable = "avx2")]
fn nibbles(
    rows: NibbleRows<'_>,
    count: usize,
    strips: &[[Strip; STRIPS]],
    scales: &[Scales],
    sums: &mut Sums,
) {
    let sums = sums.as_mut_ptr();
    // SAFETY: the function has the feature, there are so many rows, and their groups were counted.
    unsafe {
        for pair in 0..count / 2 {
            let row = 2 * pair;
            nibbles_kernel::<2>(rows.at(row, 0), strips, scales, sums.add(row));
        }
        if count % 2 == 1 {
            let row = count - 1;
            nibbles_kernel::<1>(rows.at(row, 0), strips, scales, sums.add(row));
        }
    }
}

/// # Safety
///
/// Each of `N` rows must have as many groups as there are strips and scales, and the processor must
/// have AVX2.
#[inline(always)]
unsafe fn nibbles_kernel<const N: usize>(
    rows: NibbleRows<'_>,
    strips: &[[Strip; STRIPS]],
    scales: &[Scales],
    out: *mut Strip,
) {
    // SAFETY: the caller says that groups and instructions are there, and four registers are read and
    // written of strips of as many numbers.
    unsafe {
        let low_bits = _mm256_set1_epi8(15);
        let ones = _mm256_set1_epi16(1);
        let mut words = rows.words.as_ptr().cast::<i32>();
        let mut groups = rows.groups.as_ptr();
        let stride = rows.depth;
        for (strips, scales) in strips.iter().zip(scales) {
            // Each is of 4 · 4 products of at most 15 · 127.
            let mut totals = [[_mm256_setzero_si256(); VECTORS]; N];
            for strip in strips {
                let inputs: [[__m256i; 2]; N] = core::array::from_fn(|row| {
                    let at = words.add(row * stride * WORDS);
                    [_mm256_set1_epi32(*at), _mm256_set1_epi32(*at.add(1))]
                });
                for vector in 0..VECTORS {
                    let both = _mm256_loadu_si256(strip.as_ptr().add(LANES * vector).cast());
                    let low = _mm256_and_si256(both, low_bits);
                    let high = _mm256_and_si256(_mm256_srli_epi32::<4>(both), low_bits);
                    for (totals, [of_low, of_high]) in totals.iter_mut().zip(inputs) {
                        let low = _mm256_maddubs_epi16(low, of_low);
                        let high = _mm256_maddubs_epi16(high, of_high);
                        let pairs = _mm256_add_epi16(low, high);
                        totals[vector] = _mm256_add_epi16(totals[vector], pairs);
                    }
                }
                words = words.add(2);
            }
            for (row, totals) in totals.into_iter().enumerate() {
                let group = groups.add(row * stride).read();
                let step = _mm256_set1_ps(group.step);
                let offset = _mm256_set1_epi32(group.offset);
                for (vector, pairs) in totals.into_iter().enumerate() {
                    let total = _mm256_add_epi32(_mm256_madd_epi16(pairs, ones), offset);
                    let narrow = _mm_loadu_si128(scales.as_ptr().add(LANES * vector).cast());
                    let scale = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(narrow));
                    let scale = _mm256_mul_ps(_mm256_castsi256_ps(scale), step);
                    let product = _mm256_mul_ps(_mm256_cvtepi32_ps(total), scale);
                    let at = out.add(row).cast::<f32>().add(LANES * vector);
                    _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), product));
                }
            }
            groups = groups.add(1);
        }
    }
}
