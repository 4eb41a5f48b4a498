//! Guarantees of the storybook generator.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bsbr_data::storybook::VERSION;
use bsbr_data::storybook::{
    Domain, Fact, FactKind, QaSpec, Split, Storybook, TrainingSpec, tokens_between,
};
use bsbr_data::tokenizer::TextTokenizer;
use flate2::Crc;

const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];
const BUNDLED: &[u8] = include_bytes!("../../../../assets/bundled/tokenizer.json");

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
}

fn count(text: &str, word: &str) -> usize {
    words(text).filter(|w| *w == word).count()
}

/// Whether a text has the mark of a domain.
type Mark = fn(&str) -> bool;

/// The text without its question lines.
fn without_questions(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with("Question:"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn assert_plain_ascii(text: &str) {
    assert!(text.is_ascii());
    assert!(!text.contains(['{', '}']), "a slot was left: {text}");
    assert!(!text.contains("  "), "two spaces: {text}");
    assert!(!text.contains("\n\n"), "an empty line: {text}");
    assert!(!text.contains(" \n"), "a space before a newline: {text}");
}

/// Every fact stands once, in its fixed phrase, with a space before the name.
fn assert_facts_stated_once(text: &str, facts: &[(Fact, Range<usize>)]) {
    let prose = without_questions(text);
    let mut keys = HashSet::new();
    for (fact, span) in facts {
        assert_eq!(&text[span.clone()], fact.value);
        let phrase = format!("{} {}", fact.kind.phrase(fact.name), fact.value);
        assert!(
            text[..span.end].ends_with(&format!(" {phrase}")),
            "{phrase}"
        );
        assert_eq!(prose.matches(&phrase).count(), 1, "{phrase}");
        assert_eq!(count(&prose, fact.value), 1, "{} in {prose}", fact.value);
        assert!(keys.insert((fact.kind, fact.name)));
    }
}

/// A checksum of the first documents of every kind in a split.
fn checksum(split: Split) -> u32 {
    let book = Storybook::new(7);
    let mut all = Crc::new();
    let mut add = |text: String| all.update(text.as_bytes());
    for index in 0..8 {
        for domain in Domain::ALL {
            add(format!("{:?}", book.plain(split, domain, index, 400)));
        }
        add(format!("{:?}", book.article(split, index)));
        add(format!("{:?}", book.qa(split, index, &QaSpec::default())));
        let training = book.training_document(split, index, &TrainingSpec::default());
        add(format!("{training:?}"));
    }
    all.sum()
}

#[test]
fn texts_change_only_with_the_version() {
    let found = SPLITS.map(checksum);
    assert_eq!(
        (VERSION, found),
        (0, [3_781_557_789, 2_774_858_198, 3_182_909_849]),
        "if texts were meant to change, raise `storybook::VERSION` and enter the new checksums"
    );
}

#[test]
fn the_same_place_has_the_same_text() {
    let (book, again) = (Storybook::new(3), Storybook::new(3));
    let (qa, training) = (QaSpec::default(), TrainingSpec::default());
    for split in SPLITS {
        for index in 0..4 {
            for domain in Domain::ALL {
                assert_eq!(
                    book.plain(split, domain, index, 200),
                    again.plain(split, domain, index, 200)
                );
            }
            assert_eq!(book.article(split, index), again.article(split, index));
            assert_eq!(book.qa(split, index, &qa), again.qa(split, index, &qa));
            assert_eq!(
                book.training_document(split, index, &training),
                again.training_document(split, index, &training)
            );
        }
    }
}

#[test]
fn seeds_splits_and_indices_share_no_text() {
    let mut seen = HashSet::new();
    for seed in [0, 1, u64::MAX] {
        let book = Storybook::new(seed);
        for split in SPLITS {
            for index in 0..40 {
                for domain in Domain::ALL {
                    assert!(seen.insert(book.plain(split, domain, index, 60).text));
                }
                assert!(seen.insert(book.article(split, index).text));
                let item = book.qa(split, index, &QaSpec::default());
                assert!(seen.insert(item.context));
                let spec = TrainingSpec::default();
                assert!(seen.insert(book.training_document(split, index, &spec).text));
            }
        }
    }
}

#[test]
fn there_are_about_two_thousand_word_types() {
    let book = Storybook::new(0);
    let types: HashSet<String> = book
        .tokenizer_texts()
        .iter()
        .flat_map(|text| words(text))
        .map(str::to_ascii_lowercase)
        .collect();
    assert!(
        (1700..=2600).contains(&types.len()),
        "{} types",
        types.len()
    );
}

#[test]
fn fact_words_are_single_words_that_differ() {
    let all = Storybook::fact_words();
    assert!(
        all.iter()
            .all(|w| w.bytes().all(|b| b.is_ascii_alphabetic()))
    );
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    for kind in FactKind::ALL {
        assert!(kind.values().len() >= 40);
    }
    assert!(
        FactKind::Pet
            .values()
            .iter()
            .all(|w| !w.starts_with(['a', 'e', 'i', 'o', 'u']))
    );
}

#[test]
fn plain_text_has_no_questions_and_the_length_asked_for() {
    let book = Storybook::new(5);
    for domain in Domain::ALL {
        for index in 0..30 {
            let document = book.plain(Split::Validation, domain, index, 300);
            let text = &document.text;
            assert_plain_ascii(text);
            assert!(!text.contains('?') && !text.contains("Question:"));
            assert!(text.ends_with('\n'));
            assert!((300..340).contains(&text.split_whitespace().count()));
            assert_facts_stated_once(text, &document.facts);
        }
    }
}

#[test]
fn each_domain_has_marks_of_its_own() {
    let book = Storybook::new(5);
    let share = |domain: Domain, mark: Mark| {
        (0..40)
            .filter(|&i| mark(&book.plain(Split::Train, domain, i, 300).text))
            .count()
    };
    let marks: [(Domain, Mark); 5] = [
        (Domain::Tale, |t| {
            t.contains(" gave ")
                || t.contains(" sold the ")
                || t.contains("in return")
                || t.contains(" lent the ")
                || t.contains(" took the ")
        }),
        (Domain::News, |t| t.contains("News")),
        (Domain::Dialogue, |t| {
            t.lines()
                .filter(|l| l.starts_with("- ") && l.contains(": "))
                .count()
                > 4
        }),
        (Domain::Procedure, |t| {
            t.contains("\nStep 1.") && t.contains("\nStep 2.")
        }),
        (Domain::Ledger, |t| t.contains("\nTotal: ")),
    ];
    for (owner, mark) in marks {
        for domain in Domain::ALL {
            let found = share(domain, mark);
            if domain == owner {
                assert!(found >= 38, "{owner:?} in {domain:?}: {found}");
            } else if owner != Domain::Tale {
                assert_eq!(found, 0, "{owner:?} in {domain:?}");
            }
        }
    }
}

#[test]
fn ledger_totals_add_up() {
    let book = Storybook::new(5);
    let mut totals = 0;
    for index in 0..10 {
        let mut sum = 0;
        for line in book
            .plain(Split::Test, Domain::Ledger, index, 300)
            .text
            .lines()
        {
            let coins = || -> Option<u32> {
                line.strip_suffix(" coins.")?
                    .rsplit(' ')
                    .next()?
                    .parse()
                    .ok()
            };
            if line.starts_with("- ") {
                sum += coins().unwrap();
            } else if line.starts_with("Total: ") {
                assert_eq!(coins(), Some(sum));
                totals += 1;
                sum = 0;
            }
        }
    }
    assert!(totals > 10);
}

#[test]
fn highlights_restate_events_from_all_over_the_article() {
    let book = Storybook::new(5);
    let mut domains = HashSet::new();
    let mut late = 0;
    for index in 0..60 {
        let article = book.article(Split::Test, index);
        domains.insert(article.domain);
        assert_plain_ascii(&article.text);
        assert!((540..720).contains(&article.text.split_whitespace().count()));
        assert!((3..=4).contains(&article.highlights.len()));
        for highlight in &article.highlights {
            // Nearly all words of a highlight stand in one sentence of the text.
            let wanted: Vec<&str> = words(highlight).collect();
            let (at, best) = article
                .text
                .split_inclusive(['.', '\n'])
                .enumerate()
                .map(|(at, sentence)| {
                    let there: HashSet<String> =
                        words(sentence).map(str::to_ascii_lowercase).collect();
                    let hits = wanted
                        .iter()
                        .filter(|w| there.contains(&w.to_ascii_lowercase()));
                    (at, hits.count())
                })
                .max_by_key(|(_, hits)| *hits)
                .unwrap();
            assert!(best + 1 >= wanted.len(), "{highlight}\n{}", article.text);
            late += usize::from(at > 10);
        }
        let text = article.training_text();
        assert!(text.contains(&format!("\nTL;DR: {}", article.highlights[0])));
        assert!(text.ends_with(".\n"));
    }
    assert_eq!(domains.len(), 5);
    assert!(late > 60, "{late} events after the lead");
}

#[test]
fn a_question_has_one_far_piece_of_evidence_among_rivals() {
    let book = Storybook::new(11);
    let tokenizer = TextTokenizer::from_bytes(BUNDLED).unwrap();
    let mut kinds = HashSet::new();
    for index in 0..60 {
        let item = book.qa(Split::Test, index, &QaSpec::default());
        kinds.insert(item.kind);
        assert_plain_ascii(&item.context);
        assert!(!item.context.contains('?'));
        assert!(!item.context.ends_with(char::is_whitespace));
        assert_eq!(&item.context[item.evidence.clone()], item.answer);
        assert_eq!(count(&item.context, &item.answer), 1);

        // The prompt ends with the phrase of the statement, word by word.
        let (_, phrase) = item.prompt.split_once(" Answer: ").unwrap();
        assert!(item.prompt.starts_with("\nQuestion: "));
        assert!(item.context[..item.evidence.start].ends_with(&format!(" {phrase} ")));

        let after = item.context[item.evidence.end..].split_whitespace().count();
        assert!(item.distance_words >= 1700);
        assert!(after.abs_diff(item.distance_words) <= 1);
        assert!(tokens_between(&tokenizer, &item).unwrap() > 2000);

        assert_eq!(item.candidates.len(), 20);
        assert_eq!(item.candidates.iter().collect::<HashSet<_>>().len(), 20);
        assert!(item.candidates.contains(&item.answer));
        for candidate in &item.candidates {
            assert!(item.kind.values().contains(&candidate.as_str()));
            assert_eq!(count(&item.context, candidate), 1, "{candidate}");
        }
    }
    assert_eq!(kinds.len(), 6);
}

#[test]
fn the_answer_is_anywhere_among_the_candidates() {
    let book = Storybook::new(12);
    let spec = QaSpec {
        min_distance_words: 0,
        kinds: Some(vec![FactKind::Home]),
        ..QaSpec::default()
    };
    let mut places = [0u32; 20];
    let mut answers: HashMap<String, u32> = HashMap::new();
    let mut ranks = [0u32; 4];
    for index in 0..4000 {
        let item = book.qa(Split::Test, index, &spec);
        assert_eq!(item.kind, FactKind::Home);
        places[item
            .candidates
            .iter()
            .position(|c| *c == item.answer)
            .unwrap()] += 1;
        // The rank of the evidence among its rivals, in quarters.
        let before = &item.context[..item.evidence.start];
        let rank = item
            .candidates
            .iter()
            .filter(|c| count(before, c) == 1)
            .count();
        ranks[rank * 4 / 20] += 1;
        *answers.entry(item.answer).or_default() += 1;
    }
    // Six standard deviations of a binomial count.
    assert!(places.iter().all(|n| n.abs_diff(200) < 84), "{places:?}");
    assert!(ranks.iter().all(|n| n.abs_diff(1000) < 165), "{ranks:?}");
    assert_eq!(answers.len(), FactKind::Home.values().len());
}

#[test]
fn a_small_cast_is_given_candidates_from_outside() {
    let book = Storybook::new(12);
    let spec = QaSpec {
        min_distance_words: 40,
        cast: 5,
        ..QaSpec::default()
    };
    let item = book.qa(Split::Validation, 0, &spec);
    assert_eq!(item.candidates.iter().collect::<HashSet<_>>().len(), 20);
    let there = item
        .candidates
        .iter()
        .filter(|c| count(&item.context, c) == 1);
    assert_eq!(there.count(), 5);
}

#[test]
fn extreme_specs_are_bounded() {
    let book = Storybook::new(12);
    let spec = QaSpec {
        min_distance_words: 0,
        num_candidates: 1000,
        cast: 1000,
        kinds: Some(Vec::new()),
        facts_per_person: 100,
    };
    let item = book.qa(Split::Train, 0, &spec);
    assert_eq!(item.candidates.len(), item.kind.values().len());
    let spec = TrainingSpec {
        target_words: 0,
        people: (9, 3),
        kinds: Vec::new(),
        facts_per_person: f32::NAN,
        questions_share: f32::INFINITY,
        domains: Vec::new(),
    };
    let document = book.training_document(Split::Train, 0, &spec);
    assert!(document.facts.is_empty() && document.questions.is_empty());
}

#[test]
fn training_documents_ask_what_they_have_stated() {
    let book = Storybook::new(13);
    for (target_words, people, share) in [
        (150, (4, 8), 0.25),
        (800, (8, 16), 0.4),
        (3500, (24, 40), 0.25),
        (600, (8, 16), 0.0),
    ] {
        let spec = TrainingSpec {
            target_words,
            people,
            questions_share: share,
            facts_per_person: 3.0,
            ..TrainingSpec::default()
        };
        let (mut total, mut asked_words) = (0, 0);
        for index in 0..20 {
            let document = book.training_document(Split::Train, index, &spec);
            let text = &document.text;
            assert_plain_ascii(text);
            assert_facts_stated_once(text, &document.facts);
            let lines = text.lines().filter(|l| l.starts_with("Question:"));
            asked_words += lines
                .clone()
                .map(|l| l.split_whitespace().count())
                .sum::<usize>();
            total += text.split_whitespace().count();
            assert_eq!(lines.count(), document.questions.len());
            let mut asked = HashSet::new();
            for question in &document.questions {
                let fact = question.fact;
                assert!(
                    asked.insert((fact.kind, fact.name)),
                    "asked twice: {fact:?}"
                );
                assert!(document.facts.contains(&(fact, question.evidence.clone())));
                assert!(question.evidence.end < question.answer.start);
                assert_eq!(&text[question.answer.clone()], fact.value);
                assert!(text[question.answer.end..].starts_with(".\n"));
                let phrase = format!(" Answer: {} ", fact.kind.phrase(fact.name));
                assert!(text[..question.answer.start].ends_with(&phrase));
            }
        }
        let (mean, got) = (total as f32 / 20.0, asked_words as f32 / total as f32);
        let target = target_words as f32;
        assert!(
            (0.85 * target..1.25 * target).contains(&mean),
            "{mean} of {target}"
        );
        assert!((got - share).abs() < 0.08, "{got} of {share} at {target}");
    }
}

#[test]
fn questions_come_at_all_distances() {
    let book = Storybook::new(14);
    let spec = TrainingSpec {
        target_words: 2800,
        people: (24, 40),
        questions_share: 0.3,
        facts_per_person: 3.0,
        ..TrainingSpec::default()
    };
    let mut bins = [0usize; 4];
    for index in 0..20 {
        let document = book.training_document(Split::Train, index, &spec);
        for question in document.questions {
            let gap = question.answer.start - question.evidence.end;
            bins[(gap * 4 / document.text.len()).min(3)] += 1;
        }
    }
    let total: usize = bins.iter().sum();
    assert!(bins.iter().all(|n| n * 20 > total), "{bins:?}");
}
