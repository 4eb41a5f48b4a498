//! Products of a few rows with a panel: plain, by AVX2 (`avx2`) and by AVX-512.

use super::ProductType;
#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::panels::Strip;
use crate::cpu::math::vectorised;

/// The maximum number of rows of a tile: their sums occupy 24 of 32 registers.
pub(super) const ROWS: usize = 12;

/// Sums of the rows of a tile.
pub(super) type Sums = [Strip; ROWS];

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// Portable loops.
    Plain,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512, with VNNI for 8 bits and with BF16 for half precision.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Engine {
    /// The best that this processor supports for such products.
    pub(super) fn detected(products: ProductType) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let found = is_x86_feature_detected!("avx512f")
                && match products {
                    ProductType::F32 => true,
                    ProductType::Bf16 => is_x86_feature_detected!("avx512bf16"),
                    ProductType::Int8 | ProductType::Int4 => {
                        is_x86_feature_detected!("avx512vnni")
                    }
                };
            if found {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        let _ = products;
        Self::Plain
    }

    /// What is subtracted from the inputs in 8 bits that are multiplied.
    pub(super) fn middle(self) -> i32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::MIDDLE,
            _ => 0,
        }
    }
}

/// Rows of a tile, as groups.
#[derive(Clone, Copy)]
pub(super) struct TileRows<'a> {
    pub(super) groups: &'a [u32],
    pub(super) order: Order,
    pub(super) count: usize,
}

/// The order of the groups of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The groups of a row are adjacent, and each row starts `stride` after the previous one.
    Rows { stride: usize },
    /// The same group of [`ROWS`] rows is adjacent.
    Interleaved,
}

impl Order {
    /// The distances of rows and of the groups of a row.
    fn strides(self) -> [usize; 2] {
        match self {
            Self::Rows { stride } => [stride, 1],
            Self::Interleaved => [1, ROWS],
        }
    }
}

/// Adds the products of rows with the strips of a panel to their sums, in other types than 4 bits.
/// Inputs in 8 bits are less [`Engine::middle`].
///
/// A sum is one chain of additions in the order of the groups, so it does not depend on the number
/// of rows of a tile, nor on how a panel is divided.
pub(super) fn add_products(
    engine: Engine,
    products: ProductType,
    rows: TileRows<'_>,
    strips: &[Strip],
    sums: &mut Sums,
) {
    if rows.count == 0 || strips.is_empty() {
        return;
    }
    let [row, group] = rows.order.strides();
    assert!(
        rows.count <= ROWS
            && (rows.count - 1) * row + (strips.len() - 1) * group < rows.groups.len(),
        "rows of a tile out of bounds"
    );
    match engine {
        Engine::Plain => vectorised(
            #[inline(always)]
            || plain(products, rows, strips, sums),
        ),
        #[cfg(target_arch = "x86_64")]
        Engine::Avx2 => avx2::add_products(products, rows, strips, sums),
        #[cfg(target_arch = "x86_64")]
        Engine::Avx512 => avx512::add_products(products, rows, strips, sums),
    }
}

#[inline(always)]
fn plain(products: ProductType, rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
    let add = match products {
        ProductType::F32 => add_f32,
        ProductType::Bf16 => add_bf16,
        _ => add_int8,
    };
    let [of_row, of_group] = rows.order.strides();
    for (row, sums) in sums.iter_mut().enumerate().take(rows.count) {
        let groups = rows.groups[row * of_row..].iter().step_by(of_group);
        for (&group, strip) in groups.zip(strips) {
            add(sums, group, strip);
        }
    }
}

#[inline(always)]
fn add_f32(sums: &mut Strip, x: u32, weights: &Strip) {
    let x = f32::from_bits(x);
    for (sum, &weight) in sums.iter_mut().zip(weights) {
        *sum = (f32::from_bits(*sum) + x * f32::from_bits(weight)).to_bits();
    }
}

#[inline(always)]
fn add_bf16(sums: &mut Strip, x: u32, weights: &Strip) {
    let halves = |pair: u32| [pair << 16, pair & 0xFFFF_0000].map(f32::from_bits);
    let [x_low, x_high] = halves(x);
    for (sum, &weight) in sums.iter_mut().zip(weights) {
        let [low, high] = halves(weight);
        *sum = (f32::from_bits(*sum) + x_high * high + x_low * low).to_bits();
    }
}

#[inline(always)]
fn add_int8(sums: &mut Strip, x: u32, weights: &Strip) {
    let x = x.to_le_bytes().map(i32::from);
    for (sum, weight) in sums.iter_mut().zip(weights) {
        let mut total = *sum as i32;
        for (x, weight) in x.iter().zip(weight.to_le_bytes()) {
            total = total.wrapping_add(x * i32::from(weight as i8));
        }
        *sum = total as u32;
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // instructions that have no other form
mod avx512 {
    use core::arch::x86_64::{
        __m512bh, __m512i, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps,
        _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_storeu_si512,
    };
    use core::mem::transmute;

    use super::{Order, ProductType, ROWS, Strip, Sums, TileRows};

    /// Adds the products of groups of inputs and weights to sums.
    trait Step {
        /// # Safety
        ///
        /// The processor must have the instruction.
        unsafe fn step(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i;
    }

    struct Single;
    struct Half;
    struct Bytes;

    impl Step for Single {
        #[inline(always)]
        unsafe fn step(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i {
            // SAFETY: the caller says that there is AVX-512.
            unsafe {
                let [sums, x, weights] = [sums, x, weights].map(|x| _mm512_castsi512_ps(x));
                _mm512_castps_si512(_mm512_fmadd_ps(x, weights, sums))
            }
        }
    }

    impl Step for Half {
        #[inline(always)]
        unsafe fn step(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i {
            // SAFETY: the caller says that there is AVX512-BF16, and any bits are numbers.
            unsafe {
                let [x, weights] = [x, weights].map(|x| transmute::<__m512i, __m512bh>(x));
                _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sums), x, weights))
            }
        }
    }

    impl Step for Bytes {
        #[inline(always)]
        unsafe fn step(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i {
            // SAFETY: the caller says that there is AVX512-VNNI.
            unsafe { _mm512_dpbusd_epi32(sums, x, weights) }
        }
    }

    /// Same as the outer function of this name, which has checked counts and lengths.
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

    #[target_feature(enable = "avx512f")]
    fn single(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
        // SAFETY: the function has the feature, and `rows` was compared with `strips`.
        unsafe { by_rows::<Single>(rows, strips, sums) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn half(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
        // SAFETY: the function has the features, and `rows` was compared with `strips`.
        unsafe { by_rows::<Half>(rows, strips, sums) }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn bytes(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
        // SAFETY: the function has the features, and `rows` was compared with `strips`.
        unsafe { by_rows::<Bytes>(rows, strips, sums) }
    }

    /// The rows of a tile, as many at once as a kernel supports.
    #[inline(always)]
    unsafe fn by_rows<S: Step>(rows: TileRows<'_>, strips: &[Strip], sums: &mut Sums) {
        let (count, groups) = (rows.count, rows.groups.as_ptr());
        let sums = sums.as_mut_ptr();
        // SAFETY: the caller says so.
        unsafe {
            match rows.order {
                Order::Rows { stride } => {
                    by_count::<S, 1>(count, groups, stride, strips, sums);
                }
                Order::Interleaved => by_count::<S, ROWS>(count, groups, 1, strips, sums),
            }
        }
    }

    /// # Safety
    ///
    /// The same as of [`kernel`], for `count` rows.
    #[inline(always)]
    unsafe fn by_count<S: Step, const GROUP: usize>(
        count: usize,
        groups: *const u32,
        stride: usize,
        strips: &[Strip],
        sums: *mut Strip,
    ) {
        let mut at = 0;
        macro_rules! kernels {
            ($($count:literal)*) => {
                $(while count - at >= $count {
                    // SAFETY: the caller says so, and there are so many rows left.
                    unsafe {
                        let groups = groups.add(at * stride);
                        kernel::<S, $count, GROUP>(groups, stride, strips, sums.add(at));
                    }
                    at += $count;
                })*
            };
        }
        kernels!(12 8 4 2 1);
    }

    /// # Safety
    ///
    /// Each of `N` rows must have as many groups as strips, at a distance of `GROUP`, and the
    /// processor must have the instructions of the step.
    #[inline(always)]
    unsafe fn kernel<S: Step, const N: usize, const GROUP: usize>(
        groups: *const u32,
        stride: usize,
        strips: &[Strip],
        out: *mut Strip,
    ) {
        // SAFETY: the caller says that groups and instructions are there, and two registers are read
        // and written of strips of as many numbers.
        unsafe {
            let mut sums: [[__m512i; 2]; N] = core::array::from_fn(|row| {
                let at = out.add(row).cast::<i32>();
                [
                    _mm512_loadu_si512(at.cast()),
                    _mm512_loadu_si512(at.add(16).cast()),
                ]
            });
            for (i, strip) in strips.iter().enumerate() {
                let at = strip.as_ptr().cast::<i32>();
                let weights = [
                    _mm512_loadu_si512(at.cast()),
                    _mm512_loadu_si512(at.add(16).cast()),
                ];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(*groups.add(row * stride + i * GROUP) as i32);
                    sums[0] = S::step(sums[0], x, weights[0]);
                    sums[1] = S::step(sums[1], x, weights[1]);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                let at = out.add(row).cast::<i32>();
                _mm512_storeu_si512(at.cast(), sums[0]);
                _mm512_storeu_si512(at.add(16).cast(), sums[1]);
            }
        }
    }
}
