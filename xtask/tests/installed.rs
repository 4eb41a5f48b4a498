//! `bsbr` as it is installed: it runs anywhere, and calls itself by its name.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// Whether the program ended well in `folder`, and what it said.
fn bsbr(folder: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bsbr"))
        .current_dir(folder)
        .args(args)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.success(), said.concat())
}

#[test]
fn defaults_do_not_depend_on_where_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    // A folder that looks like the project's own is none.
    std::fs::create_dir_all(folder.path().join("assets/experiments")).unwrap();
    let args = [
        "generate",
        "--prompt",
        "Mara keeps",
        "--max-new-tokens",
        "2",
    ];
    let (well, said) = bsbr(folder.path(), &args);
    assert!(well && said.contains("Mara keeps"), "{said}");
    let (well, said) = bsbr(folder.path(), &["finetune", "--data", "no-such-dataset"]);
    assert!(
        !well && said.contains("wikitext-103, cnn-dailymail"),
        "{said}"
    );
}

#[test]
fn it_calls_itself_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (well, said) = bsbr(folder.path(), &["generate", "--no-such-option"]);
    assert!(!well && said.contains("Usage: bsbr generate"), "{said}");
    let text = "one two ".repeat(9000);
    let (well, said) = bsbr(folder.path(), &["generate", "--prompt", &text]);
    assert!(
        !well && said.contains("`bsbr convert --model MODEL --positions"),
        "{said}"
    );
}

#[test]
fn shells_and_manuals_know_its_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (well, said) = bsbr(folder.path(), &["completions", shell]);
        assert!(well && said.contains("finetune"), "{shell}: {said}");
    }
    let (well, said) = bsbr(folder.path(), &["man", "pages"]);
    assert!(well && said.contains("pages/bsbr-convert.1"), "{said}");
    let page = std::fs::read_to_string(folder.path().join("pages/bsbr-convert.1")).unwrap();
    assert!(page.contains("bsbr convert"), "{page}");
}
