//! Output paths, and what killed processes leave there.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bsbr_files::{
    FileError, Lock, append_line, check_file, check_folder, write_file, write_file_at,
    write_file_with, write_folder,
};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn model(inside: &Path) -> Result<(), FileError> {
    write_file(&inside.join("config.json"), b"{}")?;
    write_file(&inside.join("weights"), b"1234")
}

#[test]
fn a_file_is_replaced_and_nothing_beside_it_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run.safetensors");
    let others = [
        "run.tmp",
        "run.safetensors.tmp",
        ".run.safetensors.tmp",
        "run",
    ];
    for other in others {
        fs::write(folder.path().join(other), "notes").unwrap();
    }
    for text in ["first", "second"] {
        check_file(&out, 10).unwrap();
        write_file(&out, text.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&out).unwrap(), text);
    }
    for other in others {
        let text = fs::read_to_string(folder.path().join(other)).unwrap();
        assert_eq!(text, "notes", "{other}");
    }
    assert_eq!(names(folder.path()).len(), others.len() + 1);
}

#[test]
fn a_file_may_be_written_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/a");
    for text in ["longer before", "after"] {
        let fill = |path: &Path| {
            fs::write(path, text).map_err(|source| FileError::Io {
                path: path.to_owned(),
                source,
            })
        };
        write_file_at(&out, fill).unwrap();
        assert_eq!(fs::read_to_string(&out).unwrap(), text);
    }
    assert_eq!(names(&folder.path().join("new")), ["a"]);
}

#[test]
fn a_file_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a");
    write_file(&out, b"before").unwrap();
    let failed = write_file_with(&out, |file| {
        file.write_all(b"half").unwrap();
        Err(FileError::NoName {
            path: PathBuf::new(),
        })
    });
    assert!(failed.is_err());
    assert_eq!(fs::read(&out).unwrap(), b"before");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn places_that_cannot_be_written_are_known_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        check_file(folder.path(), 0),
        Err(FileError::IsFolder { .. })
    ));
    assert!(matches!(
        check_file(&folder.path().join("no/such/a"), 0),
        Err(FileError::Io { .. })
    ));
    assert!(matches!(
        check_folder(&file, 0),
        Err(FileError::Occupied { .. })
    ));
    assert!(check_folder(&file.join("below"), 0).is_err());
    assert!(matches!(
        check_folder(folder.path(), 0),
        Err(FileError::Occupied { .. })
    ));
    let new = folder.path().join("x/y/z");
    check_folder(&new, 0).unwrap();
    assert_eq!(names(folder.path()), ["file"], "checking makes nothing");
    for check in [
        check_file(&folder.path().join("new"), 1 << 60),
        check_folder(&new, 1 << 60),
    ] {
        match check {
            Err(FileError::Full { needed, .. }) => assert_eq!(needed, 1 << 60),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn a_folder_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/model");
    let failed = write_folder(&out, |inside| {
        model(inside)?;
        Err(FileError::NoName {
            path: PathBuf::new(),
        })
    });
    assert!(failed.is_err());
    assert!(names(&folder.path().join("new")).is_empty());
    write_folder(&out, model).unwrap();
    assert_eq!(names(&out), ["config.json", "weights"]);
    assert!(matches!(
        write_folder(&out, model),
        Err(FileError::Occupied { .. })
    ));
    assert_eq!(names(&folder.path().join("new")), ["model"]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    write_folder(&empty, model).unwrap();
    assert_eq!(names(&empty), ["config.json", "weights"]);
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::create_dir(place(".other.bsbr-abcdefABCDEF.tmp")).unwrap();
    fs::write(place(".other.bsbr-abcdefABCDEF.tmp/weights"), "half").unwrap();
    fs::write(place(".record.json.bsbr-012345678901.tmp"), "half").unwrap();
    fs::write(place(".model.bsbr-lock"), "1").unwrap();
    let used = place(".used.bsbr-abcdefABCDEF.tmp");
    fs::create_dir(&used).unwrap();
    let handle = File::open(&used).unwrap();
    handle.try_lock().unwrap();
    for kept in [".a.bsbr-short.tmp", "b.bsbr-abcdefABCDEF.tmp", ".c.tmp"] {
        fs::write(place(kept), "theirs").unwrap();
    }
    write_folder(&place("model"), model).unwrap();
    let kept = [
        ".a.bsbr-short.tmp",
        ".c.tmp",
        ".used.bsbr-abcdefABCDEF.tmp",
        "b.bsbr-abcdefABCDEF.tmp",
        "model",
    ];
    assert_eq!(names(folder.path()), kept);
    drop(handle);
    write_file(&place("file"), b"").unwrap();
    assert!(!used.exists());
}

#[test]
#[cfg(unix)]
fn a_link_to_an_empty_folder_is_a_fine_place() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    check_folder(&link, 10).unwrap();
    write_folder(&link, model).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(names(&real), ["config.json", "weights"]);
    let file = folder.path().join("file");
    std::os::unix::fs::symlink(real.join("weights"), &file).unwrap();
    write_file(&file, b"new").unwrap();
    assert_eq!(fs::read(real.join("weights")).unwrap(), b"new");
}

/// A new disk, which no test can mount, looks like this: a folder that is not empty, of which
/// nothing is anybody's.
#[test]
fn a_folder_that_cannot_be_replaced_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("disk");
    fs::create_dir_all(out.join("lost+found")).unwrap();
    check_folder(&out, 10).unwrap();
    write_folder(&out, model).unwrap();
    assert_eq!(names(&out), ["config.json", "lost+found", "weights"]);
    assert!(check_folder(&out, 10).is_err());
}

#[test]
fn a_folder_that_was_filled_by_half_is_empty_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("disk");
    let below = out.join(".disk.bsbr-abcdefABCDEF.tmp");
    fs::create_dir_all(below.join("content")).unwrap();
    fs::create_dir_all(out.join("lost+found")).unwrap();
    fs::write(below.join("moved"), "weights\nconfig.json\n../outside\n").unwrap();
    fs::write(below.join("content/config.json"), "{}").unwrap();
    fs::write(out.join("weights"), "of the killed run").unwrap();
    fs::write(folder.path().join("outside"), "").unwrap();
    check_folder(&out, 10).unwrap();
    assert_eq!(names(&out), ["lost+found"]);
    assert_eq!(names(folder.path()), ["disk", "outside"]);
}

#[test]
fn a_second_lock_names_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("model");
    let lock = Lock::acquire(&place).unwrap();
    let again = folder.path().join("./model");
    match Lock::acquire(&again) {
        Err(FileError::InUse { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    check_folder(&place, 0).unwrap();
    write_folder(&place, model).unwrap();
    let other = Lock::acquire(&folder.path().join("other")).unwrap();
    drop(lock);
    let lock = Lock::acquire(&again).unwrap();
    drop((lock, other));
    assert_eq!(names(folder.path()), ["model"]);
}

#[test]
fn a_line_never_joins_one_that_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    append_line(&log, "one").unwrap();
    File::options()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(b"tw")
        .unwrap();
    append_line(&log, "three").unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntw\nthree\n");
}
