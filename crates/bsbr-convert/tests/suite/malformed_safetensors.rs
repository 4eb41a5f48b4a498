//! Damaged and inconsistent safetensors files give a typed error, quickly and in little memory.

use std::fs;

use bsbr_convert::{Checkpoint, LoadError};
use proptest::prelude::*;

use crate::allocations::peak;
use crate::support::{fixture, message, read_calmly};

fn good() -> Vec<u8> {
    fs::read(fixture("single").join("model.safetensors")).unwrap()
}

/// A file with this header and this many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refused(bytes: &[u8], words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let message = message(read_calmly(&path, bytes, words));
    assert!(message.contains(words), "{message}");
    assert!(message.contains("model.safetensors"), "{message}");
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let bytes = good();
    for length in 0..bytes.len() {
        let result = read_calmly(&path, &bytes[..length], &format!("cut at {length}"));
        assert!(result.is_err(), "cut at {length}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(read_calmly(&path, &longer, "one byte more").is_err());
}

#[test]
fn a_flipped_bit_in_the_header_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let bytes = good();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for at in 0..header {
        // All bits of the length and of the first tensor, one of each byte of the others.
        let bits = if at < 120 { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let _ = read_calmly(&path, &flipped, &format!("bit {bit} of byte {at}"));
        }
    }
}

#[test]
fn headers_that_lie_are_refused() {
    refused(&[], "0 bytes");
    refused(&u64::MAX.to_le_bytes(), "18446744073709551615");
    refused(&100_000_001u64.to_le_bytes(), "100000000");
    refused(&99_999_999u64.to_le_bytes(), "only 0 follow");
    refused(&file("", 0), "does not start");
    refused(&file("[]", 0), "does not start");
    refused(&file("{", 0), "its header");
    refused(&file("{}", 3), "3 bytes");
    refused(&file("{\"a\": 1}", 0), "its header");
    let mut not_utf8 = file(
        r#"{"????":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        4,
    );
    for byte in &mut not_utf8[10..14] {
        *byte = 0xff;
    }
    refused(&not_utf8, "its header");
}

#[test]
fn tensors_that_lie_are_named() {
    let one = |entry: &str| format!(r#"{{"wte":{{{entry}}}}}"#);
    for (entry, words) in [
        (r#""dtype":"F99","shape":[1],"data_offsets":[0,4]"#, "`F99`"),
        (r#""dtype":"f32","shape":[1],"data_offsets":[0,4]"#, "`f32`"),
        (
            r#""dtype":"F32","shape":[1],"data_offsets":[0,8]"#,
            "data has 4",
        ),
        (
            r#""dtype":"F32","shape":[1],"data_offsets":[4,8]"#,
            "expected 0",
        ),
        (
            r#""dtype":"F32","shape":[1],"data_offsets":[0,3]"#,
            "takes 4 bytes",
        ),
        (
            r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#,
            "takes 8 bytes",
        ),
        (
            r#""dtype":"F32","shape":[],"data_offsets":[0,0]"#,
            "takes 4 bytes",
        ),
        (
            r#""dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]"#,
            "overflows",
        ),
        (
            r#""dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]"#,
            "data has 4",
        ),
    ] {
        refused(&file(&one(entry), 4), words);
        refused(&file(&one(entry), 4), "`wte`");
    }
    for entry in [
        r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#,
        r#""dtype":"F32","shape":[1.5],"data_offsets":[0,4]"#,
        r#""dtype":"F32","shape":[1],"data_offsets":[0]"#,
        r#""dtype":"F32","shape":[1],"data_offsets":[0,4,8]"#,
        r#""dtype":"F32","shape":[1]"#,
        r#""dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1"#,
        r#""dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]"#,
        r#""dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]"#,
    ] {
        refused(&file(&one(entry), 4), "its header");
    }
}

#[test]
fn tensors_must_not_overlap_or_leave_gaps_or_share_a_name() {
    let two = |a: &str, b: &str, from: usize, to: usize| {
        format!(
            r#"{{"{a}":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},
                "{b}":{{"dtype":"U8","shape":[4],"data_offsets":[{from},{to}]}}}}"#
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    assert!(read_calmly(&path, &file(&two("a", "b", 4, 8), 8), "good").is_ok());
    refused(&file(&two("a", "b", 2, 6), 6), "`b`");
    refused(&file(&two("a", "b", 0, 4), 4), "`b`");
    refused(&file(&two("a", "b", 5, 9), 9), "`b`");
    refused(&file(&two("a", "b", 4, 8), 9), "end at byte 8");
    refused(&file(&two("a", "a", 4, 8), 8), "named twice");
}

#[test]
fn a_header_costs_no_more_than_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let long_list = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(4 << 20));
    let long_shape = format!(
        r#"{{"a":{{"dtype":"F32","shape":[{}1]"#,
        "1,".repeat(4 << 20)
    );
    let deep = format!(r#"{{"a":{}"#, "[".repeat(8 << 20));
    let deep_metadata = format!(r#"{{"__metadata__":{}"#, "[".repeat(8 << 20));
    let long_name = format!(r#"{{"{}":1}}"#, "a".repeat(8 << 20));
    let many: String = (0..300_000)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},"#))
        .collect();
    let many = format!("{{{}}}", many.trim_end_matches(','));
    for header in [long_list, long_shape, deep, deep_metadata, long_name, many] {
        fs::write(&path, file(&header, 0)).unwrap();
        let (result, bytes) = peak(|| Checkpoint::open_file(&path));
        assert!(result.is_err(), "{}", &header[..40]);
        assert!(bytes < 40 << 20, "{}: {bytes} bytes", &header[..40]);
    }
}

#[test]
fn a_header_of_the_largest_size_is_refused_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut bytes = 100_000_000u64.to_le_bytes().to_vec();
    bytes.extend(br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#);
    bytes.resize(8 + 100_000_000, b' ');
    let error = read_calmly(&path, &bytes, "100 MB of blanks");
    assert!(matches!(error, Err(LoadError::Malformed { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let _ = read_calmly(&path, &bytes, "random bytes");
        let mut framed = (bytes.len() as u64).to_le_bytes().to_vec();
        framed.extend(&bytes);
        let _ = read_calmly(&path, &framed, "random header");
    }

    #[test]
    fn several_changed_bytes_never_panic(
        changes in proptest::collection::vec((0usize..4096, any::<u8>()), 1..8)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut bytes = good();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = read_calmly(&path, &bytes, "changed bytes");
    }
}
