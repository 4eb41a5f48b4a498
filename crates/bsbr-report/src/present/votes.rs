//! People's preference for a row's texts.

use crate::judge::{Tally, tally};
use crate::present::words::plural;
use crate::record::Records;
use crate::section::{Better, Cell, Column, Table};
use crate::style::Style;

/// Inserts before the last column how often people prefer a row's text to
/// `other`'s.
pub(super) fn add_votes(
    table: &mut Table,
    ids: impl Iterator<Item = String>,
    other: &str,
    label: &str,
    records: &Records,
) {
    let tallies = tally(records);
    let place = table.columns.len().saturating_sub(1);
    table.columns.insert(place, Column::from("votes"));
    let preferred = Column {
        key: "preferred".to_owned(),
        title: format!("preferred to {label}"),
        better: Some(Better::More),
    };
    table.columns.insert(place, preferred);
    for (row, id) in table.rows.iter_mut().zip(ids) {
        let (tally, own) = tallies.between(&id, other);
        let none = || Cell::Missing("the reference of the comparison".to_owned());
        let [preferred, votes] = match (id == other, tally.votes()) {
            (true, _) => [none(), none()],
            (false, 0) => ["no votes yet", "0"].map(|text| Cell::Text(text.to_owned())),
            (false, _) => [
                Cell::of(tally.preference(own), Style::Percent(0)),
                Cell::Text(counted(&tally)),
            ],
        };
        row.cells.insert(place, votes);
        row.cells.insert(place, preferred);
    }
}

/// `12 of 2 judges`.
pub(crate) fn counted(tally: &Tally) -> String {
    let judges = plural(tally.judges.len() as u64, "judge");
    format!("{} of {judges}", tally.votes())
}
