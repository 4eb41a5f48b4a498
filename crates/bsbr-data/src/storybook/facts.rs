//! Facts: their content, statements and questions.

use std::ops::Range;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::rng::{ChaCha8Rng, pick};
use super::scene::{Person, Scene};
use super::text::{Text, capitalise, expand};
use super::words;

/// The kind of a fact, in order of increasing difficulty of retrieval.
///
/// The difficulty is the distance between the key (a first name) and the value in the
/// fixed phrase of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// `Mara Velden`
    Surname,
    /// `Mara from Odrin`
    Home,
    /// `Mara the weaver`
    Trade,
    /// `Mara has a heron`
    Pet,
    /// `Mara keeps the lantern`
    Keepsake,
    /// `the treasure of Mara is in the attic`
    HidingPlace,
}

impl FactKind {
    /// All kinds, in order of difficulty.
    pub const ALL: [Self; 6] = [
        Self::Surname,
        Self::Home,
        Self::Trade,
        Self::Pet,
        Self::Keepsake,
        Self::HidingPlace,
    ];

    /// All possible values of this kind; at least 40 words.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Surname => &words::SURNAMES,
            Self::Home => &words::TOWNS,
            Self::Trade => &words::TRADES,
            Self::Pet => &words::PETS,
            Self::Keepsake => &words::KEEPSAKES,
            Self::HidingPlace => &words::HIDES,
        }
    }

    /// The fixed phrase up to the value, without the space before it.
    pub fn phrase(self, name: &str) -> String {
        let (before, after) = match self {
            Self::Surname => ("", ""),
            Self::Home => ("", " from"),
            Self::Trade => ("", " the"),
            Self::Pet => ("", " has a"),
            Self::Keepsake => ("", " keeps the"),
            Self::HidingPlace => ("the treasure of ", " is in the"),
        };
        format!("{before}{name}{after}")
    }

    fn questions(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Surname => &[
                ("What is the family name of ", "?"),
                ("Which family name has ", "?"),
            ],
            Self::Home => &[
                ("What is the home town of ", "?"),
                ("Where is the home of ", "?"),
            ],
            Self::Trade => &[
                ("What is the trade of ", "?"),
                ("What is the work of ", "?"),
            ],
            Self::Pet => &[("Which animal has ", "?"), ("What is the animal of ", "?")],
            Self::Keepsake => &[("What does ", " keep?"), ("Which thing does ", " keep?")],
            Self::HidingPlace => &[
                ("Where is the treasure of ", "?"),
                ("In which place is the treasure of ", "?"),
            ],
        }
    }

    /// Whether the phrase is a clause instead of a noun phrase.
    fn is_clause(self) -> bool {
        matches!(self, Self::Pet | Self::Keepsake | Self::HidingPlace)
    }
}

/// A statement of a document about one of its people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fact {
    /// Its kind.
    pub kind: FactKind,
    /// The first name, unique in its document.
    pub name: &'static str,
    /// The one word that answers the question.
    pub value: &'static str,
}

/// Sentences around a noun phrase `{F}`.
const AROUND_NOUNS: &[&str] = &[
    "people in {village} remember {F}.",
    "on {day} {F} {moved} to the {place}.",
    "in the {time} {F} {did} {an} {obj}.",
    "the {role} wrote to {F}.",
    "the {adj} {obj} belongs to {F}.",
    "then {F} {did} {an} {adj} {obj}.",
    "the {role} knows {F} well.",
    "among the guests was {F}.",
    "the {role} waited for {F} near the {place}.",
    "{an} {adj} {obj} was sent to {F}.",
    "last {month} {F} came to the {place}.",
    "nobody in {village} forgets {F}.",
    "the {role} once sold {an} {obj} to {F}.",
    "{F} {moved} to the {place}.",
    "{F} {did} {an} {adj} {obj}.",
    "{F} said nothing about the {kind} {matter}.",
    "{F} was {feel} in the {time}.",
    "{F} likes {food} and {food}.",
];

/// Sentences around a clause `{F}`.
const AROUND_CLAUSES: &[&str] = &[
    "people know that {F}.",
    "everybody in {village} knows that {F}.",
    "it is said that {F}.",
    "the {role} {told} that {F}.",
    "since {month} {F}.",
    "for {num} {span} now, {F}.",
    "few people know that {F}.",
    "by the way, {F}.",
    "as {an} {role} once {told}, {F}.",
    "in the {time} the {role} saw that {F}.",
    "on {day} {F} near the {place}.",
    "it is true that {F}.",
    "{F}, and everybody knows it.",
    "{F}, as the {role} {told}.",
    "{F} near the {place}.",
];

impl Fact {
    /// Appends a sentence that states the fact; returns the span of the value.
    pub(crate) fn state(
        &self,
        text: &mut Text,
        rng: &mut ChaCha8Rng,
        scene: &Scene,
    ) -> Range<usize> {
        let pool = if self.kind.is_clause() {
            AROUND_CLAUSES
        } else {
            AROUND_NOUNS
        };
        // The phrase may begin a sentence only if it begins with a name, and a
        // sentence precedes it on the line.
        let inner = text.at_line_start() || self.kind == FactKind::HidingPlace;
        let template = loop {
            let template = pick(rng, pool);
            if !(inner && template.starts_with("{F}")) {
                break template;
            }
        };
        let (before, after) = template.split_once("{F}").unwrap_or((template, ""));
        text.space();
        let mut sentence = String::new();
        expand(&mut sentence, rng, scene, before);
        capitalise(&mut sentence, 0);
        text.push(&sentence);
        text.push(&self.kind.phrase(self.name));
        text.push(" ");
        let start = text.len();
        text.push(self.value);
        let span = start..text.len();
        text.fragment(rng, scene, after);
        span
    }

    /// The question about the fact.
    pub fn question(&self) -> String {
        let (before, after) = self.kind.questions()[0];
        format!("{before}{}{after}", self.name)
    }

    /// `Question: … Answer: …`, up to but excluding the space and the value.
    pub(crate) fn prompt(&self, rng: &mut ChaCha8Rng) -> String {
        let questions = self.kind.questions();
        // The first wording is the usual one.
        let (before, after) = if rng.random_bool(0.6) {
            questions[0]
        } else {
            pick(rng, questions)
        };
        format!(
            "Question: {before}{}{after} Answer: {}",
            self.name,
            self.kind.phrase(self.name)
        )
    }

    /// Appends a line with question and answer; returns the span of the value.
    pub(crate) fn ask(&self, text: &mut Text, rng: &mut ChaCha8Rng) -> Range<usize> {
        text.end_line();
        text.push(&self.prompt(rng));
        text.push(" ");
        let start = text.len();
        text.push(self.value);
        let span = start..text.len();
        text.push(".");
        text.end_line();
        span
    }
}

/// Facts of one kind about everyone in `cast`, all with different values. If the cast
/// is larger than the list of values, the last ones have none.
pub(crate) fn facts_of_kind(rng: &mut ChaCha8Rng, kind: FactKind, cast: &[Person]) -> Vec<Fact> {
    let mut values = kind.values().to_vec();
    values.shuffle(rng);
    cast.iter()
        .zip(values)
        .map(|(person, value)| Fact {
            kind,
            name: person.name,
            value,
        })
        .collect()
}

/// `per_person` facts on average about everyone, of different kinds, in random order.
pub(crate) fn draw_facts(
    rng: &mut ChaCha8Rng,
    kinds: &[FactKind],
    cast: &[Person],
    per_person: f32,
) -> Vec<Fact> {
    let by_kind: Vec<Vec<Fact>> = kinds
        .iter()
        .map(|&kind| facts_of_kind(rng, kind, cast))
        .collect();
    let per_person = per_person.max(0.0).min(kinds.len() as f32);
    let whole = per_person.floor();
    let mut order: Vec<usize> = (0..kinds.len()).collect();
    let mut facts = Vec::new();
    for person in 0..cast.len() {
        order.shuffle(rng);
        let extra = rng.random_bool(f64::from(per_person - whole));
        let count = whole as usize + usize::from(extra);
        let chosen = order.iter().take(count);
        facts.extend(chosen.filter_map(|&kind| by_kind[kind].get(person)));
    }
    facts.shuffle(rng);
    facts
}
