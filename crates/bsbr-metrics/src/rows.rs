//! A metric of two rows, applied to every row of two flat buffers.

use crate::MetricError;

/// Applies `metric` to each pair of rows of `width` values. Errors name the
/// row.
pub(crate) fn map_rows<T, R>(
    left: &[T],
    right: &[T],
    width: usize,
    metric: impl Fn(&[T], &[T]) -> Result<R, MetricError>,
) -> Result<Vec<R>, MetricError> {
    crate::check::same_length("rows", left, right)?;
    // A width of zero divides no buffer that is not empty.
    if !left.len().is_multiple_of(width) {
        return Err(MetricError::NotRows {
            len: left.len(),
            width,
        });
    }
    left.chunks_exact(width)
        .zip(right.chunks_exact(width))
        .enumerate()
        .map(|(row, (left, right))| {
            metric(left, right).map_err(|source| MetricError::Row {
                row,
                source: Box::new(source),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::map_rows;
    use crate::MetricError;

    #[test]
    fn names_the_row_at_fault() {
        let fail_on_two = |left: &[f32], _: &[f32]| match left {
            [2.0] => Err(MetricError::Empty { what: "things" }),
            _ => Ok(left[0]),
        };
        assert_eq!(map_rows(&[1.0], &[1.0], 1, fail_on_two), Ok(vec![1.0]));
        assert_eq!(
            map_rows(&[1.0, 2.0], &[1.0, 2.0], 1, fail_on_two),
            Err(MetricError::Row {
                row: 1,
                source: Box::new(MetricError::Empty { what: "things" })
            })
        );
    }

    #[test]
    fn refuses_a_partial_row() {
        let first = |left: &[f32], _: &[f32]| Ok(left[0]);
        for width in [0, 2] {
            assert_eq!(
                map_rows(&[1.0; 3], &[1.0; 3], width, first),
                Err(MetricError::NotRows { len: 3, width })
            );
        }
    }
}
