//! Who acts, with what, and where: the state that gives prose its coherence.

use rand::Rng;
use rand::seq::SliceRandom;

use super::rng::{ChaCha8Rng, pick};
use super::words;

/// A member of the cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) she: bool,
}

impl Person {
    pub(crate) fn he(&self) -> &'static str {
        if self.she { "she" } else { "he" }
    }

    pub(crate) fn him(&self) -> &'static str {
        if self.she { "her" } else { "him" }
    }

    pub(crate) fn his(&self) -> &'static str {
        if self.she { "her" } else { "his" }
    }
}

/// `count` people with different first names (at most as many as there are names).
pub(crate) fn draw_cast(rng: &mut ChaCha8Rng, count: usize) -> Vec<Person> {
    let mut all: Vec<Person> = words::SHE_NAMES
        .iter()
        .map(|name| Person { name, she: true })
        .chain(
            words::HE_NAMES
                .iter()
                .map(|name| Person { name, she: false }),
        )
        .collect();
    let count = count.min(all.len());
    let (chosen, _) = all.partial_shuffle(rng, count);
    chosen.to_vec()
}

/// Up to eight of a cast: the ones whom the prose is about.
pub(crate) fn protagonists(rng: &mut ChaCha8Rng, cast: &[Person]) -> Vec<Person> {
    let mut all = cast.to_vec();
    let (chosen, _) = all.partial_shuffle(rng, cast.len().min(8));
    chosen.to_vec()
}

/// The state that the slots of a template refer to.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) cast: Vec<Person>,
    pub(crate) a: Person,
    pub(crate) b: Person,
    pub(crate) object: &'static str,
    pub(crate) quality: &'static str,
    pub(crate) place: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) village: &'static str,
    pub(crate) matter: &'static str,
    pub(crate) foods: (&'static str, &'static str),
    objects: Vec<&'static str>,
    places: Vec<&'static str>,
}

impl Scene {
    /// A scene of `cast` with a handful of objects and places that recur.
    pub(crate) fn new(rng: &mut ChaCha8Rng, cast: Vec<Person>) -> Self {
        let objects = (0..5).map(|_| pick(rng, &words::OBJECTS)).collect();
        let places = (0..4).map(|_| pick(rng, &words::PLACES)).collect();
        let village = pick(rng, &words::VILLAGES);
        let mut scene = Self {
            cast,
            a: Person::default(),
            b: Person::default(),
            object: "",
            quality: "",
            place: "",
            goal: "",
            village,
            matter: "",
            foods: ("", ""),
            objects,
            places,
        };
        scene.turn(rng);
        scene
    }

    /// A new pair of people, a new object, a new errand.
    pub(crate) fn turn(&mut self, rng: &mut ChaCha8Rng) {
        self.a = pick(rng, &self.cast);
        self.meet(rng);
        self.object = if rng.random_bool(0.7) {
            pick(rng, &self.objects)
        } else {
            pick(rng, &words::OBJECTS)
        };
        self.quality = pick(rng, &words::ADJECTIVES);
        self.place = self.somewhere(rng);
        self.go(rng);
        self.matter = pick(rng, &words::MATTERS);
        self.foods = (pick(rng, &words::FOODS), pick(rng, &words::FOODS));
    }

    /// Another second person.
    pub(crate) fn meet(&mut self, rng: &mut ChaCha8Rng) {
        for _ in 0..8 {
            self.b = pick(rng, &self.cast);
            if self.b != self.a {
                break;
            }
        }
    }

    /// Another place to go to.
    pub(crate) fn go(&mut self, rng: &mut ChaCha8Rng) {
        for _ in 0..8 {
            self.goal = self.somewhere(rng);
            if self.goal != self.place {
                break;
            }
        }
    }

    fn somewhere(&self, rng: &mut ChaCha8Rng) -> &'static str {
        if rng.random_bool(0.7) {
            pick(rng, &self.places)
        } else {
            pick(rng, &words::PLACES)
        }
    }

    /// The first and the second person change places.
    pub(crate) fn swap(&mut self) {
        std::mem::swap(&mut self.a, &mut self.b);
    }
}
