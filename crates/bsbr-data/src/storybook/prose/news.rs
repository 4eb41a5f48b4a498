//! News: a dateline, reports and quotes.

use rand::Rng;

use super::Prose;
use crate::storybook::rng::ChaCha8Rng;
use crate::storybook::text::Text;

pub(super) const TITLES: &[&str] = &[
    "news: {Q} {O} found at the {P}.",
    "news from {V}: trouble at the {P}.",
    "news: the {role} and the {M}.",
    "news of the week: {A}, the {O} and the {P}.",
    "news: {num} {beasts} seen near the {P} of {V}.",
    "news: council of {V} votes on the {M}.",
];

const LEADS: &[&str] = &[
    "the council met at the {P} to discuss the {M}.",
    "the {role} reported {an} {kind} {M} at the {P}.",
    "{num} people were at the {P} when the {M} began.",
    "work on the {view} {P} started {num} {span} ago, the {role} {told}.",
    "according to the {role}, the {P} will be {view} until {month}.",
    "police were called to the {P} on {day} because of {an} {Q} {O}.",
    "{an} {weather} {time} did not keep visitors away from the {P}.",
    "prices of {goods} and {goods} rose by {n} coins in {month}.",
    "the {nature} and the {nature} were the talk of the {P} in {month}.",
];

const REPORTS: &[&str] = &[
    "{A} {did} the {Q} {O} on {day}, witnesses {told}.",
    "on {day} {A} {moved} to the {G} and {did} {an} {O}.",
    "the {role} {did} {num} {measure} of {goods} at the {G}.",
    "the {O} was seen near the {G} on {day}.",
    "{B} called the {role}, who {moved} to the {P} at once.",
    "officials expect {n} visitors at the {G} in {month}.",
    "the {role} paid {n} coins for the {O}.",
    "{A} and {B} had planned the {M} for {num} {span}.",
    "nobody was hurt, but the {G} stayed closed for {num} {span}.",
    "the {O} was made of {mat} and weighed {n} pounds.",
    "the {M} cost the council {n} coins.",
    "{num} {beasts} escaped from the {place} during the {M}.",
    "the {plants} along the road to the {G} were {col}.",
    "workers {did} {num} {measure} of {goods} {adv}.",
    "{B} was {feel} about the {M}.",
    "the price of {food} will not change before {month}.",
    "the {nature} made the {M} {kind}.",
    "{A} gave a talk about {lore} and {lore} at the {G}.",
    "the {role} thanked {B} for {bhis} {virtue}.",
];

const QUOTES: &[&str] = &[
    "\"We want to {do} the {O},\" {said} {A}.",
    "\"The {M} was {kind},\" {said} the {role}.",
    "\"I saw the {O} at {hour},\" {said} {B}.",
    "\"Nobody told us about the {M},\" {said} {A} {adv}.",
    "\"It is {an} {kind} {M} for {V},\" {said} the {role}.",
    "\"We will {do} it again in {month},\" {said} {B}.",
    "\"We need more {virtue},\" {said} the {role} {adv}.",
    "{A} told reporters that {he} was {feel}.",
    "{B} {told} that the {role} would {do} the {O}.",
];

const CLOSINGS: &[&str] = &[
    "the council will meet again on {day}.",
    "{an} answer is expected in {month}.",
    "the {role} of {V} will decide about the {O}.",
    "more about the {M} will follow.",
    "visitors may see the {O} at the {P} from {day}.",
    "the weather will be {weather} on {day}.",
];

impl Prose {
    pub(super) fn news(&mut self, text: &mut Text, rng: &mut ChaCha8Rng) {
        if self.stage == 0 {
            text.end_line();
            self.scene.turn(rng);
            self.stage = 1;
            self.left = rng.random_range(2..6);
            if rng.random_bool(0.5) {
                text.sentence(rng, &self.scene, "{V}, {d} {month}.");
            }
            self.say(text, rng, LEADS);
            return;
        }
        if self.left == 0 {
            self.say(text, rng, CLOSINGS);
            self.stage = 0;
            return;
        }
        self.left -= 1;
        if rng.random_bool(0.3) {
            self.say(text, rng, QUOTES);
        } else {
            self.say(text, rng, REPORTS);
        }
    }
}
