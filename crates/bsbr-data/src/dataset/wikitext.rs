//! WikiText, as on the Hub: one row per line, with spaces around every word and punctuation mark.
//!
//! Language models are evaluated on normal text, so [`detokenised`] removes the spaces that
//! WikiText has added. Perplexity per *word* still divides by the words of the original, separated
//! by white space, as published figures do.

use std::path::PathBuf;

use super::error::DatasetError;
use super::parquet::{TextRows, TextTable};

/// An article, or the text before the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Its lines as in the file.
    pub original: String,
    /// The same as normal text.
    pub text: String,
}

/// The articles of Parquet files with a column of lines, in order; an error ends the iteration.
#[derive(Debug)]
pub struct Articles {
    files: std::vec::IntoIter<PathBuf>,
    column: String,
    rows: Option<TextRows>,
    /// Lines of the current article.
    lines: String,
}

impl Articles {
    /// Reads these files, in the given order; `column` has the lines.
    pub fn new(files: Vec<PathBuf>, column: &str) -> Self {
        Self {
            files: files.into_iter(),
            column: column.to_owned(),
            rows: None,
            lines: String::new(),
        }
    }

    /// The next line, from any file.
    fn line(&mut self) -> Result<Option<String>, DatasetError> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(|texts| Some(texts.concat()));
            }
            let Some(file) = self.files.next() else {
                return Ok(None);
            };
            self.rows = Some(TextTable::open(&file, &[&self.column])?.into_rows());
        }
    }

    fn article(&mut self) -> Result<Option<Article>, DatasetError> {
        loop {
            let line = self.line()?;
            let ends = line.as_deref().is_none_or(is_title);
            let before = match ends {
                true => std::mem::take(&mut self.lines),
                false => String::new(),
            };
            let over = line.is_none();
            if let Some(line) = line {
                self.lines.push_str(line.trim_end_matches('\n'));
                self.lines.push('\n');
            }
            if !before.trim().is_empty() {
                return Ok(Some(Article {
                    text: detokenised(&before),
                    original: before,
                }));
            }
            if over {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Articles {
    type Item = Result<Article, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let article = self.article();
        if article.is_err() {
            // Half an article is not an article, and text after a gap is not the same text.
            *self = Self::new(Vec::new(), &self.column);
        }
        article.transpose()
    }
}

/// ` = Title = `: a top-level heading starts an article.
fn is_title(line: &str) -> bool {
    let inner = line.trim().strip_prefix("= ");
    let inner = inner.and_then(|inner| inner.strip_suffix(" ="));
    inner.is_some_and(|inner| !inner.starts_with('=') && !inner.ends_with('='))
}

/// Text without the spaces that WikiText has added around words and punctuation.
///
/// Line by line: ` @-@ `, ` @,@ ` and ` @.@ ` become the character within a word or number. There
/// is no space before `,.;:!?%)]}`, after `([{`, inside a pair of `"`, or around the `'` of
/// contractions and possessives. Headings have unbroken rows of `=`, and lines are trimmed.
pub fn detokenised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(&detokenised_line(line.trim()));
        out.push('\n');
    }
    out
}

fn detokenised_line(line: &str) -> String {
    let mut line = line.to_owned();
    for (mark, sign) in [(" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", ".")] {
        line = line.replace(mark, sign);
    }
    while line.contains("= =") {
        line = line.replace("= =", "==");
    }
    let mut out = String::with_capacity(line.len());
    let words: Vec<&str> = line.split_whitespace().collect();
    // Whether the next word follows without a space, and whether a quotation is open.
    let (mut joined, mut quoting) = (true, false);
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied();
        let closes = *word == "\"" && quoting;
        if !(joined || closes || joins_left(word, next)) {
            out.push(' ');
        }
        out.push_str(word);
        joined = matches!(*word, "(" | "[" | "{");
        if *word == "\"" {
            quoting = !quoting;
            // An unclosed quotation mark is treated like other characters.
            joined = quoting && words[at + 1..].contains(&"\"");
            quoting = joined;
        }
    }
    out
}

/// Whether a word follows the previous one without a space.
fn joins_left(word: &str, next: Option<&str>) -> bool {
    match word {
        "," | "." | ";" | ":" | "!" | "?" | "%" | ")" | "]" | "}" => true,
        "'" => next.is_none_or(|next| !next.starts_with(char::is_alphanumeric)),
        _ => matches!(
            word,
            "'s" | "'t" | "'re" | "'ve" | "'ll" | "'d" | "'m" | "n't"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{detokenised, is_title};

    #[test]
    fn blanks_of_the_makers_are_taken_out() {
        for (original, expected) in [
            (
                " He was born in 1 @,@ 942 , a well @-@ known year ( or so ) . \n",
                "He was born in 1,942, a well-known year (or so).\n",
            ),
            (" = = Early life = = \n", "== Early life ==\n"),
            (" = = = 2 @.@ 5 % ; more = = = \n", "=== 2.5%; more ===\n"),
            (
                " The lamp 's owner did n't ask : \" Why ? \" and left . \n",
                "The lamp's owner didn't ask: \"Why?\" and left.\n",
            ),
            (" the owners ' lamp \n", "the owners ' lamp\n"),
            (" a \" sign alone \n", "a \" sign alone\n"),
            (" \n", "\n"),
            ("", ""),
        ] {
            assert_eq!(detokenised(original), expected);
        }
    }

    #[test]
    fn titles_are_headings_of_the_highest_order() {
        for (line, title) in [
            (" = Robert <unk> = \n", true),
            (" = = Career = = \n", false),
            (" x = y \n", false),
            (" = \n", false),
            ("", false),
        ] {
            assert_eq!(is_title(line), title, "{line}");
        }
    }
}
