//! Eigenvectors of small symmetric matrices on the host, in f64.

/// The most sweeps; a few suffice in practice.
const MAX_SWEEPS: usize = 64;

/// Eigenvalues, largest first, and their orthonormal eigenvectors, by Jacobi's
/// method: each rotation clears one element off the diagonal.
///
/// `matrix` is row-major, `n` × `n` and symmetric.
pub(crate) fn symmetric(matrix: &[f64], n: usize) -> Vec<(f64, Vec<f64>)> {
    let mut a = matrix.to_vec();
    let mut vectors = vec![0.0; n * n];
    for i in 0..n {
        vectors[i * n + i] = 1.0;
    }
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..MAX_SWEEPS {
        let off: f64 = (0..n * n)
            .filter(|i| i / n != i % n)
            .map(|i| a[i] * a[i])
            .sum();
        if off <= total * 1e-30 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, p, q);
            }
        }
    }
    let mut pairs: Vec<_> = (0..n)
        .map(|i| {
            let column = (0..n).map(|row| vectors[row * n + i]).collect();
            (a[i * n + i], column)
        })
        .collect();
    pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
    pairs
}

/// Clears a[p][q] by a rotation of rows and columns p and q.
fn rotate(a: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let off = a[p * n + q];
    if off == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cos = 1.0 / (t * t + 1.0).sqrt();
    let sin = t * cos;
    for k in 0..n {
        let (x, y) = (a[k * n + p], a[k * n + q]);
        a[k * n + p] = cos * x - sin * y;
        a[k * n + q] = sin * x + cos * y;
    }
    for k in 0..n {
        let (x, y) = (a[p * n + k], a[q * n + k]);
        a[p * n + k] = cos * x - sin * y;
        a[q * n + k] = sin * x + cos * y;
    }
    for k in 0..n {
        let (x, y) = (vectors[k * n + p], vectors[k * n + q]);
        vectors[k * n + p] = cos * x - sin * y;
        vectors[k * n + q] = sin * x + cos * y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reproduces_a_matrix_from_its_eigenvectors() {
        let n = 7;
        let mut state = 5u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        };
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let x = random();
                matrix[i * n + j] = x;
                matrix[j * n + i] = x;
            }
        }
        let pairs = symmetric(&matrix, n);
        assert!(pairs.windows(2).all(|w| w[0].0 >= w[1].0));
        for i in 0..n {
            for j in 0..n {
                let sum: f64 = pairs.iter().map(|(value, v)| value * v[i] * v[j]).sum();
                assert!((sum - matrix[i * n + j]).abs() < 1e-12);
                let dot: f64 = (0..n).map(|k| pairs[i].1[k] * pairs[j].1[k]).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn diagonal_and_zero_matrices_are_their_own_answer() {
        let pairs = symmetric(&[1.0, 0.0, 0.0, 3.0], 2);
        assert_eq!(pairs[0], (3.0, vec![0.0, 1.0]));
        assert_eq!(pairs[1], (1.0, vec![1.0, 0.0]));
        assert!(
            symmetric(&[0.0; 9], 3)
                .iter()
                .all(|(value, _)| *value == 0.0)
        );
    }
}
