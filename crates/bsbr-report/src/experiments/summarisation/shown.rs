//! The contents of the section on summaries, besides its tables.

use crate::datasets::STORYBOOK;
use crate::experiments::prelude::*;
use crate::experiments::summarisation::{LENGTH, Summarisation};
use crate::judge::{ARTICLE, REFERENCE, SUMMARY, Tally, tally};
use crate::present::counted;
use crate::section::{Quote, Quotes};

/// The values of template names.
pub(super) fn word(experiment: &Summarisation, name: &str, records: &Records) -> Option<String> {
    let settings = &experiment.settings;
    let found = |quantity| records.estimate(REFERENCE, Pool::Texts, LENGTH, quantity);
    Some(match name {
        "articles" => match records.of(REFERENCE, Pool::Texts, LENGTH).count() {
            // Nothing is recorded yet.
            0 => plural(settings.articles, "article"),
            count => plural(count as u64, "article"),
        },
        "origin" => origin(records),
        "size" => match (found("tokens"), found("words")) {
            (Ok(tokens), Ok(words)) => format!(
                " of {:.0} tokens on average, and highlights of {:.0} words",
                tokens.mean, words.mean
            ),
            _ => String::new(),
        },
        "how" => match (settings.temperature, settings.top_k) {
            (0.0, _) => "taking the most likely token each time".to_owned(),
            (temperature, None) => format!("drawing tokens at temperature {temperature}"),
            (temperature, Some(k)) => {
                format!("drawing from the {k} most likely tokens at temperature {temperature}")
            }
        },
        "stems" => match settings.stemming {
            true => "with stemming".to_owned(),
            false => "without stemming".to_owned(),
        },
        "stale" => match tally(records).stale {
            0 => String::new(),
            1 => " 1 vote is about other summaries and is not counted.".to_owned(),
            count => format!(" {count} votes are about other summaries and are not counted."),
        },
        _ => return None,
    })
}

/// The source of the articles, in words.
fn origin(records: &Records) -> String {
    let source = records.measurements().next().map(|one| one.source.as_str());
    let name = source.and_then(|source| source.strip_suffix(" articles"));
    match name {
        None | Some(STORYBOOK) => "from storybook's test split".to_owned(),
        Some(name) => format!("from the test split of {name}"),
    }
}

/// Every judged pair; `None` if there are none.
pub(super) fn preferences(subjects: &[Subject], records: &Records) -> Option<Table> {
    let tallies = tally(records);
    let label = |id: &str| match subjects.iter().find(|one| one.id == id) {
        _ if id == REFERENCE => "the highlights".to_owned(),
        Some(subject) => subject.label.clone(),
        None => id.to_owned(),
    };
    let row = |(pair, tally): (&[String; 2], &Tally)| {
        let votes = [tally.wins[0], tally.wins[1], tally.neither];
        let votes = votes.map(|votes| Cell::Number(votes as f64, Style::Fixed(0)));
        let share = Cell::of(tally.preference(0), Style::Percent(0));
        Row {
            head: format!("{} or {}", label(&pair[0]), label(&pair[1])),
            cells: Vec::from_iter(votes.into_iter().chain([share, Cell::Text(counted(tally))])),
            ..Row::default()
        }
    };
    let rows: Vec<Row> = tallies.pairs.iter().map(row).collect();
    (!rows.is_empty()).then(|| Table {
        title: "People's preference".to_owned(),
        note: "Votes of people who saw an article and two summaries of it, in random order and \
               without their sources. The share is the first summary's, of the votes that state a \
               preference, with Wilson's 95 % interval."
            .to_owned(),
        corner: "First or second".to_owned(),
        columns: [
            "for the first",
            "for the second",
            "no preference",
            "prefer the first",
            "votes",
        ]
        .map(Column::from)
        .to_vec(),
        rows,
        ..Table::default()
    })
}

/// The first article with all summaries.
pub(super) fn example(subjects: &[Subject], records: &Records) -> Option<Quotes> {
    let mut references = records.of(REFERENCE, Pool::Texts, LENGTH);
    let index = references.next()?.index;
    let quote = |head: &str, arm: Option<usize>, id: &str, name: &str| {
        let mut all = records.of(id, Pool::Texts, LENGTH);
        let one = all.find(|one| one.index == index)?;
        Some(Quote {
            head: head.to_owned(),
            arm,
            text: one.texts.get(name)?.clone(),
        })
    };
    let article = [("Article", ARTICLE), ("Highlights", SUMMARY)];
    let article = article.map(|(head, name)| quote(head, None, REFERENCE, name));
    let summaries = subjects.iter();
    let summaries = summaries.map(|one| quote(&one.label, one.arm, &one.id, SUMMARY));
    Some(Quotes {
        title: "An article and its summaries".to_owned(),
        note: "The first article, not a selected one.".to_owned(),
        quotes: article.into_iter().chain(summaries).flatten().collect(),
    })
}
