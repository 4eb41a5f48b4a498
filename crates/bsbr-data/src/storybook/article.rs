//! Articles with highlights, for summarisation.

use super::prose::Prose;
use super::rng::{Purpose, pick, stream};
use super::scene::{Scene, draw_cast};
use super::text::{Text, capitalise, expand};
use super::{Domain, Split, Storybook};
use crate::article::Article;

use rand::Rng;
use rand::seq::SliceRandom;

/// Main events of any domain: their wording in the article, and in the highlights. Slots
/// that occur in both have the same content.
const EVENTS: &[(&str, &str)] = &[
    (
        "on {day} {A} found {an} {Q} {O} at the {P}, while the {role} was {feel}.",
        "{A} found {an} {Q} {O} at the {P}.",
    ),
    (
        "after {num} {span} {A} sold the {Q} {O} to {B} at the {P} for {N} coins.",
        "{A} sold the {Q} {O} to {B} for {N} coins.",
    ),
    (
        "in {month} {A} and {B} repaired the {Q} {O} at the {P} with {an} {tool}.",
        "{A} and {B} repaired the {Q} {O} at the {P}.",
    ),
    (
        "{adv} {A} carried {an} {Q} {O} from the {P} to the {G}, and many people saw it.",
        "{A} carried {an} {Q} {O} from the {P} to the {G}.",
    ),
    (
        "at {hour} {A} gave {B} {an} {Q} {O} near the {P}, which nobody had expected.",
        "{A} gave {B} {an} {Q} {O} near the {P}.",
    ),
    (
        "that {day} {A} lost {an} {Q} {O} at the {P} and was {feel} about it.",
        "{A} lost {an} {Q} {O} at the {P}.",
    ),
    (
        "the {role} was {feel} when {A} bought {an} {Q} {O} for {N} coins at the {P}.",
        "{A} bought {an} {Q} {O} for {N} coins at the {P}.",
    ),
    (
        "because of the {M}, {A} met {B} at the {P} on {day} and spoke for {num} {span}.",
        "{A} met {B} at the {P} because of the {M}.",
    ),
    (
        "by {hour} {A} had painted the {Q} {O} of {B} at the {P}, with {col} paint.",
        "{A} painted the {Q} {O} of {B} at the {P}.",
    ),
    (
        "everybody was {feel} as {A} opened the {P} of {V} on {day} in {month}.",
        "{A} opened the {P} of {V}.",
    ),
    (
        "the {M} began when {A} broke {an} {Q} {O} at the {P}, {an} {role} {told}.",
        "the {M} began when {A} broke {an} {Q} {O} at the {P}.",
    ),
    (
        "then {B} asked {A} to bring the {Q} {O} to the {P} before {day}.",
        "{B} asked {A} to bring the {Q} {O} to the {P}.",
    ),
];

impl Storybook {
    /// An article of about 620 words with its main events spread over it, and three or four
    /// highlights: who, what, where.
    pub fn article(&self, split: Split, index: u64) -> Article {
        let mut rng = stream(self.seed, split, Purpose::Article, 0, index);
        let rng = &mut rng;
        let domain = pick(rng, &Domain::ALL);
        let mut cast = draw_cast(rng, 18);
        // The main events are about the first two people; the others fill the pages.
        let minor = cast.split_off(2);
        let mut main = Scene::new(rng, cast);
        let mut prose = Prose::new(rng, domain, minor);
        let count = rng.random_range(3..5);
        let mut order: Vec<usize> = (0..EVENTS.len()).collect();
        order.shuffle(rng);

        let mut text = Text::default();
        let village = main.village;
        prose.scene.village = village;
        text.sentence(rng, &main, "the {O} of {A}, and what {B} did at the {P}.");
        text.end_line();
        let mut highlights = Vec::with_capacity(count);
        let target = rng.random_range(560..640);
        for (at, &event) in order.iter().take(count).enumerate() {
            // The lead has the first event, the others follow later.
            let goal = if at == 0 {
                12
            } else {
                target * at / count + rng.random_range(0..40)
            };
            prose.run_to(&mut text, rng, goal);
            prose.interrupt(&mut text);
            let (body, highlight) = EVENTS[event];
            let price = rng.random_range(2..100u32).to_string();
            text.sentence(rng, &main, &body.replace("{N}", &price));
            let mut line = String::new();
            expand(&mut line, rng, &main, &highlight.replace("{N}", &price));
            capitalise(&mut line, 0);
            highlights.push(line);
            // The next event has another object and place, and sometimes the roles are
            // swapped.
            let (a, b) = (main.a, main.b);
            main.turn(rng);
            (main.a, main.b) = if rng.random_bool(0.5) { (a, b) } else { (b, a) };
        }
        prose.run_to(&mut text, rng, target);
        text.end_line();
        Article {
            text: text.into_string(),
            highlights,
            domain: Some(domain),
        }
    }
}
