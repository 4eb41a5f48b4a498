//! Damaged, inconsistent and malicious pickles give a typed error, quickly, in little memory, and
//! without execution.

use std::fs;
use std::path::Path;

use bsbr_convert::{Checkpoint, LoadError, ModelFolder};
use zip::CompressionMethod;

use crate::allocations::peak;
use crate::pickles::{Pickle, archive, both, legacy, zip};
use crate::support::{fixture, message, read_all, read_calmly};

fn refused(pickle: &Pickle, words: &str) {
    for result in both(pickle) {
        let message = message(result);
        assert!(message.contains(words), "{message}, expected {words}");
    }
}

/// The name for which both kinds of file are refused.
fn forbidden(pickle: &Pickle) -> String {
    let names = both(pickle).map(|result| match result {
        Err(LoadError::ForbiddenName { name, .. }) => name,
        other => panic!("{other:?}"),
    });
    assert_eq!(names[0], names[1]);
    names[0].clone()
}

#[test]
fn the_pickles_written_by_hand_are_read() {
    let tensor = Pickle::dict("a", |p| p.tensor("0", 6, 0, &[2, 3], &[3, 1]));
    for result in both(&tensor) {
        assert_eq!(result.unwrap(), 24);
    }
}

#[test]
fn pickles_that_would_run_a_command_are_refused_by_its_name() {
    let was_run = Path::new("bsbr-pickle-was-run");
    for folder in ["malicious_zip", "malicious_legacy", "malicious_protocol4"] {
        let folder = ModelFolder::open(fixture(folder)).unwrap();
        match Checkpoint::open(&folder) {
            Err(error @ LoadError::ForbiddenName { .. }) => {
                // What `os.system` is called where it is defined.
                assert!(error.to_string().contains("posix.system"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!was_run.exists());
    }
}

#[test]
fn names_are_refused_however_they_are_put_together() {
    assert_eq!(
        forbidden(&Pickle::new().global("os", "system").op(b".")),
        "os.system"
    );
    // By INST.
    assert_eq!(
        forbidden(&Pickle::new().op(b"(ios\nsystem\n.")),
        "os.system"
    );
    // By STACK_GLOBAL, its parts from the stack, from the memo and with other values between.
    let apart = Pickle::new()
        .text("os")
        .op(b"q\x00\x30")
        .text("system")
        .op(b"q\x01\x30")
        .text("collections")
        .op(b"\x30N\x30h\x00h\x01\x93.");
    assert_eq!(forbidden(&apart), "os.system");
    let swapped = Pickle::new()
        .text("os")
        .text("system")
        .text("x")
        .op(b"\x30\x93.");
    assert_eq!(forbidden(&swapped), "os.system");
    // Harmless modules have names that are not.
    for (module, name) in [
        ("torch", "load"),
        ("torch", "FloatStorage.from_file"),
        ("collections", "namedtuple"),
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("torch._utils", "_rebuild_sparse_tensor"),
    ] {
        let pickle = Pickle::new().global(module, name).op(b")R.");
        assert_eq!(forbidden(&pickle), format!("{module}.{name}"));
    }
}

#[test]
fn a_name_in_any_of_the_pickles_of_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let evil = Pickle::new().global("os", "system").op(b".");
    let fine = Pickle::new().op(b"}.");
    let two = [
        ("model/data.pkl".to_owned(), fine.0.as_slice()),
        ("deep/model/data.pkl".to_owned(), evil.0.as_slice()),
    ];
    let result = read_calmly(
        &path,
        &archive(&two, CompressionMethod::Stored),
        "two pickles",
    );
    assert!(matches!(result, Err(LoadError::ForbiddenName { .. })));

    let mut bytes = legacy(&fine, &[]);
    let keys = bytes.len() - 6;
    bytes.truncate(keys);
    bytes.extend(&evil.0);
    let result = read_calmly(&path, &bytes, "evil keys");
    assert!(
        matches!(result, Err(LoadError::ForbiddenName { .. })),
        "{result:?}"
    );
}

#[test]
fn pickles_that_are_wrong_say_where() {
    refused(&Pickle::new(), "byte ");
    refused(&Pickle::new().op(b"."), "value is missing");
    refused(&Pickle::new().op(b"N0."), "value is missing");
    refused(&Pickle::new().op(b"(."), "a mark where");
    refused(&Pickle::new().op(b"t."), "a mark is missing");
    refused(&Pickle::new().op(b"h\x07."), "memo 7");
    refused(&Pickle::new().op(b"\xff"), "0xff");
    refused(&Pickle::new().op(b"N\x93."), "value is missing");
    refused(&Pickle::new().op(b"NN\x93."), "not made of strings");
    refused(&Pickle::new().op(b")N\x81."), "0x81");
    refused(&Pickle::new().op(b"X\xff\xff\xff\xff"), "4294967295 bytes");
    refused(
        &Pickle::new().op(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
        "18446744073709551615 bytes",
    );
    refused(
        &Pickle::new().op(b"\x8b\xff\xff\xff\x7f"),
        "2147483647 bytes",
    );
    refused(&Pickle::new().op(b"X\x01\x00\x00\x00\xff."), "not UTF-8");
    refused(&Pickle::new().op(b"I12"), "line without end");
    refused(&Pickle(vec![0x80, 9]), "protocol 9");
    refused(&Pickle::new().op(b"NN."), "left over");
    for result in both(&Pickle::new().op(b"K\x01.")) {
        assert!(result.is_err());
    }
}

#[test]
fn tensors_must_fit_their_storages() {
    let tensor = |elements, offset, shape: &[u32], stride: &[u32]| {
        let (shape, stride) = (shape.to_vec(), stride.to_vec());
        Pickle::dict("wte", move |p| {
            p.tensor("0", elements, offset, &shape, &stride)
        })
    };
    // More than the storage is said to have.
    refused(&tensor(6, 0, &[7], &[1]), "storage '0'");
    refused(&tensor(6, 6, &[1], &[1]), "storage '0'");
    refused(&tensor(6, 0, &[2, 2], &[5, 1]), "storage '0'");
    refused(&tensor(6, 0, &[2], &[1, 1]), "rank");
    // More than it has.
    refused(&tensor(600, 0, &[600], &[1]), "byte");
    // One element made into many.
    refused(&tensor(6, 0, &[1 << 20], &[0]), "wte");
    refused(
        &tensor(6, 0, &[u32::MAX, u32::MAX, 16], &[0, 0, 0]),
        "overflow",
    );
    // A storage that is not there.
    let missing = Pickle::dict("wte", |p| p.tensor("9", 6, 0, &[6], &[1]));
    for result in both(&missing) {
        assert!(result.is_err());
    }
}

#[test]
fn tensors_that_share_a_storage_take_no_more_than_twice_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let (elements, storage) = (4096, [0; 4 * 4096]);
    for (count, words) in [(2, None), (5, Some("81920 bytes together"))] {
        let mut pickle = Pickle::new().op(b"}");
        for index in 0..count {
            pickle = pickle
                .text(&format!("tensor {index}"))
                .tensor("0", elements, 0, &[elements], &[1])
                .op(b"s");
        }
        let pickle = pickle.op(b".");
        for file in [zip, legacy] {
            let bytes = file(&pickle, &[("0", &storage)]);
            let result = read_calmly(&path, &bytes, "shared");
            match words {
                None => assert_eq!(result.unwrap(), count * storage.len()),
                Some(words) => {
                    let message = message(result);
                    assert!(message.contains(words), "{message}");
                }
            }
        }
    }
}

#[test]
fn strided_tensors_are_gathered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let storage: Vec<u8> = (0..6u8).flat_map(|v| f32::from(v).to_le_bytes()).collect();
    let pickle = Pickle::dict("a", |p| p.tensor("0", 6, 1, &[2, 2], &[1, 3]));
    for file in [zip, legacy] {
        fs::write(&path, file(&pickle, &[("0", &storage)])).unwrap();
        let checkpoint = Checkpoint::open_file(&path).unwrap();
        let tensor = checkpoint.tensor("a").unwrap();
        assert_eq!(tensor.to_f32().unwrap(), [1.0, 4.0, 2.0, 5.0]);
    }
}

#[test]
fn archives_that_are_compressed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let pickle = Pickle::dict("a", |p| p.tensor("0", 1 << 24, 0, &[1 << 24], &[1]));
    let zeros = vec![0; 1 << 26];
    let files = [
        ("model/data.pkl".to_owned(), pickle.0.as_slice()),
        ("model/data/0".to_owned(), zeros.as_slice()),
    ];
    let mut bomb = archive(&files, CompressionMethod::Stored);
    let (stored, cost) = peak(|| read_all(&path, &bomb));
    assert_eq!(stored.unwrap(), 1 << 26);
    assert!(cost < 3 << 26, "{cost}");
    // A method of 8 is deflate: in the local header and in the central directory.
    let name = b"model/data/0";
    let at: Vec<usize> = (0..bomb.len() - name.len())
        .filter(|&at| bomb[at..].starts_with(name))
        .collect();
    for (at, back) in at.into_iter().zip([30 - 8, 46 - 10]) {
        bomb[at - back] = 8;
    }
    let (result, cost) = peak(|| read_all(&path, &bomb));
    assert!(message(result).contains("compressed"));
    assert!(cost < 1 << 20, "{cost}");
}

#[test]
fn archives_with_a_name_twice_or_without_a_pickle_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let pickle = Pickle::new().op(b"}.");
    let none = archive(
        &[("a/b".to_owned(), b"c".as_slice())],
        CompressionMethod::Stored,
    );
    assert!(message(read_calmly(&path, &none, "no pickle")).contains("data.pkl"));
    let files = [
        ("m/data.pkl".to_owned(), pickle.0.as_slice()),
        ("m/data.pkm".to_owned(), pickle.0.as_slice()),
    ];
    let mut twice = archive(&files, CompressionMethod::Stored);
    for at in 0..twice.len() {
        if twice[at..].starts_with(b"data.pkm") {
            twice[at + 7] = b'l';
        }
    }
    assert!(message(read_calmly(&path, &twice, "twice")).contains("same name"));
}

#[test]
fn pickles_cost_no_more_than_a_small_file_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let nested = Pickle::new()
        .op(&b"]".repeat(1 << 18))
        .op(&b"a".repeat((1 << 18) - 1))
        .op(b".");
    let tuples = Pickle::new().op(b"N").op(&b"\x85".repeat(1 << 17)).op(b".");
    let wide = Pickle::new().op(&b"N".repeat(1 << 20)).op(b".");
    let long = Pickle::new().text(&"a".repeat(8 << 20)).op(b".");
    let long_name = Pickle::new().global(&"a".repeat(8 << 20), "b").op(b".");
    // A dictionary whose key is long, copied through the memo again and again.
    let copies = Pickle::new()
        .op(b"](}")
        .text(&"k".repeat(512))
        .op(b"Nsq\x00")
        .op(&b"h\x00".repeat(200_000))
        .op(b"e.");
    // A list of lists of lists, each of two of the one before.
    let mut doubled = Pickle::new().op(b"]q\x00");
    for level in 0..60u8 {
        doubled = doubled.op(&[b']', b'h', level, b'a', b'h', level, b'a', b'q', level + 1]);
    }
    let doubled = doubled.op(b".");
    for (name, pickle) in [
        ("nested", nested),
        ("tuples", tuples),
        ("wide", wide),
        ("long", long),
        ("long name", long_name),
        ("copies", copies),
        ("doubled", doubled),
    ] {
        for file in [zip, legacy] {
            let bytes = file(&pickle, &[]);
            let (result, cost) = peak(|| read_calmly(&path, &bytes, name));
            assert!(result.is_err(), "{name}");
            assert!(cost < 128 << 20, "{name}: {cost} bytes");
        }
    }
}

#[test]
fn what_is_no_checkpoint_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, words) in [
        (b"".as_slice(), "neither"),
        (b"hello", "neither"),
        (b"\x80\x02}.", "neither"),
        (b"PK\x03\x04", "ZIP"),
        (b"PK\x05\x06", "neither"),
        (tar.as_slice(), "TAR"),
    ] {
        let message = message(read_calmly(&path, bytes, words));
        assert!(
            message.to_lowercase().contains(&words.to_lowercase()),
            "{message}"
        );
    }
}
