//! The values of `--data`: local files, or datasets.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use bsbr_data::dataset::{DatasetError, cnn_dailymail, wikitext};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_report::corpus::{Corpus, FILE_LIMIT, Texts};
use bsbr_report::datasets::{Catalogue, Columns, DatasetSpec, LocalDataset, STORYBOOK};

use super::hub::HubArgs;
use crate::assets;

/// Added to an error about a dataset that was not requested.
const OTHERWISE: &str = "a model that was not trained on storybook uses datasets from the Hub; \
                         give --data storybook, or your own files, to avoid this";

/// The values of `--data`, sorted.
#[derive(Debug, Default)]
pub struct Named {
    /// Local files.
    pub files: Vec<PathBuf>,
    /// Datasets.
    pub datasets: Vec<DatasetSpec>,
}

/// Sorts the values of `--data`: an existing path is a file, anything else is a dataset's id, or
/// storybook, the default.
///
/// # Errors
///
/// Names a value that is neither, and the known ids; storybook together with other texts, which
/// would replace it.
pub fn sort(data: &[String], catalogue: &Catalogue) -> Result<Named> {
    let mut named = Named::default();
    for value in data.iter().filter(|value| *value != STORYBOOK) {
        if Path::new(value).exists() {
            named.files.push(value.into());
            continue;
        }
        let found = catalogue.find(value);
        let found = found.map_err(|message| anyhow!("--data {value}: {message}"))?;
        named.datasets.push(found.clone());
    }
    let texts = |spec: &DatasetSpec| matches!(spec.columns, Columns::Lines { .. });
    let other = !named.files.is_empty() || named.datasets.iter().any(texts);
    ensure!(
        !(other && data.iter().any(|value| value == STORYBOOK)),
        "--data {STORYBOOK} cannot be combined with other running text; leave one of them out"
    );
    Ok(named)
}

/// The texts of experiments: those of `--data`, otherwise storybook for models with the bundled
/// tokenizer, and the catalogue's default for others.
///
/// # Errors
///
/// Why a dataset is unavailable, and what to do.
pub fn texts(data: &[String], experiments: &Path, model: &Path, hub: &HubArgs) -> Result<Texts> {
    if data.is_empty() && reads_storybook(model) {
        return Ok(Texts::default());
    }
    assets::check(experiments)?;
    let catalogue = Catalogue::read(experiments)?;
    let named = match data {
        [] => sort(&catalogue.default, &catalogue)?,
        data => sort(data, &catalogue)?,
    };
    let local = |spec: DatasetSpec| -> Result<LocalDataset> {
        let (training, test) = spec.needed();
        Ok(LocalDataset {
            training: hub.files(&spec, training)?,
            test: hub.files(&spec, test)?,
            spec,
        })
    };
    let datasets: Result<Vec<LocalDataset>> = named.datasets.into_iter().map(local).collect();
    let datasets = match data {
        [] => datasets.context(OTHERWISE)?,
        _ => datasets?,
    };
    Ok(Texts {
        files: named.files,
        datasets,
    })
}

/// Names the files that are read in part, on standard error.
pub fn report_limited(corpus: &Corpus) {
    for path in corpus.limited() {
        super::report(&format!(
            "{}: only the first {FILE_LIMIT} of its text are used",
            path.display()
        ));
    }
}

/// Whether a model has the tokenizer trained on storybook, as the bundled model and all models made
/// from it do, whatever its files are.
fn reads_storybook(model: &Path) -> bool {
    let tokenizer = |folder: &Path| TextTokenizer::from_folder(folder).ok()?.to_json().ok();
    match (tokenizer(model), tokenizer(&assets::bundled())) {
        (Some(own), Some(bundled)) => own == bundled,
        // If the bundled model is missing, only its name is known.
        _ => model == assets::bundled(),
    }
}

/// A text, or why it is missing.
type Document = Result<String, DatasetError>;

/// The texts of a dataset's training split, for training.
///
/// # Errors
///
/// Why the files are unavailable, and what to do.
pub fn training(spec: &DatasetSpec, hub: &HubArgs) -> Result<Box<dyn Iterator<Item = Document>>> {
    let files = hub.files(spec, &spec.splits.train)?;
    Ok(match &spec.columns {
        Columns::Lines { text } => {
            let articles = wikitext::Articles::new(files, text);
            Box::new(articles.map(|article| Ok(article?.text)))
        }
        Columns::Articles {
            article,
            highlights,
        } => {
            let columns = cnn_dailymail::Columns {
                article: article.clone(),
                highlights: highlights.clone(),
            };
            let articles = cnn_dailymail::Articles::new(files, columns);
            Box::new(articles.map(|article| Ok(article?.training_text())))
        }
    })
}

#[cfg(test)]
mod tests {
    use bsbr_report::datasets::Catalogue;

    use super::{reads_storybook, sort};
    use crate::assets;

    fn catalogue() -> Catalogue {
        Catalogue::read(&assets::path("experiments")).expect("the committed datasets")
    }

    #[test]
    fn values_are_files_datasets_or_an_error_with_what_there_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.txt");
        std::fs::write(&file, "text").expect("a file");
        let data = ["wikitext-2", &file.display().to_string()].map(str::to_owned);
        let named = sort(&data, &catalogue()).expect("all are known");
        assert_eq!(named.files, [file]);
        assert_eq!(named.datasets[0].label, "WikiText-2");
        let articles = ["storybook", "cnn-dailymail"].map(str::to_owned);
        let named = sort(&articles, &catalogue()).expect("articles are no running text");
        assert_eq!(named.datasets.len(), 1);
        for other in [data[1].clone(), "wikitext-2".to_owned()] {
            let both = [other, "storybook".to_owned()];
            let error = sort(&both, &catalogue()).expect_err("one of them would not be read");
            assert!(error.to_string().contains("--data storybook"), "{error}");
        }
        let error = sort(&["wikitext".to_owned()], &catalogue()).expect_err("no such dataset");
        let text = error.to_string();
        assert!(
            text.contains("--data wikitext:") && text.contains("wikitext-103, cnn-dailymail"),
            "{text}"
        );
    }

    #[test]
    fn a_model_with_another_tokenizer_does_not_read_storybook_unasked() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!reads_storybook(folder.path()));
        let own = |name: &str| folder.path().join(name);
        std::fs::write(own("tokenizer.json"), "{}").expect("a file");
        assert!(!reads_storybook(folder.path()));

        let bundled = assets::bundled().join("tokenizer.json");
        std::fs::copy(bundled, own("tokenizer.json")).expect("the bundled one");
        assert!(reads_storybook(folder.path()));
        // The same file makes another tokenizer with another token beside it.
        std::fs::write(own("added_tokens.json"), "{\"<new>\": 3072}").expect("a file");
        assert!(!reads_storybook(folder.path()));
    }
}
