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

/// The lanes of a mask, with the first as the lowest bit.
#[inline(always)]
pub(crate) fn bits<S: Simd>(mask: S::m32s) -> u32 {
    match bytemuck::bytes_of(&mask) {
        // Instruction sets with mask registers have a bit per lane, others a number.
        &[lanes] => u32::from(lanes),
        &[low, high] => u32::from(u16::from_ne_bytes([low, high])),
        numbers => {
            let lanes = numbers.chunks_exact(size_of::<f32>()).enumerate();
            lanes.fold(0, |bits, (lane, number)| {
                bits | u32::from(number[0] != 0) << lane
            })
        }
    }
}

/// A kernel that supports half registers, for cases in which a whole one would be half empty.
pub(crate) trait WithHalves {
    /// Runs the kernel. `half` has half the lanes, if the instruction set has such registers.
    fn with_halves<S: Simd, H: Simd>(self, simd: S, half: H);
}

/// [`dispatch`], with registers of half the width.
#[inline]
pub(crate) fn dispatch_with_halves<K: WithHalves>(kernel: K) {
    struct Both<K, H>(K, H);
    impl<K: WithHalves, H: Simd> WithSimd for Both<K, H> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.0.with_halves(simd, self.1);
        }
    }
    struct Alike<K>(K);
    impl<K: WithHalves> WithSimd for Alike<K> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.0.with_halves(simd, simd);
        }
    }
    match &*ISA {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(simd) => Simd::vectorize(*simd, Both(kernel, **simd)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(simd) => Simd::vectorize(*simd, Alike(kernel)),
        Isa::Other(arch) => arch.dispatch(Alike(kernel)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Above;

    impl WithSimd for Above {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let half = simd.splat_f32s(0.5);
            for expected in [0_u32, 1, 0b1010, 0xffff, 0x8001] {
                let numbers: [f32; 16] = core::array::from_fn(|lane| (expected >> lane & 1) as f32);
                let mut found = 0;
                for start in (0..16).step_by(S::F32_LANES) {
                    let mask = simd.greater_than_f32s(lanes(simd, &numbers, start), half);
                    found |= bits::<S>(mask) << start;
                }
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn bits_are_the_lanes_of_a_mask() {
        dispatch(Above);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            Simd::vectorize(simd, Above);
        }
        Above.with_simd(pulp::Scalar::new());
    }
}
