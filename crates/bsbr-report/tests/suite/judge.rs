//! Votes on pairs of summaries, from the records to the tables.

use std::path::Path;

use bsbr_report::experiments;
use bsbr_report::judge::{
    Choice, EXPERIMENT, JudgeError, MAX_NAME, Session, VOTES, Vote, ballots, page, read_votes,
    tally,
};
use bsbr_report::record::Records;
use bsbr_report::reproduce::RECORDS;
use bsbr_report::spec::{Overrides, Spec};
use bsbr_report::store::Store;

use crate::common;

const ARTICLES: u64 = 12;

fn spec() -> Spec {
    let specs = common::specs(&Overrides::default());
    let mut found = specs.into_iter();
    found
        .find(|spec| spec.method.experiment == EXPERIMENT)
        .unwrap()
}

fn records() -> Records {
    common::summarisation(&spec(), ARTICLES)
}

/// A folder of results with the records.
fn results() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join(RECORDS));
    for record in records().iter() {
        store.save(record).unwrap();
    }
    folder
}

fn open(folder: &Path, judge: &str) -> Session {
    Session::open(folder, [None, None], judge).unwrap()
}

/// Judges the next `count` articles and gives their ids.
fn judge(session: &mut Session, count: usize, choice: Choice) -> Vec<String> {
    (0..count)
        .map(|_| {
            let id = session.next().unwrap().id.clone();
            session.vote(&id, choice).unwrap();
            id
        })
        .collect()
}

#[test]
fn the_order_is_drawn_from_the_seed_and_the_judge() {
    let records = records();
    let of = |pair, seed, judge| ballots(&records, pair, seed, judge);
    let one = of(["moments", "dense"], 1, "ada");
    assert_eq!(one.len(), ARTICLES as usize);
    assert_eq!(one, of(["dense", "moments"], 1, "ada"));
    let places = |all: &[bsbr_report::judge::Ballot]| -> Vec<(u64, [String; 2])> {
        all.iter().map(|b| (b.article, b.order.clone())).collect()
    };
    assert_ne!(places(&one), places(&of(["moments", "dense"], 2, "ada")));
    assert_ne!(places(&one), places(&of(["moments", "dense"], 1, "bob")));
    let left = one.iter().filter(|b| b.order[0] == "dense").count();
    assert!((1..one.len()).contains(&left), "{left}");
    let mut articles: Vec<u64> = one.iter().map(|b| b.article).collect();
    assert!(!articles.is_sorted());
    articles.sort_unstable();
    assert_eq!(articles, (0..ARTICLES).collect::<Vec<_>>());
    for ballot in &one {
        let words = |of: &str| format!("Summary <{}> by *{of}*.", ballot.article);
        assert_eq!(
            ballot.summaries,
            [words(&ballot.order[0]), words(&ballot.order[1])]
        );
        assert_eq!(ballot.pair, ["dense", "moments"]);
    }
    assert!(of(["moments", "nobody"], 1, "ada").is_empty());
    assert_eq!(of(["reference", "lead-3"], 1, "ada").len(), one.len());
}

#[test]
fn a_judge_goes_on_where_they_stopped() {
    let folder = results();
    let mut first = open(folder.path(), "ada");
    assert_eq!(first.progress(), (0, 12));
    let ids = judge(&mut first, 3, Choice::Left);
    let mut second = open(folder.path(), " ada ");
    assert_eq!(second.progress(), (3, 12));
    assert!(!ids.contains(&second.next().unwrap().id));
    assert_eq!(open(folder.path(), "bob").progress(), (0, 12));

    let again = second.vote(&ids[0], Choice::Right).unwrap_err();
    assert!(matches!(again, JudgeError::JudgedAlready), "{again}");
    let foreign = second.vote(&"0".repeat(64), Choice::Right).unwrap_err();
    assert!(matches!(foreign, JudgeError::UnknownBallot), "{foreign}");
    let other = [Some("local"), Some("dense")];
    let mut other = Session::open(folder.path(), other, "ada").unwrap();
    let foreign = other.vote(&ids[0], Choice::Left).unwrap_err();
    assert!(matches!(foreign, JudgeError::UnknownBallot), "{foreign}");

    judge(&mut second, 9, Choice::Neither);
    assert!(second.next().is_none());
    let votes = read_votes(&folder.path().join(VOTES)).unwrap();
    assert_eq!(votes.len(), 12);
    assert_eq!(votes[0].ballot, ids[0]);
    assert_eq!(votes[0].preferred(), Some(votes[0].order[0].as_str()));
    assert_eq!(votes[11].preferred(), None);
    assert!(votes.iter().all(|vote| vote.time.ends_with('Z')));
}

#[test]
fn a_line_that_was_cut_short_is_no_vote() {
    let folder = results();
    let path = folder.path().join(VOTES);
    judge(&mut open(folder.path(), "ada"), 2, Choice::Left);
    let text = std::fs::read(&path).unwrap();
    // In the middle of a letter of more than one byte, too.
    for cut in [&b"{\"judge\": \"ad"[..], "é".as_bytes().split_at(1).0] {
        std::fs::write(&path, [&text[..], cut].concat()).unwrap();
        assert_eq!(read_votes(&path).unwrap().len(), 2);
        judge(&mut open(folder.path(), "ada"), 1, Choice::Right);
        assert_eq!(read_votes(&path).unwrap().len(), 3);
    }

    // What is wrong elsewhere is said.
    std::fs::write(&path, [b"{}\n", &text[..]].concat()).unwrap();
    let error = read_votes(&path).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains(VOTES), "{error}");
    let text = String::from_utf8(text).unwrap();
    let foreign = text.replacen("\"pair\":[\"dense\"", "\"pair\":[\"delta\"", 1);
    std::fs::write(&path, foreign).unwrap();
    let error = read_votes(&path).unwrap_err().to_string();
    assert!(error.contains("`order`"), "{error}");
    assert!(read_votes(&folder.path().join("none")).unwrap().is_empty());
}

#[test]
fn what_cannot_be_judged_is_said() {
    let empty = tempfile::tempdir().unwrap();
    let open = |folder: &Path, pair, judge: &str| Session::open(folder, pair, judge).unwrap_err();
    let error = open(empty.path(), [None, None], "ada");
    assert!(matches!(error, JudgeError::NoSummaries { .. }), "{error}");
    assert!(!empty.path().join(VOTES).exists());

    let folder = results();
    let error = open(folder.path(), [Some("speed"), None], "ada").to_string();
    assert!(
        error.contains("`speed`") && error.contains("lead-3"),
        "{error}"
    );
    let error = open(folder.path(), [Some("dense"), None], "ada");
    assert!(matches!(error, JudgeError::SamePair { .. }), "{error}");
    for name in ["", "  ", "a\nb", &"a".repeat(MAX_NAME + 1)] {
        let error = open(folder.path(), [None, None], name);
        assert!(matches!(error, JudgeError::Name), "{error}");
    }

    let mut other = records().first().unwrap().clone();
    other.unit = "another".to_owned();
    other.identity.model = "2".repeat(64);
    let store = Store::new(folder.path().join(RECORDS));
    store.save(&other).unwrap();
    let error = open(folder.path(), [None, None], "ada");
    assert!(matches!(error, JudgeError::Mixed { .. }), "{error}");
}

fn vote(records: &Records, judge: &str, article: u64, preferred: Option<&str>) -> Vote {
    let all = ballots(records, ["moments", "dense"], 1, judge);
    let ballot = all.into_iter().find(|one| one.article == article).unwrap();
    let choice = match preferred {
        None => Choice::Neither,
        Some(name) if name == ballot.order[0] => Choice::Left,
        Some(_) => Choice::Right,
    };
    Vote {
        judge: judge.to_owned(),
        pair: ballot.pair,
        article,
        order: ballot.order,
        choice,
        time: "2026-01-01T00:00:00Z".to_owned(),
        seed: 1,
        ballot: ballot.id,
    }
}

#[test]
fn votes_are_counted_once_and_for_the_summaries_that_were_judged() {
    let records = records();
    let mut votes: Vec<Vote> = (0..8)
        .map(|article| vote(&records, "ada", article, Some("moments")))
        .collect();
    votes.push(vote(&records, "bob", 0, Some("dense")));
    votes.push(vote(&records, "bob", 1, Some("moments")));
    votes.push(vote(&records, "bob", 2, None));
    // A second thought does not count, and neither does a vote on an older summary.
    votes.push(vote(&records, "ada", 0, Some("dense")));
    votes.push(Vote {
        ballot: "0".repeat(64),
        ..votes[0].clone()
    });
    let records = records.with_votes(votes);
    let tallies = tally(&records);
    assert_eq!(tallies.stale, 1);
    let (found, place) = tallies.between("moments", "dense");
    assert_eq!((found.wins, found.neither, place), ([1, 9], 1, 1));
    assert_eq!((found.votes(), found.judges.len()), (11, 2));
    let estimate = found.preference(place).unwrap();
    let interval = estimate.interval.unwrap();
    // Wilson for 9 of 10, as statsmodels' proportion_confint gives it.
    assert_eq!((estimate.mean, estimate.n), (0.9, 10));
    assert!((interval.low - 0.595_849_973).abs() < 1e-6, "{interval:?}");
    assert!((interval.high - 0.982_123_832).abs() < 1e-6, "{interval:?}");
    assert_eq!(tallies.between("dense", "moments").1, 0);
    let (none, _) = tallies.between("local", "dense");
    assert_eq!(none.preference(0).unwrap_err(), "no votes yet");

    let experiment = experiments::build(&spec()).unwrap();
    let section = format!("{:?}", experiment.render(&records).unwrap());
    for part in [
        "People's preference",
        "11 of 2 judges",
        "dense or moments",
        "no votes yet",
        "1 vote is about other summaries",
    ] {
        assert!(section.contains(part), "{part}");
    }
}

#[test]
fn the_page_is_blind_and_needs_nothing_from_elsewhere() {
    let folder = results();
    let mut session = open(folder.path(), "ada");
    let ballot = session.next().unwrap().clone();
    let text = page(&session);
    let [left, right] = ballot
        .summaries
        .map(|text| text.replace('<', "&lt;").replace('>', "&gt;"));
    assert!(text.find(&left).unwrap() < text.find(&right).unwrap());
    assert!(text.contains("Once upon a time.") && text.contains(&ballot.id));
    assert!(text.contains("1 of 12"));
    for outside in ["<link", "src=", "http:", "https:", "url(", "@import"] {
        assert!(!text.contains(outside), "{outside}");
    }
    judge(&mut session, 12, Choice::Left);
    assert!(page(&session).contains("All 12 articles are judged"));
}
