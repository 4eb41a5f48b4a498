//! Output to a full disk.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{TRAINING, end, experiments, model, others, words};

/// A disk in memory, unmounted in the end.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, which is said, where this process may not mount.
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        match mount.arg(folder.path()).output() {
            Ok(found) if found.status.success() => Some(Self(folder)),
            Ok(found) => {
                let reason = String::from_utf8_lossy(&found.stderr).into_owned();
                eprintln!("skipped: no disk can be mounted: {}", reason.trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: no disk can be mounted: {error}");
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// What does not fit is an error that names the place, and nothing stays of it.
#[test]
fn a_full_disk_is_an_error_and_stays_as_it_was() {
    let Some(disk) = Disk::new("96k") else { return };
    let (folder, model) = model(2048);
    let [experiments, overview] = experiments(folder.path());
    let own = |name: &str| folder.path().join(name);
    let text = own("text.txt");
    fs::write(
        &text,
        "Edda keeps a lamp in the old house by the sea. ".repeat(60),
    )
    .unwrap();
    let ids = own("ids.json");
    fs::write(&ids, format!("[{:?}]", vec![7; 500])).unwrap();
    let full = |name: &str| disk.0.path().join(name);
    let model = || ("model", model.clone());
    let commands = [
        words(&["convert"], &[model(), ("out", full("out"))]),
        words(
            &TRAINING,
            &[
                model(),
                ("out", full("out")),
                ("checkpoints", own("checkpoints")),
            ],
        ),
        words(
            &TRAINING,
            &[
                model(),
                ("out", own("out")),
                ("checkpoints", full("checkpoints")),
            ],
        ),
        words(
            &["generate"],
            &[model(), ("prompt-file", text), ("cache", full("cache"))],
        ),
        words(
            &["logits"],
            &[
                model(),
                ("ids-file", ids),
                ("out", full("logits.safetensors")),
            ],
        ),
        words(
            &["reproduce", "--data", "storybook"],
            &[
                model(),
                ("experiments", experiments),
                ("overview", overview),
                ("out", full("out")),
            ],
        ),
    ];
    for command in commands {
        let ended = end(&command);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "{command:?}: {said}");
        let place = disk.0.path().display().to_string();
        assert!(said.contains(&place), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        let left: Vec<PathBuf> = fs::read_dir(disk.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() || others(path, &[]) != Vec::<PathBuf>::new())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{command:?}");
    }
    assert!(!own("out").exists());
}
