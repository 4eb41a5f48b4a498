//! Valid pickles with changed or missing bytes.

use std::fs;

use proptest::prelude::*;

use crate::pickles::{Pickle, both, zip};
use crate::support::{fixture, message, read_calmly};

fn good(folder: &str) -> Vec<u8> {
    fs::read(fixture(folder).join("pytorch_model.bin")).unwrap()
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    for name in ["pickle_zip", "pickle_legacy"] {
        let bytes = good(name);
        // Every byte of the last of it, where an archive has its directory.
        let tail = bytes.len() - 100;
        for length in (0..tail).step_by(5).chain(tail..bytes.len()) {
            let result = read_calmly(&path, &bytes[..length], &format!("{name} cut at {length}"));
            assert!(result.is_err(), "{name} cut at {length}");
        }
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    for name in ["pickle_zip", "pickle_legacy", "pickle_protocol4"] {
        let bytes = good(name);
        for at in (0..bytes.len()).step_by(3) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let _ = read_calmly(&path, &flipped, &format!("{name}, byte {at}"));
        }
    }
}

#[test]
fn a_damaged_storage_of_an_archive_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let pickle = Pickle::dict("wte", |p| p.tensor("0", 6, 0, &[6], &[1]));
    let storage = [7; 24];
    let mut bytes = zip(&pickle, &[("0", &storage)]);
    let at = bytes
        .windows(24)
        .position(|window| window == storage)
        .unwrap();
    bytes[at + 5] ^= 1;
    assert!(message(read_calmly(&path, &bytes, "damaged")).contains("checksum"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_pickle_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = both(&Pickle::new().op(&bytes));
    }

    #[test]
    fn any_instructions_are_refused_or_read(
        at in proptest::collection::vec(0usize..32, 0..200)
    ) {
        let ops: [&[u8]; 32] = [
            b"(", b"}", b"]", b")", b"N", b"\x88", b"K\x02", b"X\x01\x00\x00\x00a", b"s", b"u",
            b"a", b"e", b"t", b"\x85", b"\x86", b"\x87", b"q\x00", b"h\x00", b"q\x01", b"h\x01",
            b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"ctorch\nFloatStorage\n", b"X\x07\x00\x00\x00storage", b"Q", b"R", b"b", b"0", b"1",
            b"2", b"l", b"d",
        ];
        let mut pickle = Pickle::new();
        for at in at {
            pickle = pickle.op(ops[at]);
        }
        let _ = both(&pickle.op(b"."));
    }

    #[test]
    fn several_changed_bytes_never_panic(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_model.bin");
        for name in ["pickle_zip", "pickle_legacy"] {
            let mut bytes = good(name);
            for (at, byte) in &changes {
                let at = at % bytes.len();
                bytes[at] = *byte;
            }
            let _ = read_calmly(&path, &bytes, name);
        }
    }
}
