//! Text under construction, and its templates.

use rand::Rng;

use super::rng::{ChaCha8Rng, pick};
use super::scene::Scene;
use super::words;

/// Sentences are joined by one space, lines by one newline.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    buf: String,
    counted: usize,
    words: usize,
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        &self.buf
    }

    pub(crate) fn into_string(self) -> String {
        self.buf
    }

    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// The number of words so far, separated by white space.
    pub(crate) fn words(&mut self) -> usize {
        self.words += count_words(&self.buf[self.counted..]);
        self.counted = self.buf.len();
        self.words
    }

    pub(crate) fn at_line_start(&self) -> bool {
        self.buf.is_empty() || self.buf.ends_with('\n')
    }

    /// Ends the current line, if any.
    pub(crate) fn end_line(&mut self) {
        if !self.at_line_start() {
            self.buf.push('\n');
        }
    }

    /// A space before the next part, unless a line begins.
    pub(crate) fn space(&mut self) {
        if !self.at_line_start() && !self.buf.ends_with(' ') {
            self.buf.push(' ');
        }
    }

    /// Appends text unchanged.
    pub(crate) fn push(&mut self, text: &str) {
        self.buf.push_str(text);
    }

    /// Appends a sentence. If it would begin a line with a name, an opening
    /// word is added, so that names always follow a space.
    pub(crate) fn sentence(&mut self, rng: &mut ChaCha8Rng, scene: &Scene, template: &str) {
        let name_first = template.starts_with("{A}") || template.starts_with("{B}");
        if self.at_line_start() && name_first {
            self.push(pick(
                rng,
                &["Then", "Later", "Soon", "Meanwhile", "Today", "Once", "Now"],
            ));
        }
        self.space();
        let start = self.buf.len();
        expand(&mut self.buf, rng, scene, template);
        capitalise(&mut self.buf, start);
    }

    /// Appends a template without a capital letter.
    pub(crate) fn fragment(&mut self, rng: &mut ChaCha8Rng, scene: &Scene, template: &str) {
        expand(&mut self.buf, rng, scene, template);
    }
}

/// The number of words, separated by white space.
pub(crate) fn count_words(text: &str) -> usize {
    text.split_ascii_whitespace().count()
}

/// Capitalises the ASCII letter at `at`.
pub(crate) fn capitalise(text: &mut String, at: usize) {
    if let Some(first) = text.get(at..at + 1) {
        let upper = first.to_ascii_uppercase();
        text.replace_range(at..=at, &upper);
    }
}

/// Appends `template` with its `{slots}` filled from the scene and the pools.
pub(crate) fn expand(out: &mut String, rng: &mut ChaCha8Rng, scene: &Scene, template: &str) {
    let mut rest = template;
    let mut articles = [0usize; 8];
    let mut found = 0;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open + 1..];
        let Some(close) = rest.find('}') else { break };
        let slot = &rest[..close];
        rest = &rest[close + 1..];
        if slot == "an" {
            out.push('a');
            if found < articles.len() {
                articles[found] = out.len();
                found += 1;
            }
        } else if slot == "n" {
            out.push_str(&rng.random_range(2..100u32).to_string());
        } else if slot == "d" {
            out.push_str(&rng.random_range(1..29u32).to_string());
        } else if let Some(word) = fill(slot, rng, scene) {
            out.push_str(word);
        } else {
            // Unknown slots are unchanged, so that tests find them.
            out.push('{');
            out.push_str(slot);
            out.push('}');
        }
    }
    out.push_str(rest);
    for &at in articles[..found].iter().rev() {
        let next = out.as_bytes().get(at + 1).copied().unwrap_or(b' ');
        // "useful" and "useless" begin with a consonant.
        if b"aeio".contains(&next) || (next == b'u' && !out[at + 1..].starts_with("use")) {
            out.insert(at, 'n');
        }
    }
}

fn fill(slot: &str, rng: &mut ChaCha8Rng, scene: &Scene) -> Option<&'static str> {
    let word = match slot {
        "A" => scene.a.name,
        "B" => scene.b.name,
        "he" => scene.a.he(),
        "him" => scene.a.him(),
        "his" => scene.a.his(),
        "bhe" => scene.b.he(),
        "bhim" => scene.b.him(),
        "bhis" => scene.b.his(),
        "O" => scene.object,
        "Q" => scene.quality,
        "P" => scene.place,
        "G" => scene.goal,
        "V" => scene.village,
        "M" => scene.matter,
        "obj" => pick(rng, &words::OBJECTS),
        "vessel" => pick(rng, &words::VESSELS),
        "place" => pick(rng, &words::PLACES),
        "village" => pick(rng, &words::VILLAGES),
        "role" => pick(rng, &words::ROLES),
        "beasts" => pick(rng, &words::ANIMALS),
        "plants" => pick(rng, &words::PLANTS),
        "food" => pick(rng, &words::FOODS),
        "goods" => pick(rng, &words::GOODS),
        "measure" => pick(rng, &words::MEASURES),
        "mat" => pick(rng, &words::MATERIALS),
        "col" => pick(rng, &words::COLOURS),
        "adj" => pick(rng, &words::ADJECTIVES),
        "adv" => pick(rng, &words::ADVERBS),
        "view" => pick(rng, &words::VIEWS),
        "kind" => pick(rng, &words::KINDS),
        "nature" => pick(rng, &words::NATURE),
        "virtue" => pick(rng, &words::VIRTUES),
        "lore" => pick(rng, &words::LORE),
        "cook" => pick(rng, &words::COOKING),
        "told" => pick(rng, &words::TELLING),
        "hour" => pick(rng, &words::HOURS),
        "F1" => scene.foods.0,
        "F2" => scene.foods.1,
        "feel" => pick(rng, &words::FEELINGS),
        "matter" => pick(rng, &words::MATTERS),
        "moved" => pick(rng, &words::MOVES),
        "did" => pick(rng, &words::DEEDS),
        "do" => pick(rng, &words::TASKS),
        "said" => pick(rng, &words::SPEECH),
        "weather" => pick(rng, &words::WEATHERS),
        "time" => pick(rng, &words::TIMES),
        "day" => pick(rng, &words::DAYS),
        "month" => pick(rng, &words::MONTHS),
        "num" => pick(rng, &words::NUMBERS),
        "span" => pick(rng, &words::SPANS),
        "tool" => pick(rng, &words::TOOLS),
        _ => return None,
    };
    Some(word)
}
