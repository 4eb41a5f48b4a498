//! Guarantees of evaluation windows and random ids.

use bsbr_data::corpus::random_ids;
use bsbr_data::windows::{Window, strided_windows};
use proptest::prelude::*;

#[test]
fn the_last_window_is_flush_with_the_end() {
    let windows = strided_windows(10, 6, 3);
    let expected = [(0..6, 1..6), (3..9, 6..9), (4..10, 9..10)];
    let expected = expected.map(|(range, scored)| Window { range, scored });
    assert_eq!(windows, expected);
}

#[test]
fn what_cannot_be_predicted_has_no_windows() {
    assert!(strided_windows(1, 8, 4).is_empty());
    assert!(strided_windows(0, 8, 4).is_empty());
    assert!(strided_windows(100, 1, 1).is_empty());
}

#[test]
fn random_ids_are_seeded_and_bounded() {
    let ids = random_ids(1, 50, 1000);
    assert_eq!(ids, random_ids(1, 50, 1000));
    assert_ne!(ids, random_ids(2, 50, 1000));
    assert!(ids.iter().all(|id| *id < 50));
    assert!((0..50).all(|id| ids.contains(&id)));
    assert_eq!(random_ids(1, 0, 3), [0, 0, 0]);
}

proptest! {
    #[test]
    fn every_token_but_the_first_is_scored_once(
        len in 2usize..400, window in 2usize..80, stride in 0usize..100,
    ) {
        let windows = strided_windows(len, window, stride);
        let mut next = 1;
        for (at, one) in windows.iter().enumerate() {
            prop_assert!(one.range.len() <= window && one.range.end <= len);
            prop_assert!(one.range.start < one.scored.start);
            prop_assert_eq!(one.scored.start, next);
            prop_assert!(!one.scored.is_empty());
            prop_assert_eq!(one.scored.end, one.range.end);
            if at > 0 {
                let context = one.scored.start - one.range.start;
                prop_assert!(context >= window - stride.clamp(1, window - 1));
            }
            next = one.scored.end;
        }
        prop_assert_eq!(next, len);
    }
}
