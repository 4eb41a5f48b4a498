//! Clusters of one chunk, by the definition, in f64.

/// Tokens of each non-empty cluster of `tokens`, split in two `levels` times over.
pub(super) fn split(keys: &[Vec<f64>], tokens: Vec<usize>, levels: u32) -> Vec<Vec<usize>> {
    if tokens.is_empty() {
        return Vec::new();
    }
    if levels == 0 {
        return vec![tokens];
    }
    let axis = main_axis(keys, &tokens);
    let mean = mean(keys, &tokens);
    let (beyond, before) = tokens
        .into_iter()
        .partition(|&j| dot(&minus(&keys[j], &mean), &axis) > 0.0);
    let mut clusters = split(keys, before, levels - 1);
    clusters.extend(split(keys, beyond, levels - 1));
    clusters
}

/// Starts at the token farthest from the mean and runs three power iterations.
fn main_axis(keys: &[Vec<f64>], tokens: &[usize]) -> Vec<f64> {
    let mean = mean(keys, tokens);
    let centred: Vec<_> = tokens.iter().map(|&j| minus(&keys[j], &mean)).collect();
    let mut axis = vec![0.0; mean.len()];
    for x in &centred {
        if dot(x, x) > dot(&axis, &axis) {
            axis.clone_from(x);
        }
    }
    for _ in 0..3 {
        let mut next = vec![0.0; axis.len()];
        for x in &centred {
            let along = dot(x, &axis);
            next.iter_mut().zip(x).for_each(|(n, x)| *n += along * x);
        }
        let length = dot(&next, &next).sqrt();
        if length > 0.0 {
            next.iter_mut().for_each(|n| *n /= length);
        }
        axis = next;
    }
    axis
}

fn mean(keys: &[Vec<f64>], tokens: &[usize]) -> Vec<f64> {
    let mut mean = vec![0.0; keys[tokens[0]].len()];
    for &j in tokens {
        for (m, k) in mean.iter_mut().zip(&keys[j]) {
            *m += k / tokens.len() as f64;
        }
    }
    mean
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
