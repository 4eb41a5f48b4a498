//! Commands with long texts, which are read from files, in pieces and once.
#![allow(clippy::unwrap_used)]

mod tiny;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a command wrote to standard output and standard error.
struct Ran {
    succeeded: bool,
    out: String,
    err: String,
}

fn run(folder: &Path, args: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .current_dir(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        succeeded: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn ran(folder: &Path, args: &[&str], input: &str) -> Ran {
    let ran = run(folder, args, input);
    assert!(ran.succeeded, "{args:?}: {}", ran.err);
    ran
}

fn refused(folder: &Path, args: &[&str], input: &str) -> String {
    let ran = run(folder, args, input);
    assert!(!ran.succeeded, "{args:?}: {}", ran.out);
    ran.err
}

/// A folder with a model of 96 positions.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny::model(&folder.path().join("model"));
    folder
}

const PROMPT: &str = "Mara has a lamp. The lamp is old";

#[test]
fn a_prompt_gives_the_same_from_wherever_it_comes() {
    let folder = place();
    let folder = folder.path();
    fs::write(folder.join("prompt.txt"), format!("{PROMPT}\n")).unwrap();
    let generate = |more: &[&str], input: &str| {
        let args = ["generate", "--model", "model", "--max-new-tokens", "12"];
        ran(folder, &[&args, more].concat(), input)
    };
    let expected = generate(&["--prompt", PROMPT], "");
    let new = expected.out.strip_prefix(PROMPT).unwrap();
    assert!(
        new.len() > 1 && expected.err.contains("tokens/s"),
        "{}",
        expected.err
    );
    for (more, input) in [
        (&["--prompt-file", "prompt.txt"][..], ""),
        (&["--prompt", "-"], PROMPT),
        (&["--prompt", "-", "--prefill-chunk-size", "3"], PROMPT),
        (&["--prompt-file", "prompt.txt", "--cache", "a.cache"], ""),
        (&["--prompt-file", "prompt.txt", "--cache", "a.cache"], ""),
    ] {
        assert_eq!(generate(more, input).out, new, "{more:?}");
    }
    let json = generate(&["--prompt", PROMPT, "--json"], "").out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["text"], new.strip_suffix('\n').unwrap());
    assert_eq!(
        (&json["new_tokens"], &json["ended"]),
        (&12.into(), &"done".into())
    );
    let first: String = new.chars().take(2).collect();
    let stopped = generate(&["--prompt", PROMPT, "--stop", &first, "--json"], "").out;
    let stopped: Value = serde_json::from_str(&stopped).unwrap();
    assert_eq!(stopped["ended"], "stop_string");
    assert!(stopped["text"].as_str().unwrap().contains(&first));
    let error = refused(
        folder,
        &["generate", "--model", "model", "--prompt", "-"],
        "",
    );
    assert!(error.contains("empty"), "{error}");
}

#[test]
fn a_text_that_is_too_long_is_read_by_a_model_of_more_positions() {
    let folder = place();
    let folder = folder.path();
    let text = [PROMPT; 20].join(". ");
    let error = refused(
        folder,
        &["generate", "--model", "model", "--prompt", &text],
        "",
    );
    assert!(
        error.contains("convert --model MODEL --positions"),
        "{error}"
    );
    let arm = "moments:chunk_size=16,clusters=4";
    let args = [
        "convert",
        "--model",
        "model",
        "--arm",
        arm,
        "--positions",
        "1000",
        "--out",
        "long",
    ];
    let said = ran(folder, &args, "").out;
    assert!(said.contains("heads look far"), "{said}");
    let card = fs::read_to_string(folder.join("long/README.md")).unwrap();
    assert!(card.contains("trained with 96 positions") && card.contains("repeat:window=48"));
    ran(
        folder,
        &["generate", "--model", "long", "--prompt", &text],
        "",
    );
    let wrong = ["--position-extension", "repeat:window=97", "--out", "other"];
    let error = refused(folder, &[&args[..7], &wrong].concat(), "");
    assert!(
        error.contains("`window` is 97, expected 1 to 96"),
        "{error}"
    );
}

#[test]
fn a_document_is_read_once_and_asked_often() {
    let folder = place();
    let folder = folder.path();
    let args = [
        "convert",
        "--model",
        "model",
        "--arm",
        "dense",
        "--positions",
        "1000",
    ];
    ran(folder, &[&args[..], &["--out", "long"]].concat(), "");
    let document = [
        "ask",
        "--model",
        "long",
        "--document",
        "story.txt",
        "--max-new-tokens",
        "6",
    ];
    let ask = [&document[..], &["--cache", "story.cache"]].concat();
    let questions = "Where is Mara?\n\nWho is old?\nWhere is Mara?\n";
    let first = ran(
        folder,
        &[&ask[..], &["--make-document", "200"]].concat(),
        questions,
    );
    assert!(first.err.contains("(0 from the cache)"), "{}", first.err);
    assert!(
        first.err.contains("What is") || first.err.contains("Wh"),
        "{}",
        first.err
    );
    let again = ran(folder, &ask, questions);
    assert_eq!(first.out, again.out);
    assert!(!again.err.contains("(0 from the cache)"), "{}", again.err);
    // Nothing of a question is left for the next.
    let json = ran(folder, &[&ask[..], &["--json"]].concat(), questions).out;
    let answers: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["ids"], answers[2]["ids"]);

    fs::write(folder.join("story.txt"), "Another story.").unwrap();
    let error = refused(folder, &ask, "");
    assert!(
        error.contains("story.cache: a cache of another text"),
        "{error}"
    );
    let error = refused(
        folder,
        &[&ask[..], &["--make-document", "200"]].concat(),
        "",
    );
    assert!(error.contains("story.txt"), "{error}");
    let error = refused(folder, &[&document[..], &["--template", "?"]].concat(), "");
    assert!(error.contains("{question}"), "{error}");
    let other = [&["ask", "--model", "model"], &ask[3..]].concat();
    let error = refused(folder, &other, "");
    assert!(
        error.contains("`model`") && error.contains("`long`"),
        "{error}"
    );
}
