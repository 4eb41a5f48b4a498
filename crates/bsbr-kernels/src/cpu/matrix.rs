//! Strided matrix views and the block product on them.

use core::marker::PhantomData;

use gemm::Parallelism;

/// A strided view of an `f32` matrix; element (r, c) is `data[r·rs + c·cs]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    rs: usize,
    cs: usize,
}

/// A mutable row-major view; element (r, c) is `data[r·rs + c]`.
#[derive(Debug)]
pub(crate) struct MatMut<'a> {
    // Not a slice: in adjacent views, the rows of one lie between those of the other.
    data: *mut f32,
    rows: usize,
    cols: usize,
    rs: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view has its elements to itself, as the mutable slice has that it was made of.
#[allow(unsafe_code)] // a pointer is not `Send` on its own
unsafe impl Send for MatMut<'_> {}

/// Number of elements from the first to the last of a strided matrix.
fn span(rows: usize, cols: usize, rs: usize, cs: usize) -> usize {
    if rows == 0 || cols == 0 {
        0
    } else {
        (rows - 1) * rs + (cols - 1) * cs + 1
    }
}

impl<'a> Mat<'a> {
    /// A view with row stride `rs` and column stride `cs`.
    ///
    /// # Panics
    ///
    /// Panics if `data` is too short for it.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize, rs: usize, cs: usize) -> Self {
        assert!(
            span(rows, cols, rs, cs) <= data.len(),
            "matrix view out of bounds"
        );
        Self {
            data,
            rows,
            cols,
            rs,
            cs,
        }
    }

    /// A contiguous row-major matrix.
    pub(crate) fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols, 1)
    }

    /// The transposed view.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            rs: self.cs,
            cs: self.rs,
            ..self
        }
    }

    /// The view of `len` rows from `start` on.
    pub(crate) fn rows(self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.rows, "row range out of bounds");
        let offset = if len == 0 { 0 } else { start * self.rs };
        Self {
            data: &self.data[offset..],
            rows: len,
            ..self
        }
    }

    /// The number of rows.
    pub(crate) fn height(&self) -> usize {
        self.rows
    }

    /// Copies one row to `out`.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [f32]) {
        let start = row * self.rs;
        if self.cs == 1 {
            out.copy_from_slice(&self.data[start..start + self.cols]);
        } else {
            for (c, x) in out.iter_mut().enumerate() {
                *x = self.data[start + c * self.cs];
            }
        }
    }
}

impl<'a> MatMut<'a> {
    /// A contiguous row-major matrix.
    ///
    /// # Panics
    ///
    /// Panics if `data` is too short for it.
    pub(crate) fn dense(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert!(rows * cols <= data.len(), "matrix view out of bounds");
        Self {
            data: data.as_mut_ptr(),
            rows,
            cols,
            rs: cols,
            borrowed: PhantomData,
        }
    }

    /// The same view with a shorter lifetime.
    pub(crate) fn reborrow(&mut self) -> MatMut<'_> {
        MatMut {
            borrowed: PhantomData,
            ..*self
        }
    }

    /// One row.
    ///
    /// # Panics
    ///
    /// Panics if the row does not exist.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row out of bounds");
        // SAFETY: the view holds its rows' whole extent, and has them to itself.
        #[allow(unsafe_code)] // a view has no slice
        unsafe {
            core::slice::from_raw_parts_mut(self.data.add(row * self.rs), self.cols)
        }
    }

    /// Adjacent views of `width` columns each; the last may be narrower.
    pub(crate) fn column_panels(self, width: usize) -> Vec<Self> {
        let starts = (0..self.cols).step_by(width.max(1));
        starts
            .map(|start| Self {
                data: self.data.wrapping_add(start),
                cols: width.min(self.cols - start),
                ..self
            })
            .collect()
    }
}

/// `dst = scale·lhs·rhs`, or `dst += scale·lhs·rhs` if `accumulate`, on the calling thread. The
/// first numbers of `dst` are a contiguous row-major matrix.
///
/// # Panics
///
/// Panics if `dst` is too short, or if the dimensions do not match.
pub(crate) fn product(dst: &mut [f32], lhs: Mat<'_>, rhs: Mat<'_>, scale: f32, accumulate: bool) {
    let dst = MatMut::dense(dst, lhs.rows, rhs.cols);
    call(dst, lhs, rhs, scale, accumulate, Parallelism::None);
}

/// `dst = lhs·rhs`, or `dst += lhs·rhs` if `accumulate`, on the calling thread.
///
/// # Panics
///
/// Panics if the dimensions do not match.
pub(crate) fn product_in_view(dst: MatMut<'_>, lhs: Mat<'_>, rhs: Mat<'_>, accumulate: bool) {
    call(dst, lhs, rhs, 1.0, accumulate, Parallelism::None);
}

/// `dst += lhs·rhs` on all threads; `dst` as in [`product`].
///
/// # Panics
///
/// Same as [`product`].
pub(crate) fn add_product_parallel(dst: &mut [f32], lhs: Mat<'_>, rhs: Mat<'_>) {
    let dst = MatMut::dense(dst, lhs.rows, rhs.cols);
    call(dst, lhs, rhs, 1.0, true, Parallelism::Rayon(0));
}

fn call(
    dst: MatMut<'_>,
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    scale: f32,
    accumulate: bool,
    parallelism: Parallelism,
) {
    assert!(
        dst.rows == lhs.rows && dst.cols == rhs.cols && lhs.cols == rhs.rows,
        "matrix dimensions do not match"
    );
    // SAFETY: the views hold their pointers' whole extent (checked when they
    // are made), `dst` is borrowed mutably so that it overlaps neither operand,
    // its row stride is at least its number of columns, and panels of one matrix
    // have no column in common.
    #[allow(unsafe_code)] // the only entry of the gemm crate is an unsafe function
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            lhs.cols,
            dst.data,
            1,
            dst.rs as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.cs as isize,
            lhs.rs as isize,
            rhs.data.as_ptr(),
            rhs.cs as isize,
            rhs.rs as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
