//! The page of made-up records: the same bytes every time, and no external resources.

use crate::common;

#[test]
fn the_same_records_give_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    common::report().write(one.path()).unwrap();
    common::report().write(two.path()).unwrap();
    let files = |folder: &std::path::Path| {
        let mut all = Vec::new();
        for folder in [folder.to_owned(), folder.join("plots")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.file_name().unwrap().to_owned();
                    all.push((name, std::fs::read(path).unwrap()));
                }
            }
        }
        all.sort();
        all
    };
    assert_eq!(files(one.path()), files(two.path()));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = common::report().html();
    for outside in ["<script", "<link", "src=\"http", "url(http", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("KL (dense ‖ arm)"));
}

#[test]
fn what_is_missing_is_a_dash_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    common::report().write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("similarity.md")).unwrap();
    assert!(text.contains("— (a)"));
    assert!(text.contains("(a) 4096 tokens, but the model has 1024 positions"));
    // The report's figures stand under ours.
    assert!(
        text.contains("| *the report, BSBR* | 0.83 ± 0.12 |"),
        "{text}"
    );
}

#[test]
fn what_a_model_wrote_is_shown_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    common::report().write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("summarisation.md")).unwrap();
    assert!(text.contains("> Summary \\<0> by \\*dense\\*."), "{text}");
    assert!(
        text.contains("> Title 0.\n>\n> Once upon a time.\n"),
        "{text}"
    );
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(page.contains("<p>Summary &lt;0&gt; by *dense*.</p>"));
}

/// `BSBR_SAMPLE_PAGE=folder` writes the page there, to be looked at.
#[test]
fn the_page_can_be_looked_at() {
    if let Some(folder) = std::env::var_os("BSBR_SAMPLE_PAGE") {
        common::report()
            .write(std::path::Path::new(&folder))
            .unwrap();
    }
}
