//! Shared parts of both table formats: footnotes for missing values.

use crate::section::{Cell, Table};

/// Reasons of a table's missing cells, each once, marked a, b, c …
#[derive(Debug, Default)]
pub(super) struct Footnotes {
    reasons: Vec<String>,
}

impl Footnotes {
    /// The reasons of every missing cell of a table.
    pub fn of(table: &Table) -> Self {
        let mut notes = Self::default();
        for cell in table.rows.iter().flat_map(|row| &row.cells) {
            if let Cell::Missing(reason) = cell {
                notes.mark(reason);
            }
        }
        notes
    }

    /// The mark of a reason.
    pub fn mark(&mut self, reason: &str) -> String {
        let index = match self.reasons.iter().position(|one| one == reason) {
            Some(index) => index,
            None => {
                self.reasons.push(reason.to_owned());
                self.reasons.len() - 1
            }
        };
        mark(index)
    }

    /// Marks with their reasons.
    pub fn iter(&self) -> impl Iterator<Item = (String, &str)> {
        let reasons = self.reasons.iter().enumerate();
        reasons.map(|(index, reason)| (mark(index), reason.as_str()))
    }
}

/// a to z, then a1 to z1, and so on.
fn mark(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    match index / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}
