//! Code and emphasis in a paragraph, in Markdown notation.

use maud::{Markup, html};

/// A paragraph in which `` `code` `` and `*emphasis*` are rendered; an unpaired mark is an
/// ordinary character.
pub(super) fn inline(text: &str) -> Markup {
    html! {
        @for (code, part) in marked(text, '`') {
            @if code {
                code { (part) }
            } @else {
                @for (emphasis, part) in marked(part, '*') {
                    @if emphasis { em { (part) } } @else { (part) }
                }
            }
        }
    }
}

/// The parts between marks, and whether a part is marked.
fn marked(text: &str, mark: char) -> Vec<(bool, &str)> {
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
            of("a *b* `c*d` <e>"),
            "a <em>b</em> <code>c*d</code> &lt;e&gt;"
        );
        assert_eq!(of("2 * 3 and `"), "2 * 3 and `");
        assert_eq!(of("*all*"), "<em>all</em>");
    }
}
