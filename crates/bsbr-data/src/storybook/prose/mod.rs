//! Prose of five domains, one sentence or line at a time.

mod dialogue;
mod ledger;
mod news;
mod procedure;
mod tale;

use rand::Rng;

use super::Domain;
use super::rng::{ChaCha8Rng, pick};
use super::scene::{Person, Scene};
use super::text::Text;

/// An endless generator of one domain's prose about one cast.
#[derive(Debug, Clone)]
pub(crate) struct Prose {
    pub(crate) domain: Domain,
    pub(crate) scene: Scene,
    /// The progress of the current episode.
    stage: u32,
    /// Sentences or lines until the episode or the paragraph ends.
    left: u32,
    /// A running number: of a step, a page or a sum.
    number: u32,
    sum: u32,
}

impl Prose {
    pub(crate) fn new(rng: &mut ChaCha8Rng, domain: Domain, cast: Vec<Person>) -> Self {
        let scene = Scene::new(rng, cast);
        Self {
            domain,
            scene,
            stage: 0,
            left: 0,
            number: rng.random_range(1..60),
            sum: 0,
        }
    }

    /// The title line of a document.
    pub(crate) fn title(&mut self, text: &mut Text, rng: &mut ChaCha8Rng) {
        let template = match self.domain {
            Domain::Tale => pick(rng, tale::TITLES),
            Domain::News => pick(rng, news::TITLES),
            Domain::Dialogue => pick(rng, dialogue::TITLES),
            Domain::Procedure => pick(rng, procedure::TITLES),
            Domain::Ledger => pick(rng, ledger::TITLES),
        };
        text.sentence(rng, &self.scene, template);
        text.end_line();
    }

    /// One more sentence or line.
    pub(crate) fn step(&mut self, text: &mut Text, rng: &mut ChaCha8Rng) {
        match self.domain {
            Domain::Tale => self.tale(text, rng),
            Domain::News => self.news(text, rng),
            Domain::Dialogue => self.dialogue(text, rng),
            Domain::Procedure => self.procedure(text, rng),
            Domain::Ledger => self.ledger(text, rng),
        }
    }

    /// Prose until the text has `words` words.
    pub(crate) fn run_to(&mut self, text: &mut Text, rng: &mut ChaCha8Rng, words: usize) {
        while text.words() < words {
            self.step(text, rng);
        }
    }

    /// Prepares the text for a sentence from outside the domain.
    pub(crate) fn interrupt(&mut self, text: &mut Text) {
        if !matches!(self.domain, Domain::Tale | Domain::News) {
            text.end_line();
        }
    }

    fn say(&self, text: &mut Text, rng: &mut ChaCha8Rng, templates: &[&str]) {
        let template = pick(rng, templates);
        text.sentence(rng, &self.scene, template);
    }
}
