//! Rarity of tokens: quantiles of plain text.

/// The quantile of each token id: 0 has the most frequent tokens.
///
/// Quantiles are of occurrences, not of types: each has about the same share of the counted
/// text, and so about as many positions of a similar text. Ids that never occur belong to the
/// last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rarity {
    quantile: Vec<u8>,
    quantiles: u8,
}

impl Rarity {
    /// Counts `texts` over a vocabulary.
    pub fn count(texts: &[Vec<u32>], vocabulary: usize, quantiles: u8) -> Self {
        let quantiles = quantiles.max(1);
        let mut counts = vec![0u64; vocabulary];
        for &id in texts.iter().flatten() {
            if let Some(count) = counts.get_mut(id as usize) {
                *count += 1;
            }
        }
        let total: u64 = counts.iter().sum();
        let mut order: Vec<usize> = (0..vocabulary).collect();
        order.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then(a.cmp(&b)));
        let mut quantile = vec![quantiles - 1; vocabulary];
        let mut before = 0;
        for id in order {
            if counts[id] > 0 {
                let place = before * u64::from(quantiles) / total.max(1);
                quantile[id] = (place as u8).min(quantiles - 1);
            }
            before += counts[id];
        }
        Self {
            quantile,
            quantiles,
        }
    }

    /// The number of quantiles.
    pub fn quantiles(&self) -> u8 {
        self.quantiles
    }

    /// The quantile of a token.
    pub fn of(&self, id: u32) -> u8 {
        let last = self.quantiles - 1;
        self.quantile.get(id as usize).copied().unwrap_or(last)
    }
}

#[cfg(test)]
mod tests {
    use super::Rarity;

    #[test]
    fn quantiles_share_the_text() {
        let text = vec![0, 0, 0, 0, 1, 1, 2, 3];
        let rarity = Rarity::count(&[text], 6, 4);
        let of: Vec<u8> = (0..7).map(|id| rarity.of(id)).collect();
        assert_eq!(of, [0, 2, 3, 3, 3, 3, 3]);
    }
}
