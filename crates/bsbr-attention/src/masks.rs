//! Masks of hidden keys, and how many logits are computed at a time.

use burn::tensor::{Device, Tensor, TensorData};

/// Added to a logit that must be hidden.
///
/// It is finite, so its product with zero is zero and never NaN. It is so low that
/// its exponential is exactly zero beside any visible logit.
pub(crate) const HIDDEN: f32 = -1e30;

/// Logits above this are visible: halfway down to [`HIDDEN`].
pub(crate) const VISIBLE: f32 = -1e29;

/// Logits computed at a time without autodiff: as many as fit the caches of a CPU.
const LOGITS_AT_A_TIME: usize = 1 << 21;

/// Logits computed at a time with autodiff. The backward pass keeps all of them
/// anyway, and the gradient of every slice has the size of the whole tensor.
const TRACKED_LOGITS_AT_A_TIME: usize = 1 << 25;

/// 0 where `is_visible(row, column)`, else [`HIDDEN`]. `[rows, columns]`
pub(crate) fn mask(
    [rows, columns]: [usize; 2],
    device: &Device,
    is_visible: impl Fn(usize, usize) -> bool,
) -> Tensor<2> {
    let mask: Vec<f32> = (0..rows * columns)
        .map(|i| match is_visible(i / columns, i % columns) {
            true => 0.0,
            false => HIDDEN,
        })
        .collect();
    Tensor::from_data(TensorData::new(mask, [rows, columns]), device)
}

/// Mask of shared keys for the tail chunks of `group`: chunk i sees the clusters of
/// chunks `0..=i`, and as many merged clusters as `merged` tells; later ones are hidden.
///
/// # Shapes
///
/// - output: `[1, 1, c, 1, before + T·G + end·G]` for a group that ends before `end`, 0 or
///   [`HIDDEN`]; the first `before` keys are visible to all
pub(crate) fn later_clusters(
    group: &std::ops::Range<usize>,
    before: usize,
    merged: &[usize],
    clusters: usize,
    device: &Device,
) -> Tensor<5> {
    let most = merged.last().copied().unwrap_or(0);
    let width = before + most + group.end * clusters;
    let mask = mask([group.len(), width], device, |row, key| {
        match key.checked_sub(before + most) {
            None => key < before + merged[row],
            Some(cluster) => cluster < (group.start + row + 1) * clusters,
        }
    });
    mask.reshape([1, 1, group.len(), 1, width])
}

/// The next chunks to compute, chosen so that their logits stay within the budget.
///
/// A chunk has `rows` queries over all heads and sequences; `keys(end)` is the
/// number of keys that each of them sees if the group ends before chunk `end`.
pub(crate) fn next_group(
    start: usize,
    chunks: usize,
    rows: usize,
    tracked: bool,
    keys: impl Fn(usize) -> usize,
) -> std::ops::Range<usize> {
    let budget = if tracked {
        TRACKED_LOGITS_AT_A_TIME
    } else {
        LOGITS_AT_A_TIME
    };
    let fits = |end: &usize| {
        (end - start)
            .saturating_mul(rows)
            .saturating_mul(keys(*end))
            <= budget
    };
    let end = (start + 2..=chunks)
        .take_while(fits)
        .last()
        .unwrap_or(start + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_every_chunk_once() {
        for chunks in [1, 2, 7] {
            for rows in [1, 1 << 19, 1 << 30] {
                let (mut next, mut seen) = (0, Vec::new());
                while next < chunks {
                    let group = next_group(next, chunks, rows, false, |end| end);
                    assert!(!group.is_empty());
                    next = group.end;
                    seen.extend(group);
                }
                assert_eq!(seen, (0..chunks).collect::<Vec<_>>());
            }
        }
    }
}
