//! The installed `bsbr` runs in any folder, and its messages use its own name.
#![allow(clippy::unwrap_used)]

mod tiny;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

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

#[test]
fn dense_converted_and_tuned_are_shown_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny::model(&folder.join("model"));
    let run = |line: &str| bsbr(folder, &line.split(' ').collect::<Vec<_>>());
    let ran = |line: &str| {
        let (well, said) = run(line);
        assert!(well, "{line}: {said}");
        said
    };
    let arm = "local:chunk_size=16";
    ran(&format!(
        "convert --model model --arm {arm} --out converted"
    ));
    let said = ran(&format!(
        "finetune --model model --arm {arm} --windows 4 --window 64 --lr 3e-3 --out tuned"
    ));
    assert!(
        said.contains("epoch 1 of 1, step 1/1") && said.contains(" s left"),
        "{said}"
    );
    let record = std::fs::read_to_string(folder.join("tuned/finetuning.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let sides = ["dense", "converted", "tuned"];
    for (side, name) in record["sides"].as_array().unwrap().iter().zip(sides) {
        assert_eq!(side["name"], name);
        assert!(side["perplexity"].as_f64().unwrap() > 1.0);
    }
    assert_eq!(record["sides"][0]["top1"], 1.0);
    assert!(
        record["command"]
            .as_str()
            .unwrap()
            .starts_with("bsbr finetune")
    );
    let card = std::fs::read_to_string(folder.join("tuned/README.md")).unwrap();
    assert!(
        card.contains("| converted |") && card.contains("| tuned "),
        "{card}"
    );

    let line = "evaluate --model converted,tuned --base model --data storybook --only qa --quick";
    let said = ran(&format!("{line} --json"));
    // What the command says on its way follows.
    let mut found = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let found = found.next().unwrap().unwrap();
    let names = ["model (base)", "converted", "tuned"];
    for (model, name) in found["models"].as_array().unwrap().iter().zip(names) {
        assert_eq!(model["name"], name);
        assert!(
            model["measured"]["right answers"]["value"].is_number(),
            "{said}"
        );
    }
    // What is recorded is shown again.
    assert!(ran(line).contains("| right answers"));
    let (well, said) = run("evaluate --model converted --base ../no/such/folder");
    assert!(!well && said.contains("no/such/folder"), "{said}");
    let (well, said) = bsbr(
        folder,
        &[
            "evaluate",
            "--model",
            "converted",
            "--base",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/bundled"),
        ],
    );
    assert!(!well && said.contains("its tokenizer differs"), "{said}");
}
