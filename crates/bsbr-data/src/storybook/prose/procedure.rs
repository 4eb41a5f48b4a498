//! Procedures: requirements, numbered steps, a remark.

use rand::Rng;

use super::Prose;
use crate::storybook::rng::ChaCha8Rng;
use crate::storybook::text::Text;

pub(super) const TITLES: &[&str] = &[
    "how to {do} {an} {O}.",
    "how to {do} the {Q} {O}, as {A} does it.",
    "instructions for the {P}.",
    "how to cook {F1} with {F2}.",
    "how to store {goods} at the {P}.",
];

const CRAFT_NEEDS: &[&str] = &[
    "to {do} {an} {O}, you need {an} {tool}, {an} {tool} and some {goods}.",
    "for this you need {num} {measure} of {goods}, {an} {tool} and {an} {adj} {obj}.",
    "once {A} showed {B} how to {do} {an} {O} with {an} {tool}.",
    "before you {do} the {O}, ask the {role} for {an} {tool}.",
];

const CRAFT_STEPS: &[&str] = &[
    "{do} the {O} {adv}.",
    "{do} the {O} with the {tool}.",
    "take {an} {adj} {tool} and {do} the {O}.",
    "put the {O} on {an} {adj} {obj}.",
    "wait {num} minutes, until the {O} is {adj}.",
    "turn the {O}, so that the {col} side is up.",
    "check that the {tool} is {adj}.",
    "{do} {num} {measure} of {goods}.",
    "cover the {O} with {mat}.",
    "let the {role} {do} the {tool}.",
    "repeat this {num} times.",
    "if the {O} is too {adj}, {do} it again.",
    "carry the {O} to the {G}.",
    "leave it at the {G} for {num} {span}.",
    "fasten the {obj} to the {O} with {goods}.",
    "do not {do} the {O} while it is {adj}.",
    "write your name on {an} {adj} {obj}.",
];

const CRAFT_REMARKS: &[&str] = &[
    "now the {O} is {adj} and ready.",
    "the {role} will {do} the rest.",
    "in {month} this takes {num} {span} longer.",
    "{A} does it {adv}, and {B} does it {adv}.",
    "keep the {tool} dry, or it will become {adj}.",
    "on {weather} days, use {an} {adj} {tool} instead.",
    "it takes {virtue} and {virtue} to do this well.",
];

const COOK_NEEDS: &[&str] = &[
    "to cook {F1} for {num} people, take {F2}, {food} and {an} {tool}.",
    "for this dish you need {F1}, {F2} and {num} {measure} of {food}.",
    "once {A} showed {B} how to cook {F1} and {F2}.",
    "in {month} the {role} cooks {F1} with {F2} for the guests.",
];

const COOK_STEPS: &[&str] = &[
    "{cook} the {F1} {adv}.",
    "{cook} the {F2} with {an} {tool}.",
    "add {num} spoons of {food} and {cook} it {adv}.",
    "mix the {F1} with the {F2}.",
    "heat the {F1} for {n} minutes.",
    "wait {num} minutes and let the {F2} turn {col}.",
    "put the {F1} into {an} {adj} {vessel}.",
    "cut the {plants} and {cook} them {adv}.",
    "cover the {vessel} and leave it for {num} minutes.",
    "{cook} the {F1} until the {F2} will turn {col}.",
    "take the {F2} from the stove at {hour}.",
    "give the rest to the {beasts}.",
];

const COOK_REMARKS: &[&str] = &[
    "serve the {F1} with {food}.",
    "the {role} likes it with {food}.",
    "{A} cooks it {adv}, and {B} cooks it {adv}.",
    "on {weather} days, use {food} instead of {F2}.",
    "the dish will be {col} and enough for {num} people.",
];

impl Prose {
    pub(super) fn procedure(&mut self, text: &mut Text, rng: &mut ChaCha8Rng) {
        const CRAFT: u32 = 1;
        text.end_line();
        if self.stage == 0 {
            self.scene.turn(rng);
            self.stage = if rng.random_bool(0.65) { CRAFT } else { 2 };
            let needs = if self.stage == CRAFT {
                CRAFT_NEEDS
            } else {
                COOK_NEEDS
            };
            self.say(text, rng, needs);
            self.number = 0;
            self.left = rng.random_range(2..6);
            return;
        }
        let (steps, remarks) = if self.stage == CRAFT {
            (CRAFT_STEPS, CRAFT_REMARKS)
        } else {
            (COOK_STEPS, COOK_REMARKS)
        };
        if self.left == 0 {
            self.say(text, rng, remarks);
            self.stage = 0;
            return;
        }
        self.left -= 1;
        self.number += 1;
        text.push(&format!("Step {}.", self.number));
        self.say(text, rng, steps);
        if rng.random_bool(0.2) {
            self.say(text, rng, remarks);
        }
    }
}
