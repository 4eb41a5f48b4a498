//! Tales: journeys, finds, errands, gifts and speech.

use rand::Rng;

use super::Prose;
use crate::storybook::rng::ChaCha8Rng;
use crate::storybook::text::Text;

pub(super) const TITLES: &[&str] = &[
    "a tale of the {Q} {O} and the {P}.",
    "the story of {A} and {B}.",
    "how {A} came to the {P}, a tale.",
    "a tale from {V}.",
    "the {O} of the {P}, an old story.",
    "once at the {P}, a tale of {A}.",
];

const OPENINGS: &[&str] = &[
    "it was {an} {weather} {time} at the {P}.",
    "one {weather} {time} the {P} was {view} and {view}.",
    "for {num} {span} nothing had happened at the {P}.",
    "the {time} was {weather}, and the {beasts} near the {P} were {feel}.",
    "on {day} the {role} opened the {P}, as always.",
    "there was {an} {view} {P} behind the {plants} of {V}.",
    "long ago there stood {an} {view} {P} not far from {V}.",
    "that {time} the road to the {P} was {view}.",
    "when the {weather} {span} were over, the {role} came back to the {P}.",
    "in those {span} everybody in {V} spoke of the {M}.",
    "the {nature} lay over the {view} {P}, and it was {weather}.",
];

const GOING: &[&str] = &[
    "{A} {moved} to the {G}, because {he} wanted to {do} {an} {O}.",
    "{A} {moved} from the {P} to the {G}.",
    "{adv} {A} {moved} to the {G}.",
    "after the {M}, {A} {moved} to the {G} with {B}.",
    "{A} left the {P} and {moved} to the {G}.",
    "then {A} took {his} {obj} and {moved} to the {G}.",
    "at {hour} {A} {moved} past the {place} to the {G}.",
    "{A} and {B} {moved} to the {G} together.",
    "nobody saw how {A} {moved} to the {G}.",
    "it took {A} {num} {span} to reach the {G}.",
    "{A} heard the {nature} and {moved} to the {G}.",
];

const FINDING: &[&str] = &[
    "there {he} found {an} {Q} {O}.",
    "behind the {plants} lay {an} {Q} {O} made of {mat}.",
    "{A} noticed {an} {Q} {O} under the {obj}.",
    "on the ground there was {an} {Q} {O}, {col} and {adj}.",
    "{an} {role} showed {him} {an} {Q} {O}.",
    "between the {goods} and the {food} {he} saw {an} {Q} {O}.",
    "{an} {Q} {O} stood there, and {num} {beasts} sat around it.",
    "{he} {did} {an} {Q} {O} which the {role} had left there.",
    "in the {view} {place} {A} discovered {an} {Q} {O}.",
];

const HANDLING: &[&str] = &[
    "{A} {did} the {O} {adv}.",
    "{he} {did} the {O} and felt {feel}.",
    "the {O} was {col}, and it smelled of {food}.",
    "{A} carried the {O} back to the {P}.",
    "{he} tried to {do} the {Q} {O}, but it was too {adj}.",
    "with {an} {tool} {A} {did} the {O}.",
    "{he} put the {O} into {an} {adj} {vessel}.",
    "{A} wrapped the {O} in {col} {mat}.",
    "the {Q} {O} reminded {A} of the {M}.",
    "{num} {beasts} followed {him} while {he} {did} the {O}.",
    "{he} thought {adv} about the {O} and the {M}.",
    "it took {virtue} to {do} such {an} {O}.",
];

const MEETING: &[&str] = &[
    "at the {G} {he} met {B}, who was {feel}.",
    "{B} came along with {an} {obj} and {an} {tool}.",
    "soon {B} {moved} to the {G} as well.",
    "just then {B} called from the {place}.",
    "the {role} brought {B} to the {G}.",
    "{B} was waiting there and {did} {an} {obj}.",
    "{A} asked {B} about the {M}.",
];

const SPEAKING: &[&str] = &[
    "\"We should {do} the {O},\" {said} {A}.",
    "\"I have never seen {an} {O} so {adj},\" {said} {B}.",
    "\"The {role} must not {do} it,\" {said} {B} {adv}.",
    "\"It belongs to the {role} of {V},\" {said} {A}.",
    "\"Let us talk about the {M} first,\" {said} {B}.",
    "\"Bring it to the {P} before {hour},\" {said} {A}.",
    "\"I would give {num} coins for the {O},\" {said} {B}.",
    "{B} {told} that the {O} was {adj}.",
    "{A} {told} that {he} would {do} the {O} on {day}.",
    "they talked about the {M} until {hour}.",
    "they spoke of {lore} and {lore}, and of the {M}.",
];

const GIVING: &[&str] = &[
    "{A} gave the {O} to {B}.",
    "in the end {A} gave {B} the {Q} {O}.",
    "{A} sold the {O} to {B} for {n} coins.",
    "so {B} took the {O} and thanked {him} {adv}.",
    "{A} lent the {O} to {B} for {num} {span}.",
    "{B} received the {O} and left {an} {adj} {obj} in return.",
];

const ENDINGS: &[&str] = &[
    "{B} was {feel}, and {A} was {feel} too.",
    "that {time} they ate {food} and {food} at the {G}.",
    "since then the {O} has been with {B}.",
    "the {role} heard about it and was {feel}.",
    "everybody in {V} was {feel} about it.",
    "so the {M} ended {adv}.",
    "after that {B} {moved} to the {P}.",
    "the {beasts} slept under the {plants}, and it was quiet again.",
    "from that day the {role} called it the {Q} {O} of the {G}.",
];

const ASIDES: &[&str] = &[
    "the {plants} there were {col}.",
    "{an} {role} passed with {num} {beasts}.",
    "the air was {weather} and smelled of {food}.",
    "far away the {beasts} could be heard.",
    "it was {weather} all {time}.",
    "nobody knew the {virtue} of the {role}.",
    "the {role} {did} {an} {adj} {obj} {adv}.",
    "near the {place} stood {an} {obj} of {mat}.",
    "in {month} the {plants} are {col}.",
    "{an} {adj} {obj} lay beside the {adj} {tool}.",
    "the {role} and the {role} spoke {adv} about the {matter}.",
    "{num} {measure} of {goods} stood near the {place}.",
    "the {nature} could be seen from the {G}.",
    "the {nature} came over the {view} {place}.",
];

impl Prose {
    pub(super) fn tale(&mut self, text: &mut Text, rng: &mut ChaCha8Rng) {
        if self.stage > 0 && rng.random_bool(0.1) {
            self.say(text, rng, ASIDES);
            return;
        }
        let templates = match self.stage {
            0 => {
                text.end_line();
                self.scene.turn(rng);
                OPENINGS
            }
            1 => GOING,
            2 => FINDING,
            3 => HANDLING,
            4 => MEETING,
            5 | 6 => SPEAKING,
            7 => GIVING,
            _ => ENDINGS,
        };
        self.say(text, rng, templates);
        self.stage = match self.stage {
            3 if rng.random_bool(0.2) => 3,
            6 if rng.random_bool(0.2) => 6,
            8 => 0,
            stage => stage + 1,
        };
    }
}
