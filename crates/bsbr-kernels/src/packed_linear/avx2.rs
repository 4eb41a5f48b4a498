//! Products of bytes by AVX2, which multiplies unsigned by signed bytes and adds pairs in 16 bits.
//!
//! Pairs must not leave 16 bits, so that sums are exact. Weights in 4 bits are from 0 to 15: all sums of
//! a group of inputs fit. Inputs of weights in 8 bits are from 0 to 255, and two of their products do
//! not fit. Less [`MIDDLE`] they do: the size of an input is at most 128, and takes its sign to the
//! weight, which is at most 127.
#![allow(unsafe_code)] // instructions that have no other form

use core::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_xor_si256,
};

use super::nibbles::{NibbleRows, STRIPS, Scales, WORDS};
use super::panels::Strip;
use super::tile::{Order, ROWS, Sums, TileRows};

/// What is subtracted from inputs in 8 bits.
pub(super) const MIDDLE: i32 = 128;

/// Registers of a strip.
const VECTORS: usize = 4;
/// Groups of 32 bits in a register.
const LANES: usize = 8;

/// Adds the products of inputs less [`MIDDLE`] with weights in 8 bits, like
/// [`add_products`](super::tile::add_products), which has checked counts and lengths.
pub(super) fn add_bytes(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
    // SAFETY: an engine of this kind is made where this feature was found.
    unsafe { bytes(rows, strips, sums) }
}

#[target_feature(enable = "avx2")]
fn bytes(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
    let (groups, sums) = (rows.groups.as_ptr(), sums.as_mut_ptr());
    // SAFETY: the function has the feature, and `rows` was compared with `strips`.
    unsafe {
        match rows.order {
            Order::Rows { stride } => {
                bytes_of_rows::<1>(rows.count, groups, stride, strips, sums);
            }
            Order::Interleaved => bytes_of_rows::<ROWS>(rows.count, groups, 1, strips, sums),
        }
    }
}

/// # Safety
///
/// The same as of [`bytes_kernel`], for `count` rows.
#[inline(always)]
unsafe fn bytes_of_rows<const GROUP: usize>(
    count: usize,
    groups: *const u32,
    stride: usize,
    strips: &[Strip],
    sums: *mut Strip,
) {
    // SAFETY: the caller says so, and there are so many rows.
    unsafe {
        for pair in 0..count / 2 {
            let row = 2 * pair;
            bytes_kernel::<2, GROUP>(groups.add(row * stride), stride, strips, sums.add(row));
        }
        if count % 2 == 1 {
            let row = count - 1;
            bytes_kernel::<1, GROUP>(groups.add(row * stride), stride, strips, sums.add(row));
        }
    }
}

/// # Safety
///
/// Each of `N` rows must have as many groups as strips, at a distance of `GROUP`, and the processor
/// must have AVX2.
#[inline(always)]
unsafe fn bytes_kernel<const N: usize, const GROUP: usize>(
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
        let middle = _mm256_set1_epi8(MIDDLE as u8 as i8);
        let ones = _mm256_set1_epi16(1);
        for (i, strip) in strips.iter().enumerate() {
            let inputs: [[__m256i; 2]; N] = core::array::from_fn(|row| {
                let x = _mm256_set1_epi32(*groups.add(row * stride + i * GROUP) as i32);
                let x = _mm256_xor_si256(x, middle);
                [x, _mm256_abs_epi8(x)]
            });
            for vector in 0..VECTORS {
                let weights = _mm256_loadu_si256(strip.as_ptr().add(LANES * vector).cast());
                for (sums, [x, size]) in sums.iter_mut().zip(inputs) {
                    let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(weights, x));
                    let fours = _mm256_madd_epi16(pairs, ones);
                    sums[vector] = _mm256_add_epi32(sums[vector], fours);
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
