//! Ledgers: rows of goods with counts and prices, and totals that add up.

use rand::Rng;

use super::Prose;
use crate::storybook::rng::{ChaCha8Rng, pick};
use crate::storybook::text::Text;
use crate::storybook::words;

pub(super) const TITLES: &[&str] = &[
    "ledger of the {P} of {V}.",
    "accounts of the {P}, {month}.",
    "list of goods at the {P}.",
    "accounts of {A} and {B}.",
    "ledger of goods, kept by the {role} of {V}.",
];

const HEADS: &[&str] = &[
    "page {n}, {day}, at the {P}.",
    "{day}, {d} {month}, {weather}.",
    "goods received at the {P} on {day}.",
    "goods sold at the {P} in {month}.",
    "entries by the {role} for {month}.",
];

const PARTIES: &[&str] = &[
    "from the {role}",
    "to the {role}",
    "from {A}",
    "to {A}",
    "for {B}",
    "for the {P}",
    "to the {G}",
    "from {V}",
    "by cart to {village}",
];

const NOTES: &[&str] = &[
    "note: the {measure} of {goods} were {adj}.",
    "note: {A} paid {adv}.",
    "note: {B} still owes {n} coins for the {O}.",
    "note: {num} {measure} of {goods} were {adj} and went back.",
    "note: the {role} {did} the {O}.",
    "note: the {role} counted the {goods} {adv}.",
    "note: {A} ordered {num} {measure} of {goods} for {month}.",
    "note: the {nature} spoiled {num} {measure} of {goods}.",
    "note: {A} and {B} agreed on the {M}.",
    "note: the {beasts} ate {num} {measure} of {goods}.",
];

impl Prose {
    pub(super) fn ledger(&mut self, text: &mut Text, rng: &mut ChaCha8Rng) {
        text.end_line();
        if self.stage == 0 {
            self.scene.turn(rng);
            self.say(text, rng, HEADS);
            self.stage = 1;
            self.sum = 0;
            self.left = rng.random_range(3..8);
        } else if self.left == 0 {
            text.push(&format!("Total: {} coins.", self.sum));
            text.end_line();
            self.say(text, rng, NOTES);
            self.stage = 0;
        } else {
            self.left -= 1;
            let count = rng.random_range(2..40u32);
            let price = rng.random_range(2..60);
            self.sum += price;
            text.push(&format!("- {count} {} of ", pick(rng, &words::MEASURES)));
            if rng.random_bool(0.3) {
                text.push(pick(rng, &words::COLOURS));
                text.space();
            }
            text.push(match rng.random_bool(0.7) {
                true => pick(rng, &words::GOODS),
                false => pick(rng, &words::FOODS),
            });
            text.space();
            let party = pick(rng, PARTIES);
            text.fragment(rng, &self.scene, party);
            text.push(&format!(", {price} coins."));
            self.scene.meet(rng);
        }
    }
}
