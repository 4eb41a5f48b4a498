//! The cache of one head of one sequence.

use std::ops::Range;

use super::spans::{self, Spans};
use super::view::{Shared, View};
use crate::block_attention::growing::Growing;
use crate::block_attention::kept::{KeptRows, Lie};
use crate::block_attention::plan::Seen;
use crate::block_attention::queries::{Attending, Near, NearRows, Queries};
use crate::block_attention::settings::BlockAttention;
use crate::block_attention::summarise::Summariser;
use crate::cpu::block::QUERIES;
use crate::cpu::matrix::Mat;

/// The minimum number of tokens by which the near field of a head grows at a time.
const STEP: usize = 64;

/// One head of one sequence.
#[derive(Clone, Debug)]
pub(super) struct HeadCache {
    pub(super) settings: BlockAttention,
    pub(super) d: usize,
    /// Number of tokens fed.
    pub(super) tokens: usize,
    /// Keys and values of the sinks, once they are no longer near tokens. `[sinks, D]`
    pub(super) sinks: [Growing<f32>; 2],
    /// Keys and values of tokens from `near` on. `[n, D]`
    pub(super) window: [Growing<f32>; 2],
    pub(super) near: usize,
    /// Keys and values of all tokens, instead of a window, if near ones are rounded too.
    pub(super) rounded: Option<[KeptRows; 2]>,
    /// Mean keys and values of the clusters of chunks in no span. `[F·G, D]` without spans
    pub(super) means: [KeptRows; 2],
    /// The end of each cluster's tokens, from the first far chunk's first token. `[F·G]`
    pub(super) ends: Vec<u32>,
    /// Keys and values of far tokens, cluster by cluster, if they are looked up. `[F·S, D]`
    pub(super) far: [KeptRows; 2],
    pub(super) spans: Spans,
}

/// Buffers.
#[derive(Default)]
pub(super) struct Scratch {
    attending: Attending,
    summariser: Summariser,
    shared: Shared,
    /// Means of the chunk that leaves. `[G, D]`
    means: [Vec<f32>; 2],
    mean: Vec<f32>,
    spans: spans::Scratch,
}

impl HeadCache {
    /// An empty cache for `d` dimensions; near tokens are rounded too if `rounds_near`.
    pub(super) fn new(settings: BlockAttention, d: usize, rounds_near: bool) -> Self {
        let kept = |bits, lie| KeptRows::new(d, bits, lie);
        let (bits, of_means) = (settings.kv_bits, settings.kv_bits.of_means());
        Self {
            settings,
            d,
            tokens: 0,
            sinks: Default::default(),
            window: Default::default(),
            near: 0,
            rounded: rounds_near.then(|| [(); 2].map(|()| kept(bits, Lie::Rows))),
            means: [kept(of_means, Lie::Rows), kept(of_means, Lie::Rows)],
            ends: Vec::new(),
            far: [kept(bits, Lie::Columns), kept(bits, Lie::Rows)],
            spans: Spans::new(d, of_means),
        }
    }

    /// The number of clusters in spans.
    pub(super) fn spanned(&self) -> usize {
        self.spans.ends.len() * self.settings.spans.chunks
    }

    /// The tokens of a cluster.
    pub(super) fn members(&self, cluster: usize) -> Range<usize> {
        let start = cluster.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[cluster] as usize
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let exact = self.sinks.iter().chain(&self.window).map(|list| list.len());
        let rounded = self.rounded.iter().flatten();
        let kept = self.means.iter().chain(&self.far).chain(rounded);
        let kept = kept.map(KeptRows::bytes);
        4 * (exact.sum::<usize>() + self.ends.len()) + kept.sum::<usize>() + self.spans.bytes()
    }

    /// Writes the output of the next tokens.
    pub(super) fn feed(
        &mut self,
        [q, k, v]: [Mat<'_>; 3],
        scale: f32,
        rows: &mut [&mut [f32]],
        scratch: &mut Scratch,
    ) {
        scratch.shared.clear(rows.len() > QUERIES);
        let mut start = 0;
        while start < rows.len() {
            let chunk = self.settings.grid.whole_chunks(self.tokens);
            let end = self.settings.grid.start_of(chunk + 1);
            let len = (end - self.tokens).min(rows.len() - start);
            let new = [k, v].map(|from| from.rows(start, len));
            match &mut self.rounded {
                None => {
                    for (window, new) in self.window.iter_mut().zip(new) {
                        append(window, new, self.d);
                    }
                }
                Some(rounded) => {
                    for (rounded, new) in rounded.iter_mut().zip(new) {
                        keep_each(rounded, new, self.d);
                    }
                }
            }
            let seen = self.settings.seen(chunk);
            if seen.far > 0 {
                scratch.shared.bring_up(self);
            }
            let queries = Queries {
                q: q.rows(start, len),
                first: self.tokens,
                scale,
            };
            self.tokens += len;
            self.attend(queries, seen, &mut rows[start..start + len], scratch);
            if self.tokens == end {
                self.begin_chunk(chunk + 1, scratch);
            }
            start += len;
        }
    }

    /// Writes the output of queries of one chunk, which are the last tokens of the window.
    fn attend(
        &self,
        queries: Queries<'_>,
        seen: Seen,
        rows: &mut [&mut [f32]],
        scratch: &mut Scratch,
    ) {
        let [k, v] = match &self.rounded {
            None => self.near_rows().map(NearRows::Whole),
            Some(rounded) => rounded.each_ref().map(NearRows::Kept),
        };
        let near = Near {
            k,
            v,
            first: self.near,
        };
        let shared = View {
            head: self,
            shared: &scratch.shared,
        };
        let attending = &mut scratch.attending;
        attending.attend_chunk(
            queries,
            near,
            &shared,
            seen,
            &self.settings,
            |block, one| {
                one.write(&mut rows[block]);
            },
        );
    }

    /// Keys and values of the window. `[n, D]`
    fn near_rows(&self) -> [Mat<'_>; 2] {
        let tokens = self.window[0].len() / self.d.max(1);
        self.window
            .each_ref()
            .map(|x| Mat::dense(x, tokens, self.d))
    }

    /// A chunk begins: the oldest near one moves to the far field.
    fn begin_chunk(&mut self, chunk: usize, scratch: &mut Scratch) {
        let (d, size) = (self.d, self.settings.grid.chunk_size);
        let Some(leaving) = self.settings.grid.far_of(chunk).checked_sub(1) else {
            return;
        };
        let start = self.settings.grid.start_of(leaving) - self.near;
        if leaving == 0 {
            // The window started with the sinks.
            for (sinks, window) in self.sinks.iter_mut().zip(&self.window) {
                *sinks = window[..start * d].to_vec().into();
            }
        }
        if self.settings.clusters > 0 {
            let leaving = self.near_rows().map(|window| window.rows(start, size));
            let summariser = &mut scratch.summariser;
            summariser.gather(leaving, d, self.settings.clusters);
            self.keep(scratch);
            self.merge_span(&mut scratch.spans);
        }
        for window in &mut self.window {
            window.drain(..(start + size) * d);
        }
        self.near += start + size;
    }

    /// Stores the chunk that was put in the order of its clusters.
    fn keep(&mut self, scratch: &mut Scratch) {
        let (d, settings) = (self.d, &self.settings);
        let Scratch {
            summariser: chunk,
            means: of_chunk,
            mean,
            ..
        } = scratch;
        for of_chunk in of_chunk.iter_mut() {
            of_chunk.clear();
            of_chunk.resize(settings.clusters * d, 0.0);
        }
        mean.clear();
        mean.resize(d, 0.0);
        chunk.average(of_chunk.each_mut().map(Vec::as_mut_slice), mean, d);
        for (means, of_chunk) in self.means.iter_mut().zip(of_chunk) {
            means.push(of_chunk);
        }
        let mut end = self.ends.last().copied().unwrap_or(0);
        let mut start = 0;
        for &count in chunk.counts() {
            if settings.exact_clusters > 0 {
                let numbers = start * d..(start + count) * d;
                for (far, ordered) in self.far.iter_mut().zip(chunk.ordered()) {
                    far.push(&ordered[numbers.clone()]);
                }
            }
            start += count;
            end += count as u32;
            self.ends.push(end);
        }
    }

    /// Merges the clusters of a span, if its last chunk has become far.
    fn merge_span(&mut self, scratch: &mut spans::Scratch) {
        let (first, g) = (self.spanned(), self.settings.clusters);
        let of_span = first..first + self.settings.spans.chunks * g;
        if of_span.is_empty() || self.ends.len() < of_span.end {
            return;
        }
        let counts: Vec<usize> = of_span.map(|cluster| self.members(cluster).len()).collect();
        self.spans.add(&mut self.means, first, &counts, g, scratch);
    }
}

/// Adds rows one by one, because they are read in pieces of any size.
fn keep_each(rounded: &mut KeptRows, rows: Mat<'_>, d: usize) {
    let mut row = vec![0.0; d];
    for number in 0..rows.height() {
        rows.copy_row(number, &mut row);
        rounded.push(&row);
    }
}

/// Adds rows to a list.
fn append(list: &mut Growing<f32>, rows: Mat<'_>, d: usize) {
    let (at, more) = (list.len(), rows.height() * d);
    if list.capacity() - at < more {
        list.make_room(more.max(STEP * d));
    }
    list.resize(at + more, 0.0);
    for (row, to) in list[at..].chunks_exact_mut(d.max(1)).enumerate() {
        rows.copy_row(row, to);
    }
}
