//! Explicit vectors, for loops that the compiler would not keep in registers.

use std::sync::LazyLock;

use pulp::{Simd, WithSimd};

/// The instruction sets with kernels.
///
/// `pulp`'s own choice would exclude AVX2, which requires a feature that `gemm` does not enable.
enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    Other(pulp::Arch),
}

/// The best of this machine.
static ISA: LazyLock<Isa> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = pulp::x86::V4::try_new() {
            return Isa::Avx512(simd);
        }
        if let Some(simd) = pulp::x86::V3::try_new() {
            return Isa::Avx2(simd);
        }
    }
    Isa::Other(pulp::Arch::new())
});

/// Runs a kernel compiled for the best instruction set of this machine.
#[inline]
pub(crate) fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    match &*ISA {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(simd) => Simd::vectorize(*simd, kernel),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(simd) => Simd::vectorize(*simd, kernel),
        Isa::Other(arch) => arch.dispatch(kernel),
    }
}

/// A register of numbers from index `at` on.
#[inline(always)]
pub(crate) fn lanes<S: Simd>(_: S, from: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&from[at..at + S::F32_LANES]).0[0]
}

/// Writes a register from index `at` on.
#[inline(always)]
pub(crate) fn store<S: Simd>(_: S, to: &mut [f32], at: usize, x: S::f32s) {
    S::as_mut_simd_f32s(&mut to[at..at + S::F32_LANES]).0[0] = x;
}

/// [`lanes`] without a bounds check, which saves two instructions where one or two use the
/// register.
///
/// # Safety
///
/// A whole register of numbers must exist from `at` on.
#[inline(always)]
#[allow(unsafe_code)] // what the caller promises
pub(crate) unsafe fn lanes_unchecked<S: Simd>(_: S, from: &[f32], at: usize) -> S::f32s {
    debug_assert!(at + S::F32_LANES <= from.len());
    // SAFETY: the caller says that they are there, and any bits are a register of numbers.
    unsafe { from.as_ptr().add(at).cast::<S::f32s>().read_unaligned() }
}

/// One number in every lane, without a bounds check.
///
/// # Safety
///
/// Index `at` must exist.
#[inline(always)]
#[allow(unsafe_code)] // what the caller promises
pub(crate) unsafe fn splat_unchecked<S: Simd>(simd: S, from: &[f32], at: usize) -> S::f32s {
    debug_assert!(at < from.len());
    // SAFETY: the caller says that it is there.
    simd.splat_f32s(unsafe { *from.get_unchecked(at) })
}

/// Whether any lane of a mask is set.
#[inline(always)]
pub(crate) fn is_any<S: Simd>(simd: S, mask: S::m32s) -> bool {
    simd.first_true_m32s(mask) < S::F32_LANES
}
