//! Code, emphasis and links in a paragraph, in Markdown notation.

use maud::{Markup, html};

/// A paragraph in which `` `code` ``, `**strong**`, `*emphasis*` and links to sections are
/// rendered; an unpaired mark is an ordinary character.
pub(super) fn inline(text: &str) -> Markup {
    let link = text.split_once('[').and_then(|(before, rest)| {
        let (words, rest) = rest.split_once("](")?;
        let (section, after) = rest.split_once(".md)")?;
        Some((before, words, section, after))
    });
    html! {
        @if let Some((before, words, section, after)) = link {
            (inline(before)) a href=(format!("#{section}")) { (words) } (inline(after))
        } @else {
            @for (code, part) in marked(text, "`") {
                @if code { code { (part) } } @else { (strong(part)) }
            }
        }
    }
}

fn strong(text: &str) -> Markup {
    html! {
        @for (is_strong, part) in marked(text, "**") {
            @if is_strong {
                strong { (part) }
            } @else {
                @for (emphasis, part) in marked(part, "*") {
                    @if emphasis { em { (part) } } @else { (part) }
                }
            }
        }
    }
}

/// The parts between marks, and whether a part is marked.
fn marked<'a>(text: &'a str, mark: &str) -> Vec<(bool, &'a str)> {
    match text.matches(mark).count() {
        count if count > 0 && count.is_multiple_of(2) => text
            .split(mark)
            .enumerate()
            .map(|(at, part)| (at % 2 == 1, part))
            .filter(|(_, part)| !part.is_empty())
            .collect(),
        _ => vec![(false, text)],
    }
}

#[cfg(test)]
mod tests {
    use super::inline;

    #[test]
    fn marks_come_in_pairs() {
        let of = |text: &str| inline(text).into_string();
        assert_eq!(
            of("a *b* `c*d` **e** <f>"),
            "a <em>b</em> <code>c*d</code> <strong>e</strong> &lt;f&gt;"
        );
        assert_eq!(of("2 * 3 and `"), "2 * 3 and `");
        assert_eq!(of("*all*"), "<em>all</em>");
        assert_eq!(of("[a](b.md) *c*"), "<a href=\"#b\">a</a> <em>c</em>");
    }
}
