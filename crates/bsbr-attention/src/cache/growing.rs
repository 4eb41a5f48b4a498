//! A tensor that tokens are appended to.

use burn::tensor::Tensor;

/// The most tokens by which a buffer grows.
pub(super) const STEP: usize = 256;

/// Rows are added in place to spare room, which grows in steps. Appending one token
/// copies only that token, except once every `step` tokens.
#[derive(Debug, Clone)]
pub(super) struct Growing {
    /// `[B, H, room, D]`
    rows: Option<Tensor<4>>,
    used: usize,
    step: usize,
}

impl Growing {
    pub fn new(step: usize) -> Self {
        Self {
            rows: None,
            used: 0,
            step,
        }
    }

    /// For up to `room` tokens, allocated in equal steps as needed, because settings
    /// may name more room than the memory has.
    pub fn within(room: usize) -> Self {
        let steps = room.div_ceil(STEP).max(1);
        Self::new(room.div_ceil(steps).max(1))
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Appends `more`. `[B, H, n, D]`
    pub fn append(&mut self, more: Tensor<4>) {
        let [b, h, n, d] = more.dims();
        if n == 0 {
            return;
        }
        let device = more.device();
        let options = (&device, more.dtype());
        let needed = self.used + n;
        let rows = match self.rows.take() {
            Some(rows) if rows.dims()[2] >= needed => rows,
            held => {
                let room = needed.next_multiple_of(self.step) - self.used;
                let free = Tensor::zeros([b, h, room, d], options);
                match held {
                    Some(rows) if self.used > 0 => {
                        Tensor::cat(vec![rows.narrow(2, 0, self.used), free], 2)
                    }
                    _ => free,
                }
            }
        };
        self.rows = Some(rows.slice_assign([0..b, 0..h, self.used..needed, 0..d], more));
        self.used = needed;
    }

    /// Keeps the first `head` tokens and those from `tail` on.
    pub fn drop_between(&mut self, head: usize, tail: usize) {
        let Some(rows) = self.rows.take() else {
            return;
        };
        let kept = self.used - tail;
        let mut fresh = Self::new(self.step);
        if head > 0 {
            fresh.append(rows.clone().narrow(2, 0, head));
        }
        if kept > 0 {
            fresh.append(rows.narrow(2, tail, kept));
        }
        *self = fresh;
    }

    /// Tokens `start..start + n`. `[B, H, n, D]`, or `None` if empty
    pub fn part(&self, start: usize, n: usize) -> Option<Tensor<4>> {
        self.rows.clone().map(|rows| rows.narrow(2, start, n))
    }

    /// All tokens. `[B, H, len, D]`, or `None` if empty
    pub fn all(&self) -> Option<Tensor<4>> {
        self.part(0, self.used)
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| {
            let [b, h, _, d] = rows.dims();
            b * h * self.used * d * rows.dtype().size()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn row(value: f32, n: usize) -> Tensor<4> {
        Tensor::full([1, 1, n, 2], value, &Device::default())
    }

    fn values(growing: &Growing) -> Vec<f32> {
        let all = growing.all().expect("something was appended");
        all.narrow(3, 0, 1).into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn keeps_what_was_appended_across_steps() {
        let mut growing = Growing::new(3);
        assert!(growing.all().is_none());
        for (value, n) in [(1.0, 2), (2.0, 1), (3.0, 1), (4.0, 7)] {
            growing.append(row(value, n));
        }
        assert_eq!(
            values(&growing),
            [1., 1., 2., 3., 4., 4., 4., 4., 4., 4., 4.]
        );
        assert_eq!((growing.len(), growing.bytes()), (11, 88));
    }

    #[test]
    fn room_is_made_in_equal_steps_as_it_is_needed() {
        let room = |growing: &Growing| growing.rows.as_ref().map(|rows| rows.dims()[2]);
        let mut growing = Growing::within(usize::MAX);
        growing.append(row(1.0, 3));
        assert_eq!(room(&growing), Some(256));
        let mut growing = Growing::within(260);
        for (n, expected) in [(1, 130), (130, 260), (129, 260)] {
            growing.append(row(2.0, n));
            assert_eq!(room(&growing), Some(expected));
        }
    }

    #[test]
    fn drops_what_is_between() {
        let mut growing = Growing::new(4);
        for value in 0..6 {
            growing.append(row(value as f32, 1));
        }
        growing.drop_between(1, 4);
        growing.append(row(9.0, 1));
        assert_eq!(values(&growing), [0., 4., 5., 9.]);
    }
}
