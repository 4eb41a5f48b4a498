//! Results of models on texts, articles and questions.

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::GenerationConfig;
use bsbr_train::questions::{Answer, Question};

use crate::experiments::beside::Reference;
use crate::experiments::prelude::*;
use crate::experiments::summarisation::{self, SummaryWriter, scored, stop_tokens};

/// The source of questions, whatever the other texts.
pub(super) const QUESTIONS: &str = "storybook questions";

/// Work per token of a text.
const TEXT_EFFORT: f64 = 2.8;

/// Work per token of an article, whose summary is generated token by token.
const ARTICLE_EFFORT: f64 = 1.3;

/// Work per token between fact and question.
const QUESTION_EFFORT: f64 = 0.85;

/// Work per token of a source of [`Tasks`].
pub(super) fn effort(source: &str, lab: &Lab) -> f64 {
    match source {
        QUESTIONS => QUESTION_EFFORT,
        source if source == lab.corpus().articles_name() => ARTICLE_EFFORT,
        _ => TEXT_EFFORT,
    }
}

/// A model with its name in records, or why it is missing.
pub(super) type Named = (String, Result<Gpt2, String>);

/// A question of storybook's test split, at least `distance` words after its fact.
pub(super) fn question(
    lab: &Lab,
    seed: u64,
    [distance, candidates]: [usize; 2],
    index: u64,
) -> Result<Question, ReportError> {
    let qa = QaSpec {
        min_distance_words: distance,
        num_candidates: candidates,
        ..QaSpec::default()
    };
    let item = Storybook::new(seed).qa(Split::Test, index, &qa);
    Ok(Question::new(lab.corpus().tokenizer(), &item)?)
}

/// Sets whether a model's answer is right; returns the answer.
pub(super) fn answer(
    one: &mut Measurement,
    model: &Result<Gpt2, String>,
    question: &Question,
) -> Option<Answer> {
    let answer = match model {
        Ok(model) => question.answer(model).map_err(|error| error.to_string()),
        Err(reason) => Err(reason.clone()),
    };
    one.fill(answer.as_ref(), |one, answer| {
        one.set("among", f64::from(u8::from(answer.among)));
        one.set("exact", f64::from(u8::from(answer.exact)));
    });
    answer.ok()
}

/// The answers of models to a question, and its distance.
pub(super) fn answers(
    models: &[Named],
    question: &Question,
    new: impl Fn(&str) -> Measurement,
) -> Vec<Measurement> {
    let ask = |(id, model): &Named| {
        let mut one = new(id);
        one.set("distance", question.distance as f64);
        answer(&mut one, model, question);
        one
    };
    models.iter().map(ask).collect()
}

/// Settings of experiments that train models: the training windows, and what the models are
/// measured on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Tasks {
    /// Tokens per training window; fewer if the model has fewer positions.
    pub window: usize,
    /// Windows per optimiser step.
    pub rows: usize,
    /// Tokens per text.
    pub length: usize,
    /// The minimum number of words between fact and question.
    pub distance: usize,
    /// Number of candidates, including the correct one.
    pub candidates: usize,
    /// The maximum number of tokens of a summary.
    pub max_new_tokens: usize,
    /// Whether ROUGE compares stems of words.
    pub stemming: bool,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

impl Tasks {
    /// Tokens per training window of this lab's model.
    pub(super) fn window(&self, lab: &Lab) -> usize {
        self.window.min(lab.dense().config().n_positions)
    }

    /// The sources, their lengths, and how many of the wanted texts per domain, articles and
    /// questions each has.
    pub(super) fn sources(
        &self,
        [texts, articles, questions]: [u64; 3],
        lab: &Lab,
    ) -> Result<Vec<(String, usize, u64)>, ReportError> {
        let corpus = lab.corpus();
        let mut all = Vec::new();
        for domain in corpus.domains() {
            let count = corpus.available(&domain, self.length, texts)?;
            all.push((domain, self.length, count));
        }
        let articles = corpus.articles(articles)?;
        all.push((corpus.articles_name(), summarisation::LENGTH, articles));
        all.push((QUESTIONS.to_owned(), self.distance, questions));
        Ok(all)
    }

    /// The settings of a summary.
    pub(super) fn generation(&self, stop_tokens: Vec<u32>) -> GenerationConfig {
        GenerationConfig {
            max_new_tokens: self.max_new_tokens,
            temperature: 0.0,
            stop_tokens,
            ..GenerationConfig::default()
        }
    }

    /// A model that reads texts of any length.
    pub(super) fn fitted(&self, model: Gpt2, lab: &Lab) -> Result<Gpt2, String> {
        let model = model.with_position_extension(lab.clamped_extension(self.extension));
        model.map_err(|error| error.to_string())
    }

    /// Every model on one sample of a source.
    pub(super) fn sample(
        &self,
        models: &[Named],
        (source, length, index): (&str, usize, u64),
        seed: u64,
        lab: &Lab,
    ) -> Measured {
        let corpus = lab.corpus();
        let new = |id: &str| Measurement::new(id, source, length, index);
        if source == QUESTIONS {
            let question = question(lab, seed, [length, self.candidates], index)?;
            return Ok(answers(models, &question, new));
        }
        let mut all: Vec<Measurement> = models.iter().map(|(id, _)| new(id)).collect();
        if source == corpus.articles_name() {
            let (article, tokenizer) = (corpus.article(seed, index)?, corpus.tokenizer());
            let writer = SummaryWriter {
                tokenizer,
                prompt: tokenizer.encode_document(&article.prompt())?,
                config: self.generation(stop_tokens(tokenizer)?),
            };
            for (one, (_, model)) in all.iter_mut().zip(models) {
                one.fill(writer.write(model), |one, written| {
                    scored(one, &written.text, &article, self.stemming);
                });
            }
            return Ok(all);
        }
        let ids = corpus.text(seed, source, index, length)?;
        let original = lab.dense().clone();
        let original = original.with_position_extension(lab.clamped_extension(self.extension))?;
        let models: Vec<_> = models.iter().map(|(_, model)| model.clone()).collect();
        let dense = Reference::read(&original, &ids)?;
        dense.compare(&models, &mut all, compare::score, |one, scores, _, pass| {
            let top1 = compare::mean(scores, |_| true, |one| one.agreement.top1);
            let kl = compare::mean(scores, |_| true, |one| one.kl);
            one.set("nll", pass.states.nll(pass.model, &ids));
            one.set_known([("top1", top1), ("kl", kl)]);
        })?;
        Ok(all)
    }
}
