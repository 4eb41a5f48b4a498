//! The page for judges, without the names of the models.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::judge::ballot::Ballot;
use crate::judge::session::Session;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The next ballot of a session, or its end.
pub fn page(session: &Session) -> String {
    let (done, total) = session.progress();
    match session.next() {
        Some(ballot) => framed(ballot_of(ballot, &format!("{} of {total}", done + 1))),
        None => framed(html! {
            h1 { "All " (total) " articles are judged. Thank you." }
            p .about { "The votes are saved; this window can be closed." }
        }),
    }
}

/// A page with an error message and a link back.
pub fn problem(message: &str) -> String {
    framed(html! {
        h1 { "The request failed" }
        p { (message) }
        p { a href="/" { "Continue" } }
    })
}

fn framed(body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Which summary is better?" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn ballot_of(ballot: &Ballot, progress: &str) -> Markup {
    let [left, right] = &ballot.summaries;
    let choices = [
        ("left", "1", "Summary 1"),
        ("neither", "0", "No preference"),
        ("right", "2", "Summary 2"),
    ];
    html! {
        h1 { "Which summary is better?" }
        p .about {
            "Article " (progress) ". Choose the summary that you would rather have instead of the "
            "article."
            span .keys {
                " Press " kbd { "1" } " or " kbd { "←" } " for the first, " kbd { "2" } " or "
                kbd { "→" } " for the second, " kbd { "0" } " for no preference; "
                kbd { "↓" } " and " kbd { "↑" } " move the article."
            }
        }
        // The focused element receives the arrow keys.
        article tabindex="0" autofocus {
            h2 { "Article" }
            @for line in ballot.text.lines() { p { (line) } }
        }
        div .pair {
            (summary("Summary 1", left))
            (summary("Summary 2", right))
        }
        form method="post" action="/vote" autocomplete="off" {
            input type="hidden" name="ballot" value=(ballot.id);
            div {
                @for (value, key, words) in choices {
                    button type="submit" name="choice" value=(value) {
                        kbd .keys { (key) } " " (words)
                    }
                }
            }
        }
    }
}

fn summary(title: &str, text: &str) -> Markup {
    html! {
        section {
            h2 { (title) }
            p { @if text.is_empty() { "(empty)" } @else { (text) } }
        }
    }
}
