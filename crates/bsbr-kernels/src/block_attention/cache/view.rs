//! The far field of a head's cache, as queries see it.

use std::ops::Range;

use super::head::HeadCache;
use crate::block_attention::kept::{Coded, RoundingGrids};
use crate::block_attention::merged;
use crate::block_attention::plan::List;
use crate::block_attention::queries::SharedKeys;
use crate::block_attention::summarise::{log_count, log_counts};
use crate::block_attention::tokens::{Members, Side, Unpacked};
use crate::cpu::matrix::Mat;

/// Means decoded at a time if each is read once. They fit into the processor's cache.
const AT_ONCE: usize = 128;

/// Sinks and clusters.
#[derive(Default)]
pub(super) struct Shared {
    /// Decoded keys and values, if several blocks of queries read them.
    decoded: Option<[Vec<f32>; 2]>,
    bias: Vec<f32>,
    /// The number of the first cluster in the lists.
    first: usize,
    /// The number of the cluster after the last.
    clusters: usize,
    /// Decoded keys and values of merged clusters, if several blocks of queries read them.
    merged: Option<[Vec<f32>; 2]>,
    merged_bias: Vec<f32>,
}

impl Shared {
    /// Empties the lists. Keys and values are decoded all at once if `decodes`.
    pub(super) fn clear(&mut self, decodes: bool) {
        *self = Self {
            decoded: decodes.then(Default::default),
            merged: decodes.then(Default::default),
            ..Self::default()
        };
    }

    /// Updates the sinks and clusters from the cache.
    pub(super) fn bring_up(&mut self, head: &HeadCache) {
        let (spanned, sinks) = (head.spanned(), head.settings.grid.sinks);
        if self.first < spanned {
            // A new span contains all clusters of the lists.
            self.bias.truncate(sinks);
            for decoded in self.decoded.iter_mut().flatten() {
                decoded.truncate(sinks * head.d);
            }
            self.clusters = self.clusters.max(spanned);
            self.first = spanned;
        }
        self.bring_up_merged(head);
        if self.bias.is_empty() {
            self.bias.resize(sinks, 0.0);
            for (decoded, sinks) in self.decoded.iter_mut().flatten().zip(&head.sinks) {
                decoded.extend_from_slice(sinks);
            }
        }
        let rows = self.clusters..head.ends.len();
        for (decoded, means) in self.decoded.iter_mut().flatten().zip(&head.means) {
            means.decode_after(rows.start - spanned..rows.end - spanned, decoded);
        }
        let mut before = rows.start.checked_sub(1).map_or(0, |one| head.ends[one]);
        let counts = head.ends[rows].iter().map(|&end| {
            let count = end - std::mem::replace(&mut before, end);
            count as usize
        });
        log_counts(counts, &mut self.bias);
        self.clusters = head.ends.len();
    }

    /// The same for merged clusters.
    fn bring_up_merged(&mut self, head: &HeadCache) {
        let rows = self.merged_bias.len()..head.spans.ends.len();
        for (decoded, means) in self.merged.iter_mut().flatten().zip(&head.spans.means) {
            means.decode_after(rows.clone(), decoded);
        }
        let bias = rows.map(|merged| {
            let clusters = head.spans.clusters(merged).iter();
            let tokens = clusters.map(|&cluster| head.members(cluster as usize).len());
            log_count(tokens.sum())
        });
        self.merged_bias.extend(bias);
    }
}

/// The far field as a head's queries see it.
pub(super) struct View<'a> {
    pub(super) head: &'a HeadCache,
    pub(super) shared: &'a Shared,
}

impl View<'_> {
    /// Where the lists have a sink or cluster.
    fn place(&self, number: usize) -> usize {
        let sinks = self.head.settings.grid.sinks;
        match number < sinks {
            true => number,
            // Where nothing is read, clusters may be named that the lists no longer have.
            false => number.saturating_sub(self.shared.first).max(sinks),
        }
    }

    /// Decodes sinks and clusters in no span, of keys or of values.
    fn decode(&self, of: usize, rows: Range<usize>, to: &mut Vec<f32>) {
        let (head, d) = (self.head, self.head.d);
        to.resize(rows.len() * d, 0.0);
        let (sinks, clusters) = self.parts(rows);
        let (first, rest) = to.split_at_mut(sinks.len() * d);
        first.copy_from_slice(&head.sinks[of][sinks.start * d..sinks.end * d]);
        head.means[of].decode(clusters, rest);
    }

    /// Sinks, and clusters among those in no span, of some rows.
    fn parts(&self, rows: Range<usize>) -> (Range<usize>, Range<usize>) {
        let sinks = self.head.settings.grid.sinks;
        let before = sinks + self.head.spanned();
        (
            rows.start.min(sinks)..rows.end.min(sinks),
            rows.start.max(before) - before..rows.end.max(before) - before,
        )
    }
}

impl SharedKeys for View<'_> {
    fn rows<'a>(
        &'a self,
        of: usize,
        start: usize,
        len: usize,
        decoded: &'a mut Vec<f32>,
    ) -> Mat<'a> {
        let d = self.head.d;
        match &self.shared.decoded {
            Some(all) => Mat::dense(&all[of][self.place(start) * d..], len, d),
            None => {
                self.decode(of, start..start + len, decoded);
                Mat::dense(decoded, len, d)
            }
        }
    }

    fn coded(&self, list: List, of: usize, start: usize, len: usize) -> Option<Coded<'_>> {
        let head = self.head;
        if self.shared.decoded.is_some() {
            return None;
        }
        match list {
            List::Merged => head.spans.means[of].coded(start..start + len),
            List::Clusters => {
                let (sinks, clusters) = self.parts(start..start + len);
                let whole = &head.sinks[of][sinks.start * head.d..sinks.end * head.d];
                Some(head.means[of].coded(clusters)?.after(whole))
            }
        }
    }

    fn at_once(&self) -> usize {
        match self.shared.decoded {
            Some(_) => usize::MAX,
            None => AT_ONCE,
        }
    }

    fn bias(&self, start: usize, len: usize) -> &[f32] {
        &self.shared.bias[self.place(start)..][..len]
    }

    fn looked_up<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a> {
        let tokens = self.head.members(cluster);
        let [keys, values] = &self.head.far;
        Members {
            count: tokens.len(),
            d: self.head.d,
            sides: [
                keys.side(tokens.clone(), &mut unpacked.keys),
                values.side(tokens, &mut unpacked.values),
            ],
        }
    }

    fn decoded<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a> {
        let tokens = self.head.members(cluster);
        let [keys, values] = &self.head.far;
        let (count, d) = (tokens.len(), self.head.d);
        let of_keys = keys.unpack(tokens.clone(), &mut unpacked.keys);
        for column in unpacked.keys.chunks_exact_mut(count.max(1)) {
            decode_each(column, of_keys);
        }
        let of_values = values.unpack(tokens, &mut unpacked.values);
        for (number, row) in unpacked.values.chunks_exact_mut(d).enumerate() {
            let of = |list: &[f32], none: f32| list.get(number).copied().unwrap_or(none);
            let (scale, offset) = (of(of_values.scales, 1.0), of(of_values.offsets, 0.0));
            row.iter_mut().for_each(|x| *x = offset + scale * *x);
        }
        let sides = [&unpacked.keys, &unpacked.values].map(|numbers| Side {
            numbers,
            grids: None,
        });
        Members { count, d, sides }
    }

    fn merged<'a>(
        &'a self,
        of: usize,
        start: usize,
        len: usize,
        decoded: &'a mut Vec<f32>,
    ) -> Mat<'a> {
        let d = self.head.d;
        match &self.shared.merged {
            Some(all) => Mat::dense(&all[of][start * d..], len, d),
            None => self.head.spans.means[of].decoded(start..start + len, decoded),
        }
    }

    fn merged_bias(&self, start: usize, len: usize) -> &[f32] {
        &self.shared.merged_bias[start..start + len]
    }

    fn clusters_of(&self, merged: usize) -> &[u32] {
        self.head.spans.clusters(merged)
    }

    fn count_of(&self, cluster: usize) -> usize {
        self.head.members(cluster).len()
    }

    fn side<'a>(&'a self, of: usize, merged: usize, unpacked: &'a mut Vec<f32>) -> Side<'a> {
        let spans = &self.head.spans;
        spans.members[of].side(merged::range(&spans.ends, merged), unpacked)
    }
}

/// Decodes one dimension of several keys.
fn decode_each(column: &mut [f32], grids: RoundingGrids<'_>) {
    for (x, scale) in column.iter_mut().zip(grids.scales) {
        *x *= scale;
    }
    for (x, offset) in column.iter_mut().zip(grids.offsets) {
        *x += offset;
    }
}
