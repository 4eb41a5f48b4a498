//! The section on summaries.

use crate::datasets::STORYBOOK;
use crate::experiments::common::{
    Column, Subject, by_subject, extension_words, headline, plural, provenance, verdicts,
};
use crate::experiments::summarisation::{LEAD, LENGTH, RANDOM, SCORES, Summarisation};
use crate::judge::{ARTICLE, REFERENCE, SUMMARY, Tallies, Tally, tally};
use crate::record::{Pool, Records};
use crate::render::chart::{Bar, bars};
use crate::reported;
use crate::section::{Block, Cell, Figure, Passage, Reading, Row, Section, Style, Table};
use crate::spec::dense;

/// The scores as tables call them.
const TITLES: [&str; 4] = ["ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"];

/// The greatest value of the charts.
const CHART_TOP: f64 = 1.0;

fn style(quantity: &str) -> Style {
    match quantity {
        "seconds" => Style::Digits(3),
        "words" | "new_tokens" | "tokens" => Style::Fixed(1),
        _ => Style::Percent(1),
    }
}

pub(super) fn section(experiment: &Summarisation, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let mut subjects = Subject::arms(arms);
    subjects.extend([LEAD, RANDOM].map(|(id, label)| Subject::other(id, label)));
    let tallies = tally(records);
    let table_of = |subjects: &[Subject], title: &str, note: &str, columns: &[(&str, String)]| {
        let columns: Vec<Column<'_>> = columns
            .iter()
            .map(|(title, quantity)| column(title, quantity))
            .collect();
        by_subject(title, note, subjects, records, &columns)
    };
    let table = |title: &str, note: &str, columns: &[(&str, String)]| {
        table_of(&subjects, title, note, columns)
    };
    let scores = |ending: &str| -> Vec<(&str, String)> {
        let names = SCORES.iter().map(|name| format!("{name}{ending}"));
        TITLES.into_iter().zip(names).collect()
    };
    let mut beside = scores(".minus_dense");
    beside.push(("the same text as dense", "as_dense".to_owned()));

    let mut first = table(
        "Summaries beside the highlights",
        "F1 in percent. Preferred to dense: the share of people's votes with a preference, blind, for \
         the row's summary over the dense model's of the same article; its interval is Wilson's, \
         which takes votes as independent.",
        &scores(""),
    );
    if let Some(dense) = dense(arms) {
        add_preferences(&mut first, &subjects, &dense.id, "dense", &tallies);
    }
    let mut length = table(
        "Length of summaries",
        "Ended: the share of summaries that end by themselves, before the greatest number of \
         tokens.",
        &[
            ("words", "words".to_owned()),
            ("tokens", "new_tokens".to_owned()),
            ("ended", "ended".to_owned()),
        ],
    );
    length.folded = true;
    let mut time = table_of(
        &Subject::arms(arms),
        "Time per summary",
        "Seconds to read the article and write the summary, token by token through the cache; arms \
         take turns on each article.",
        &[("seconds", "seconds".to_owned())],
    );
    time.folded = true;
    let mut blocks = vec![
        Block::Table(first),
        Block::Table(table(
            "Beside dense, article by article",
            "The row's score minus the dense model's on the same article, in points.",
            &beside,
        )),
        Block::Figure(figure(&subjects, records)),
    ];
    blocks.extend(preferences(&subjects, &tallies).map(Block::Table));
    blocks.extend([Block::Table(length), Block::Table(time)]);
    blocks.extend(example(&subjects, records).map(Block::Reading));
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records, &tallies),
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: vec![headline(
            "ROUGE-L",
            "F1 of summaries beside the highlights",
            arms,
            records,
            &column("", "rougeL"),
        )],
        blocks,
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    }
}

fn column(title: &str, quantity: &str) -> Column<'static> {
    Column {
        title: title.to_owned(),
        from: Pool::Texts,
        length: LENGTH,
        quantity: quantity.to_owned(),
        style: style(quantity),
    }
}

fn method(experiment: &Summarisation, records: &Records, tallies: &Tallies) -> Vec<String> {
    let settings = &experiment.settings;
    let found = |quantity| records.estimate(REFERENCE, Pool::Texts, LENGTH, quantity);
    let size = match (found("tokens"), found("words")) {
        (Ok(tokens), Ok(words)) => format!(
            " of {:.0} tokens on average, and highlights of {:.0} words",
            tokens.mean, words.mean
        ),
        _ => String::new(),
    };
    let articles = match records.of(REFERENCE, Pool::Texts, LENGTH).count() {
        // Nothing is recorded yet.
        0 => experiment.counts.articles,
        count => count as u64,
    };
    let how = match (settings.temperature, settings.top_k) {
        (0.0, _) => "taking the likeliest token each time".to_owned(),
        (temperature, None) => format!("drawing tokens at temperature {temperature}"),
        (temperature, Some(k)) => {
            format!("drawing from the {k} likeliest tokens at temperature {temperature}")
        }
    };
    let stems = match settings.stemming {
        true => "with stemming",
        false => "without stemming",
    };
    let mut paragraphs = vec![
        format!(
            "{} {}{size}. A model reads the article and `TL;DR:` and goes \
             on to the end of the line, {how}, for at most {} tokens. ROUGE compares what it wrote \
             with the highlights, {stems}, as `rouge-score` does; for ROUGE-Lsum a sentence is a \
             line. No arm was trained after converting.",
            plural(articles, "article"),
            origin(records),
            settings.max_new_tokens,
        ),
        "Lead-3 is the first three sentences of the article, Random-3 three of its sentences drawn \
         by chance: what there is to have without a model."
            .to_owned(),
    ];
    let positions = records.first().map(|one| one.model.positions);
    let longest = longest(records) + settings.max_new_tokens as f64;
    if positions.is_some_and(|positions| longest > positions as f64) {
        paragraphs.extend(extension_words(settings.extension, records));
    }
    if tallies.stale > 0 {
        paragraphs.push(format!(
            "{} about other summaries than these and {} not counted.",
            match tallies.stale {
                1 => "1 vote is".to_owned(),
                count => format!("{count} votes are"),
            },
            if tallies.stale == 1 { "is" } else { "are" },
        ));
    }
    paragraphs
}

/// Where the articles come from, in words.
fn origin(records: &Records) -> String {
    let source = records.measurements().next().map(|one| one.source.as_str());
    let name = source.and_then(|source| source.strip_suffix(" articles"));
    match name {
        None | Some(STORYBOOK) => "from storybook's test split".to_owned(),
        Some(name) => format!("from the test split of {name}"),
    }
}

/// Tokens of the longest article.
fn longest(records: &Records) -> f64 {
    let references = records.of(REFERENCE, Pool::Texts, LENGTH);
    let tokens = references.filter_map(|one| one.values.get("tokens"));
    tokens.fold(0.0, |most, &tokens| most.max(tokens))
}

/// Puts before the last column how often people prefer a row's summary to `other`'s.
pub(in crate::experiments) fn add_preferences(
    table: &mut Table,
    subjects: &[Subject],
    other: &str,
    label: &str,
    tallies: &Tallies,
) {
    let place = table.columns.len().saturating_sub(1);
    for name in ["votes".to_owned(), format!("preferred to {label}")] {
        table.columns.insert(place, name);
    }
    for (row, subject) in table.rows.iter_mut().zip(subjects) {
        let (tally, own) = tallies.between(&subject.id, other);
        let none = || Cell::Missing("the others are compared with it".to_owned());
        let [preferred, votes] = match (subject.id == other, tally.votes()) {
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
fn counted(tally: &Tally) -> String {
    let judges = plural(tally.judges.len() as u64, "judge");
    format!("{} of {judges}", tally.votes())
}

/// Every pair that was judged; nothing where none was.
fn preferences(subjects: &[Subject], tallies: &Tallies) -> Option<Table> {
    let label = |id: &String| {
        let subject = subjects.iter().find(|one| one.id == *id);
        let label = subject.map_or(id.as_str(), |one| one.label.as_str());
        match id == REFERENCE {
            true => "the highlights".to_owned(),
            false => label.to_owned(),
        }
    };
    let rows = tallies.pairs.iter().map(|(pair, tally)| Row {
        head: format!("{} or {}", label(&pair[0]), label(&pair[1])),
        arm: None,
        strong: false,
        cells: vec![
            Cell::Number(tally.wins[0] as f64, Style::Fixed(0)),
            Cell::Number(tally.wins[1] as f64, Style::Fixed(0)),
            Cell::Number(tally.neither as f64, Style::Fixed(0)),
            Cell::of(tally.preference(0), Style::Percent(0)),
            Cell::Text(counted(tally)),
        ],
    });
    let rows: Vec<Row> = rows.collect();
    (!rows.is_empty()).then(|| Table {
        title: "People's preference".to_owned(),
        note: "Votes of people who saw an article and two summaries of it, in an order drawn for \
               each, without knowing whose they were. The share is that of the first in the votes \
               with a preference, with Wilson's 95 % interval."
            .to_owned(),
        corner: "First or second".to_owned(),
        columns: [
            "for the first",
            "for the second",
            "no preference",
            "prefer the first",
            "votes",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows,
        folded: false,
    })
}

fn figure(subjects: &[Subject], records: &Records) -> Figure {
    let chart = |(quantity, title): (&&str, &str)| {
        let all: Vec<Bar> = subjects
            .iter()
            .map(|one| Bar {
                arm: one.arm,
                label: one.label.clone(),
                strong: one.strong,
                value: records.estimate(&one.id, Pool::Texts, LENGTH, quantity),
            })
            .collect();
        let label = format!("{title}, a bar for each row of the table");
        bars(title, &label, &all, CHART_TOP, Style::Percent(1))
    };
    Figure {
        id: "rouge".to_owned(),
        title: "Summaries beside the highlights, drawn".to_owned(),
        note: "F1 in percent; whiskers are bootstrap 95 % intervals over articles.".to_owned(),
        pictures: SCORES.iter().zip(TITLES).map(chart).collect(),
        columns: 2,
    }
}

/// The first article with everybody's summary.
fn example(subjects: &[Subject], records: &Records) -> Option<Reading> {
    let text = |id: &str, index: u64, name: &str| {
        let mut all = records.of(id, Pool::Texts, LENGTH);
        let one = all.find(|one| one.index == index)?;
        one.texts.get(name).cloned()
    };
    let mut references = records.of(REFERENCE, Pool::Texts, LENGTH);
    let index = references.next()?.index;
    let passage = |head: &str, arm: Option<usize>, text: Option<String>| {
        Some(Passage {
            head: head.to_owned(),
            arm,
            text: text?,
        })
    };
    let mut passages = vec![
        passage("Article", None, text(REFERENCE, index, ARTICLE)),
        passage("Highlights", None, text(REFERENCE, index, SUMMARY)),
    ];
    let summaries = subjects.iter().map(|one| {
        let text = text(&one.id, index, SUMMARY);
        passage(&one.label, one.arm, text)
    });
    passages.extend(summaries);
    Some(Reading {
        title: "An article and its summaries".to_owned(),
        note: "The first article, whatever became of it.".to_owned(),
        passages: passages.into_iter().flatten().collect(),
    })
}
