//! Persons, objects and places: the state that makes prose coherent.

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

/// Up to twenty of a cast: the main persons of the prose.
pub(crate) fn protagonists(rng: &mut ChaCha8Rng, cast: &[Person]) -> Vec<Person> {
    let mut all = cast.to_vec();
    let (chosen, _) = all.partial_shuffle(rng, cast.len().min(20));
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
    objects: Recent,
    places: Recent,
}

/// Recently used words, which are more likely to be used again: the subject of a
/// text changes every few episodes.
#[derive(Debug, Clone, Default)]
struct Recent {
    words: [Option<&'static str>; 3],
    next: usize,
}

impl Recent {
    /// One of the recent words in about half of the cases, otherwise any of
    /// `pool`, which then counts as recent.
    fn draw(&mut self, rng: &mut ChaCha8Rng, pool: &[&'static str]) -> &'static str {
        let old = pick(rng, &self.words).filter(|_| rng.random_bool(0.5));
        old.unwrap_or_else(|| {
            let word = pick(rng, pool);
            self.words[self.next] = Some(word);
            self.next = (self.next + 1) % self.words.len();
            word
        })
    }
}

impl Scene {
    /// A scene of `cast`, with a first pair of people, a first object and errand.
    pub(crate) fn new(rng: &mut ChaCha8Rng, cast: Vec<Person>) -> Self {
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
            objects: Recent::default(),
            places: Recent::default(),
        };
        scene.turn(rng);
        scene
    }

    /// A new pair of people, a new object, a new errand.
    pub(crate) fn turn(&mut self, rng: &mut ChaCha8Rng) {
        // The persons present usually stay.
        self.a = match rng.random_range(0..10) {
            0..3 if self.a != Person::default() => self.a,
            3..6 if self.b != Person::default() => self.b,
            _ => pick(rng, &self.cast),
        };
        self.meet(rng);
        if rng.random_bool(0.4) {
            self.village = pick(rng, &words::VILLAGES);
        }
        self.object = self.objects.draw(rng, &words::OBJECTS);
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

    fn somewhere(&mut self, rng: &mut ChaCha8Rng) -> &'static str {
        self.places.draw(rng, &words::PLACES)
    }

    /// The first and the second person change places.
    pub(crate) fn swap(&mut self) {
        std::mem::swap(&mut self.a, &mut self.b);
    }
}
