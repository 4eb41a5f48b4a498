//! Perplexity: windows counted by hand, and models on texts from dataset files.

use std::path::{Path, PathBuf};

use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::TokenBatch;
use bsbr_metrics::perplexity::token_nll;
use bsbr_report::ReportError;
use bsbr_report::corpus::{Corpus, Texts};
use bsbr_report::datasets::{Columns, DatasetSpec, LocalDataset, Splits};
use bsbr_report::experiments::{self, perplexity::windows};
use bsbr_report::lab::Lab;
use bsbr_report::overview::Overview;
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::{Plan, RECORDS, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::spec::{Overrides, parse_spec, read_arms};
use bsbr_report::store::Store;
use bsbr_train::evaluate::negative_log_likelihood;
use tempfile::TempDir;

use crate::parquet_file::{Form, write_texts};
use crate::tiny;

/// Tokens of the passage that is counted by hand, after the one that begins it.
const TOKENS: usize = 2048;
const WINDOW: usize = 1024;

/// A reader who is sure of a token to one half where 512 tokens or more stand before it in its
/// window, and to one quarter elsewhere: how often it halves, and which tokens it scores.
fn toy(stride: usize) -> (f64, Vec<usize>) {
    let mut halvings = 0.0;
    let mut scored = Vec::new();
    for piece in 0..(TOKENS / WINDOW) as u64 {
        for window in windows(TOKENS + 1, WINDOW, stride, piece) {
            assert!(window.range.len() <= WINDOW + 1);
            for at in window.scored {
                let before = at - window.range.start;
                halvings += if before >= 512 { 1.0 } else { 2.0 };
                scored.push(at);
            }
        }
    }
    (halvings, scored)
}

/// By hand: with stride 1024 there are two windows, in each of which 511 tokens have 1 to 511
/// before them and 513 have more: 2 · (511 · 2 + 513) = 3070 halvings. With stride 512 the first
/// window is the same, and all of the other 1024 tokens have at least 513 before them: 1535 + 1024
/// = 2559 halvings.
#[test]
fn windows_score_what_is_counted_by_hand() {
    for (stride, halvings) in [(1024, 3070.0), (512, 2559.0)] {
        let (found, scored) = toy(stride);
        assert_eq!(scored, (1..=TOKENS).collect::<Vec<_>>(), "stride {stride}");
        assert_eq!(found, halvings, "stride {stride}");
    }
}

#[test]
fn a_model_pays_for_the_scored_tokens_what_its_logits_say() {
    let model = tiny::model(50);
    let ids: Vec<u32> = (0..40).map(|i| (i * 7 + i * i) % 50).collect();
    let batch = TokenBatch::single(&ids[..39]).unwrap();
    let hidden = model.hidden_states(&batch).unwrap();
    let logits: Vec<f32> = model.logits(hidden).into_data().try_into_vec().unwrap();
    for scored in [1..40, 20..40, 39..40, 5..5] {
        let expected: f64 = scored
            .clone()
            .map(|at| token_nll(&logits[(at - 1) * 50..at * 50], ids[at] as usize).unwrap())
            .sum();
        let found = negative_log_likelihood(&model, &ids, scored.clone()).unwrap();
        assert!(
            (found - expected).abs() < 1e-3,
            "{scored:?}: {found} {expected}"
        );
    }
}

/// A dataset of lines, as WikiText's, in files that are written here.
fn wikitext(folder: &Path) -> LocalDataset {
    let train: Vec<String> = (0..60)
        .map(|i| format!(" The lamp number {i} was in the attic , as Mara said . \n"))
        .collect();
    let train: Vec<&str> = train.iter().map(String::as_str).collect();
    let mut test = vec!["", " = The lamp = \n", ""];
    test.extend(vec![
        " It was a well @-@ known lamp , of 1 @,@ 000 years . \n";
        6
    ]);
    test.push(" = The rest = \n");
    test.extend(vec![" Nobody asked for the rest . \n"; 60]);
    let paths = [folder.join("train.parquet"), folder.join("test.parquet")];
    write_texts(&paths[0], &[("text", &train)], Form::default());
    write_texts(&paths[1], &[("text", &test)], Form::default());
    LocalDataset {
        spec: DatasetSpec {
            id: "wikitext-2".to_owned(),
            label: "WikiText-2".to_owned(),
            repository: "owner/texts".to_owned(),
            revision: "main".to_owned(),
            columns: Columns::Lines {
                text: "text".to_owned(),
            },
            splits: Splits {
                train: Vec::new(),
                validation: Vec::new(),
                test: Vec::new(),
            },
        },
        training: vec![paths[0].clone()],
        test: vec![paths[1].clone()],
    }
}

/// Articles, as CNN/DailyMail's.
fn news(folder: &Path) -> LocalDataset {
    let path = folder.join("news.parquet");
    let columns: [(&str, &[&str]); 2] = [
        ("article", &["Mara found a lamp. It was old. So it was."; 2]),
        ("highlights", &["Mara found a lamp .\nIt was old ."; 2]),
    ];
    write_texts(&path, &columns, Form::default());
    let mut dataset = wikitext(folder);
    dataset.spec.label = "News".to_owned();
    dataset.spec.columns = Columns::Articles {
        article: "article".to_owned(),
        highlights: "highlights".to_owned(),
    };
    dataset.training = Vec::new();
    dataset.test = vec![path];
    dataset
}

fn lab(name: &str, datasets: Vec<LocalDataset>) -> Lab {
    let tokenizer = tiny::tokenizer();
    let model = tiny::model(tokenizer.vocab_size());
    let texts = Texts {
        files: Vec::new(),
        datasets,
    };
    let corpus = Corpus::open(tokenizer, &texts).unwrap();
    Lab::new(name, model, "a hash".to_owned(), "flex", corpus).unwrap()
}

fn run(lab: &Lab, only: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), lab, only).unwrap();
    folder
}

fn run_in(folder: &Path, lab: &Lab, only: &str) -> Result<PathBuf, ReportError> {
    std::fs::create_dir_all(folder).unwrap();
    let arms = folder.join("arms.toml");
    std::fs::write(&arms, tiny::ARMS).unwrap();
    let arms = read_arms(&arms).unwrap();
    let parse = |text: &str| {
        let text = tiny::presented(text);
        parse_spec(Path::new("x"), &text, &arms, &Overrides::default())
    };
    let plan = Plan {
        specs: tiny::SPECS
            .iter()
            .map(|text| parse(text).unwrap())
            .collect(),
        only: vec![only.to_owned()],
        reported: Reported::default(),
        overview: Overview::default(),
        command: "a test".to_owned(),
        commit: None,
    };
    reproduce(&plan, lab, folder, &mut NoObserver)
}

#[test]
fn a_file_too_short_for_other_experiments_is_enough_for_the_one_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("short.txt");
    std::fs::write(&file, "Mara found a lamp. It was old. ".repeat(4)).unwrap();
    let tokenizer = tiny::tokenizer();
    let model = tiny::model(tokenizer.vocab_size());
    let corpus = Corpus::files(tokenizer, &[file]).unwrap();
    let lab = Lab::new("tiny", model, "a hash".to_owned(), "flex", corpus).unwrap();
    // Its texts have 80 tokens.
    let out = folder.path().join("agreement");
    let error = run_in(&out, &lab, "agreement").unwrap_err();
    assert!(matches!(error, ReportError::ShortText { .. }), "{error}");
    assert!(!out.join("records").exists(), "something was run");
    let out = folder.path().join("perplexity");
    let page = run_in(&out, &lab, "perplexity").unwrap();
    assert!(page.exists() && out.join("perplexity.md").exists());
    assert!(!out.join("agreement.md").exists());
}

#[test]
fn texts_of_a_dataset_are_its_test_split_and_calibration_its_training_split() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab("tiny", vec![wikitext(folder.path())]);
    let corpus = lab.corpus();
    assert_eq!(corpus.domains(), ["WikiText-2"]);
    let words = |ids: &[u32]| corpus.tokenizer().decode(ids).unwrap();
    let training = words(&corpus.training(1, 100_000, 64).unwrap().concat());
    assert!(training.starts_with("The lamp number 0 was in the attic, as Mara said.\n"));
    let text = words(&corpus.text(1, "WikiText-2", 0, 30).unwrap());
    assert!(
        text.starts_with("= The lamp =\n\nIt was a well-known"),
        "{text}"
    );
    assert!(matches!(
        corpus.text(1, "elsewhere", 0, 30),
        Err(ReportError::NoDomain { .. })
    ));

    // As many articles as fit, with the words and bytes of their original.
    let passage = corpus.passage(1, "WikiText-2", 200).unwrap();
    assert_eq!(passage.extent.tokens, passage.ids.len() - 1);
    assert!((100..=200).contains(&passage.extent.tokens));
    assert_eq!(passage.extent.words, 4 + 6 * 14);
    let all = words(&passage.ids);
    assert!(
        all.ends_with("of 1,000 years.\n") && !all.contains("Nobody"),
        "{all}"
    );
    let part = corpus.passage(1, "WikiText-2", 20).unwrap();
    assert_eq!(part.extent.tokens, 20);
    // As many words of the original as are whole in there.
    let read = words(&part.ids);
    assert!(
        read.starts_with("<|endoftext|>= The lamp =") && read.len() < 60,
        "{read}"
    );
    assert!(
        (4..14).contains(&part.extent.words),
        "{}",
        part.extent.words
    );
    assert!(
        (10..60).contains(&part.extent.bytes),
        "{}",
        part.extent.bytes
    );
}

/// Separators between texts do not count: words and bytes are those of the originals.
#[test]
fn denominators_are_those_of_the_originals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.jsonl");
    let texts: Vec<String> = (0..400)
        .map(|i| format!("cat {i} sat on a m\u{e4}t"))
        .collect();
    let lines = texts.iter().map(|text| format!("{{\"text\": {text:?}}}\n"));
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    let tokenizer = tiny::tokenizer();
    let end = tokenizer.end_of_text().unwrap();
    let mut ids: Vec<u32> = Vec::new();
    for text in &texts {
        if !ids.is_empty() {
            ids.push(end);
        }
        ids.extend(tokenizer.encode(text).unwrap());
    }
    let test = &ids[ids.len() / 5..];
    let corpus = Corpus::files(tokenizer.clone(), &[path]).unwrap();
    for tokens in [1, 7, 100, 1000, 100_000] {
        let passage = corpus.passage(1, "short", tokens).unwrap();
        let own = &test[..tokens.min(test.len())];
        assert_eq!(passage.ids[1..], *own);
        // A character that the passage does not end counts for nothing.
        let (words, bytes) = begun(&tokenizer, own);
        assert_eq!(passage.extent.words, words, "{tokens}");
        assert_eq!(passage.extent.bytes, bytes, "{tokens}");
    }
}

/// Words that begin, and bytes of the characters that end, among the tokens of texts.
fn begun(tokenizer: &TextTokenizer, ids: &[u32]) -> (u64, u64) {
    let end = tokenizer.end_of_text().unwrap();
    let texts = ids
        .split(|&id| id == end)
        .map(|ids| tokenizer.decode(ids).unwrap());
    let texts: Vec<String> = texts
        .map(|text| text.trim_end_matches('\u{fffd}').to_owned())
        .collect();
    let words = texts.iter().map(|text| text.split_whitespace().count());
    let bytes = texts.iter().map(String::len);
    (words.sum::<usize>() as u64, bytes.sum::<usize>() as u64)
}

/// English, then Chinese, with end-of-text tokens between: tokens of one have several times as many
/// bytes as those of the other.
fn two_scripts(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("mixed.jsonl");
    let english = "The lamp of Mara is in the attic, and nobody asked for the rest of it. ";
    let chinese = "\u{4e2d}\u{6587}\u{6587}\u{672c} \u{7684}\u{5b57}";
    let texts = [vec![english; 60], vec![chinese; 100]].concat();
    let lines = texts.iter().map(|text| format!("{{\"text\": {text:?}}}\n"));
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    path
}

#[test]
fn pieces_have_the_words_and_bytes_of_their_own_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = two_scripts(folder.path());
    let tokenizer = tiny::tokenizer();
    let corpus = Corpus::files(tokenizer.clone(), &[path]).unwrap();
    let mut per_token = Vec::new();
    // The second ends within a character.
    for (tokens, window) in [(100_000, 64), (1501, 64), (100_000, 7), (3000, 100_000)] {
        let passage = corpus.passage(1, "mixed", tokens).unwrap();
        let pieces = passage.pieces(&tokenizer, window).unwrap();
        assert_eq!(pieces.len(), passage.extent.tokens.div_ceil(window));
        let (mut words, mut bytes, mut read) = (0, 0, 0);
        for piece in &pieces {
            words += piece.words;
            bytes += piece.bytes;
            read += piece.tokens;
            let expected = begun(&tokenizer, &passage.ids[1..=read]);
            assert_eq!(
                (words, bytes),
                expected,
                "{read} tokens of pieces of {window}"
            );
            per_token.push(piece.bytes as f64 / piece.tokens as f64);
        }
        assert_eq!(read, passage.extent.tokens);
        assert_eq!((words, bytes), (passage.extent.words, passage.extent.bytes));
    }
    let least = per_token.iter().copied().fold(f64::MAX, f64::min);
    let most = per_token.iter().copied().fold(0.0, f64::max);
    assert!(most > 2.0 * least, "{least} to {most}");
}

/// What is whole in a piece is exactly that, and all pieces together are the articles.
#[test]
fn pieces_of_a_dataset_have_the_words_and_bytes_of_the_originals() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab("tiny", vec![wikitext(folder.path())]);
    let tokenizer = lab.corpus().tokenizer();
    for tokens in [20, 200, 100_000] {
        let passage = lab.corpus().passage(1, "WikiText-2", tokens).unwrap();
        for window in [16, 64] {
            let pieces = passage.pieces(tokenizer, window).unwrap();
            let words: u64 = pieces.iter().map(|piece| piece.words).sum();
            let bytes: u64 = pieces.iter().map(|piece| piece.bytes).sum();
            assert_eq!((words, bytes), (passage.extent.words, passage.extent.bytes));
            assert!(pieces[0].words > 0 && pieces[0].bytes > 16);
        }
    }
}

#[test]
fn a_passage_scored_in_part_is_divided_by_what_was_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = two_scripts(folder.path());
    let tokenizer = tiny::tokenizer();
    let model = tiny::model(tokenizer.vocab_size());
    let corpus = Corpus::files(tokenizer.clone(), &[path]).unwrap();
    let lab = Lab::new("tiny", model, "a hash".to_owned(), "flex", corpus).unwrap();
    let text = tiny::text("perplexity")
        .replace("\ntokens = 200", "\ntokens = 100000")
        .replace("pieces = 100", "pieces = 3");
    let spec = tiny::spec(&text);
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    let all = units
        .iter()
        .flat_map(|unit| experiment.run_unit(unit, &lab).unwrap());
    let dense: Vec<_> = all.filter(|one| one.arm == "dense").collect();
    let sum = |name: &str| dense.iter().map(|one| one.values[name]).sum::<f64>();
    assert_eq!((dense.len(), sum("tokens")), (3, 3.0 * 64.0));
    let passage = lab.corpus().passage(1, "mixed", 100_000).unwrap();
    let (words, bytes) = begun(&tokenizer, &passage.ids[1..=3 * 64]);
    assert_eq!((sum("words"), sum("bytes")), (words as f64, bytes as f64));
    // Whose share of the passage is another than that of the tokens.
    let share = sum("tokens") / passage.extent.tokens as f64 * passage.extent.bytes as f64;
    assert!((share / bytes as f64 - 1.0).abs() > 0.2, "{share} {bytes}");
}

#[test]
fn what_is_too_large_for_a_number_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unbroken.txt");
    std::fs::write(&path, "attention".repeat(2000)).unwrap();
    let tokenizer = tiny::tokenizer();
    let model = tiny::model(tokenizer.vocab_size());
    let corpus = Corpus::files(tokenizer, &[path]).unwrap();
    let lab = Lab::new("tiny", model, "a hash".to_owned(), "flex", corpus).unwrap();
    let out = run(&lab, "perplexity");
    let text = std::fs::read_to_string(out.path().join("perplexity.md")).unwrap();
    assert!(!text.contains("inf") && !text.contains("NaN"), "{text}");
}

#[test]
fn published_figures_stand_beside_those_of_the_model_they_are_about_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (name, known) in [("tiny", true), ("other", false)] {
        let lab = lab(name, vec![wikitext(folder.path())]);
        let out = run(&lab, "perplexity");
        let text = std::fs::read_to_string(out.path().join("perplexity.md")).unwrap();
        assert_eq!(text.contains("| published | n |"), known, "{text}");
        assert_eq!(text.contains("| 29.41 |"), known, "{text}");
        assert!(text.contains("Perplexity on WikiText-2"), "{text}");
        assert!(
            text.contains("without the blanks that the dataset"),
            "{text}"
        );
        // The table has what the records give, over all tokens.
        let records = Store::new(out.path().join(RECORDS))
            .all("perplexity")
            .unwrap();
        let dense = || records.measurements().filter(|one| one.arm == "dense");
        let sum = |name: &str| dense().map(|one| one.values[name]).sum::<f64>();
        let passage = lab.corpus().passage(1, "WikiText-2", 200).unwrap();
        assert_eq!(sum("tokens"), passage.extent.tokens as f64);
        let perplexity = (sum("nats.stride64") / sum("tokens")).exp();
        assert!(
            text.contains(&format!("| dense | {perplexity:.2}")),
            "{text}"
        );
        // Two strides of one causal model agree where the context is the same: in the first piece.
        let first = dense().find(|one| one.index == 0).unwrap();
        let [long, short] = ["nats.stride64", "nats.stride32"].map(|name| first.values[name]);
        assert!((long - short).abs() < 1e-3, "{long} {short}");
    }
}

#[test]
fn summaries_are_of_the_datasets_articles_where_it_has_some() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab("tiny", vec![wikitext(folder.path()), news(folder.path())]);
    let out = run(&lab, "summarisation");
    let text = std::fs::read_to_string(out.path().join("summarisation.md")).unwrap();
    assert!(
        text.contains("2 articles from the test split of News"),
        "{text}"
    );
    assert!(text.contains("Mara found a lamp ."), "{text}");
    let two = Texts {
        files: Vec::new(),
        datasets: vec![news(folder.path()), news(folder.path())],
    };
    assert!(matches!(
        Corpus::open(tiny::tokenizer(), &two),
        Err(ReportError::TwoOfArticles { .. })
    ));
}
