//! Dialogue: two people speak in turn, one line each.

use rand::Rng;

use super::Prose;
use crate::storybook::rng::ChaCha8Rng;
use crate::storybook::text::Text;

pub(super) const TITLES: &[&str] = &[
    "a conversation between {A} and {B}.",
    "two people talk about the {M}.",
    "a dialogue at the {P}.",
    "what was said at the {P} on {day}.",
    "talk at the {P}: the {O} and the {M}.",
];

const STAGE: &[&str] = &[
    "at the {P} {A} meets {B} on {an} {weather} {time}.",
    "it is {hour}, and {A} sits with {B} near the {P}.",
    "outside the {P} {A} waits for {B}.",
    "the {role} leaves, and {A} turns to {B}.",
];

const OPENERS: &[&str] = &[
    "good morning, {B}.",
    "hello, {B}, you look {feel}.",
    "tell me about the {M}, {B}.",
    "{B}, I need to talk about the {O}.",
    "listen, {B}, there is news about the {M}.",
];

const LINES: &[&str] = &[
    "I {did} the {Q} {O} at the {G}.",
    "I was {feel} when I saw the {O}.",
    "the {role} told me about {an} {adj} {O}.",
    "we could {do} the {O} on {day}.",
    "you should not {do} the {O} so {adv}.",
    "yes, the {O} is {adj}, but the {M} is {kind}.",
    "no, I never {did} the {O}.",
    "my {role} {moved} to the {G} last {day}.",
    "they sell {food} and {food} at the {G}.",
    "it costs {n} coins, I think.",
    "that is {an} {kind} {M}.",
    "I would rather {do} {an} {obj} than wait for the {role}.",
    "the {beasts} near the {G} are {feel} this {month}.",
    "the {O} is made of {mat}, and it is {col}.",
    "do not tell the {role} about the {O}.",
    "perhaps the {role} can {do} it.",
    "we have waited {num} {span} for the {M}.",
    "I agree, we need {virtue} and {virtue}.",
    "let us go to the {G} before {hour}.",
    "you always speak so {adv}.",
    "you know so much about {lore} and {lore}.",
    "I would rather talk about {lore}.",
    "I need {an} {tool} and some {goods} for it.",
    "it was {weather}, so nobody {moved} to the {G}.",
    "I like the {nature} over the {view} {G}.",
    "with some {virtue} we can {do} it.",
    "my {role} was {feel} all {time}.",
    "there were {num} {measure} of {goods} at the {G}.",
    "of course, the {plants} are {col} in {month}.",
    "I heard that the {role} was {feel} about the {M}.",
];

const FAREWELLS: &[&str] = &[
    "goodbye, {B}, I will see you on {day}.",
    "I must go to the {G} now, {B}.",
    "thank you, {B}, that was {kind}.",
    "let us meet again at {hour}, {B}.",
];

impl Prose {
    pub(super) fn dialogue(&mut self, text: &mut Text, rng: &mut ChaCha8Rng) {
        text.end_line();
        match self.stage {
            0 => {
                self.scene.turn(rng);
                self.say(text, rng, STAGE);
                self.left = rng.random_range(1..4);
                self.stage = 1;
            }
            1 => {
                self.line(text, rng, OPENERS);
                self.stage = 2;
            }
            _ if self.left == 0 => {
                self.line(text, rng, FAREWELLS);
                self.stage = 0;
            }
            _ => {
                self.left -= 1;
                self.line(text, rng, LINES);
                if rng.random_bool(0.3) {
                    self.say(text, rng, LINES);
                }
            }
        }
        if self.stage != 1 {
            self.scene.swap();
        }
    }

    fn line(&self, text: &mut Text, rng: &mut ChaCha8Rng, templates: &[&str]) {
        text.push("- ");
        text.push(self.scene.a.name);
        text.push(":");
        self.say(text, rng, templates);
    }
}
