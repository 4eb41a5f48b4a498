//! Files related to a tokenizer's vocabulary: `tokenizer_config.json`, and in older folders
//! `added_tokens.json` and `special_tokens_map.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

use super::read::{malformed, name, read};
use super::{END_OF_TEXT, TokenizerError};

const CONFIG: &str = "the settings of a tokenizer, as `transformers` writes them";
const ADDED: &str = "a JSON object of added tokens and their ids";
const SPECIAL: &str = "a JSON object of the names of special tokens";
/// Roles of one token, without the suffix `_token`.
const ROLES: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];
/// Roles of several tokens, under their old and their new name.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];
/// Classes of `transformers` that use `tokenizer.json` unchanged. Others, such as `GPT2Tokenizer`,
/// apply their settings to it.
const AS_IT_IS: [&str; 2] = ["PreTrainedTokenizerFast", "TokenizersBackend"];

/// The settings in related files.
#[derive(Debug, Default)]
pub(super) struct SideFiles {
    config: Config,
    /// Tokens with the ids that the files give them.
    added: BTreeMap<u32, AddedToken>,
    /// Tokens with a role, such as padding. Those without an id are numbered after all others.
    named: Vec<AddedToken>,
    /// The end-of-text token.
    end_of_text: Option<String>,
}

/// The part of `tokenizer_config.json` that affects the ids of a text.
#[derive(Debug, Default, Deserialize)]
struct Config {
    tokenizer_class: Option<String>,
    add_prefix_space: Option<bool>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    added_tokens_decoder: Option<BTreeMap<String, Token>>,
    /// Roles of tokens, and fields that are not used here.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A token as described in the files: by its text, or with settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Object {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        normalized: Option<bool>,
        #[serde(default)]
        special: bool,
    },
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Object { content, .. } => content,
        }
    }

    /// The token for `tokenizers`; one with a role is always special.
    fn added(&self, has_role: bool) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::from(content.as_str(), has_role),
            Self::Object {
                content,
                single_word,
                lstrip,
                rstrip,
                normalized,
                special,
            } => {
                let special = *special || has_role;
                AddedToken::from(content.as_str(), special)
                    .single_word(*single_word)
                    .lstrip(*lstrip)
                    .rstrip(*rstrip)
                    .normalized(normalized.unwrap_or(!special))
            }
        }
    }
}

impl SideFiles {
    /// Reads the files of a folder that exist.
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let config = parse(&folder.join("tokenizer_config.json"), CONFIG)?;
        let mut config: Config = config.unwrap_or_default();
        let mut added = BTreeMap::new();
        if let Some(tokens) = config.added_tokens_decoder.take() {
            for (id, token) in tokens {
                let id = id.parse().map_err(|error| {
                    let reason = format!("`added_tokens_decoder` has the id {id:?}: {error}");
                    malformed(&name(&folder.join("tokenizer_config.json")), CONFIG, reason)
                })?;
                added.insert(id, token.added(false));
            }
            let named = roles(&config.other);
            return Ok(Self::new(config, added, named));
        }
        // As in older versions: one file for roles and one for ids.
        let special: Option<Map<String, Value>> =
            parse(&folder.join("special_tokens_map.json"), SPECIAL)?;
        config.other.extend(special.unwrap_or_default());
        let named = roles(&config.other);
        let ids: Option<BTreeMap<String, u32>> = parse(&folder.join("added_tokens.json"), ADDED)?;
        for (content, id) in ids.unwrap_or_default() {
            let role = named.iter().find(|token| token.content == content);
            let token = role.cloned();
            added.insert(
                id,
                token.unwrap_or_else(|| AddedToken::from(content, false)),
            );
        }
        Ok(Self::new(config, added, named))
    }

    fn new(config: Config, added: BTreeMap<u32, AddedToken>, named: Vec<AddedToken>) -> Self {
        let end = config.other.get("eos_token").map(Token::deserialize);
        let end_of_text = match end {
            Some(Ok(token)) => Some(token.content().to_owned()),
            _ => None,
        };
        Self {
            config,
            added,
            named,
            end_of_text,
        }
    }

    /// The end-of-text token, if the files name one.
    pub(super) fn end_of_text(&self) -> Option<&str> {
        self.end_of_text.as_deref()
    }

    /// Whether `tokenizer.json` is unchanged.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.named.is_empty() && self.config.add_prefix_space.is_none()
    }

    /// The added tokens that are not in a vocabulary yet and whose ids are free, with those ids.
    ///
    /// They become part of the vocabulary: `tokenizers` would number added tokens from the
    /// vocabulary's size on, whatever the files say.
    pub(super) fn missing<'a>(
        &'a self,
        known: &'a BTreeMap<String, u32>,
    ) -> impl Iterator<Item = (&'a str, u32)> {
        let taken: BTreeSet<u32> = known.values().copied().collect();
        self.added
            .iter()
            .filter(move |(id, token)| !known.contains_key(&token.content) && !taken.contains(id))
            .map(|(id, token)| (token.content.as_str(), *id))
    }

    /// Applies the settings to a tokenizer; `whole` if a `tokenizer.json` describes it.
    ///
    /// Returns the ids of tokens without an id in any file: models need no rows for them.
    pub(super) fn apply(
        &self,
        tokenizer: &mut Tokenizer,
        whole: bool,
    ) -> tokenizers::Result<BTreeSet<u32>> {
        let as_it_is = whole
            && self
                .config
                .tokenizer_class
                .as_deref()
                .is_some_and(|class| AS_IT_IS.contains(&class));
        if let (Some(space), false) = (self.config.add_prefix_space, as_it_is)
            && let Some(PreTokenizerWrapper::ByteLevel(bytes)) = tokenizer.get_pre_tokenizer()
        {
            let bytes = bytes.add_prefix_space(space);
            tokenizer.with_pre_tokenizer(Some(bytes));
        }
        let added: Vec<AddedToken> = self.added.values().cloned().collect();
        tokenizer.add_tokens(&added);
        let mut without_id = BTreeSet::new();
        for token in &self.named {
            if tokenizer.token_to_id(&token.content).is_none() {
                tokenizer.add_tokens(std::slice::from_ref(token));
                without_id.extend(tokenizer.token_to_id(&token.content));
            }
        }
        if !whole {
            self.frame(tokenizer)?;
        }
        Ok(without_id)
    }

    /// Makes prompts begin and end with the tokens of `add_bos_token` and `add_eos_token`.
    fn frame(&self, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
        let token = |asked: Option<bool>, role: &str| {
            let found = self.config.other.get(role).map(Token::deserialize);
            let content = match found {
                Some(Ok(token)) => token.content().to_owned(),
                _ => END_OF_TEXT.to_owned(),
            };
            let id = asked
                .filter(|asked| *asked)
                .and(tokenizer.token_to_id(&content));
            id.map(|id| (content, id))
        };
        let begin = token(self.config.add_bos_token, "bos_token");
        let end = token(self.config.add_eos_token, "eos_token");
        if begin.is_none() && end.is_none() {
            return Ok(());
        }
        let piece = |token: &Option<(String, u32)>| {
            let special = |(content, _): &(String, u32)| json!({ "SpecialToken": { "id": content, "type_id": 0 } });
            token.as_ref().map(special)
        };
        let sequence = |id: &str| Some(json!({ "Sequence": { "id": id, "type_id": 0 } }));
        let frame = |sequences: Vec<Option<Value>>| -> Vec<Value> {
            let all = [vec![piece(&begin)], sequences, vec![piece(&end)]];
            all.into_iter().flatten().flatten().collect()
        };
        let specials: Map<String, Value> = [&begin, &end]
            .into_iter()
            .flatten()
            .map(|(content, id)| {
                let token = json!({ "id": content, "ids": [id], "tokens": [content] });
                (content.clone(), token)
            })
            .collect();
        let template = json!({
            "type": "TemplateProcessing",
            "single": frame(vec![sequence("A")]),
            "pair": frame(vec![sequence("A"), sequence("B")]),
            "special_tokens": specials,
        });
        let template: TemplateProcessing = serde_json::from_value(template)?;
        tokenizer.with_post_processor(Some(template));
        Ok(())
    }
}

/// The tokens with a role, in the order in which `transformers` numbers them.
fn roles(settings: &Map<String, Value>) -> Vec<AddedToken> {
    let usual = ROLES.map(|role| format!("{role}_token"));
    let own = settings
        .keys()
        .filter(|key| key.ends_with("_token") && !usual.contains(key));
    let single = usual.iter().chain(own);
    let values = single
        .filter_map(|role| settings.get(role))
        .collect::<Vec<_>>();
    let lists = LISTS.into_iter().filter_map(|role| settings.get(role));
    let listed = lists.flat_map(|value| match value {
        Value::Array(tokens) => tokens.iter().collect::<Vec<_>>(),
        Value::Object(roles) => roles.values().collect(),
        _ => Vec::new(),
    });
    let mut found: Vec<AddedToken> = Vec::new();
    for value in values.into_iter().chain(listed) {
        // A value that is not a token, such as null, means that no token has the role.
        let Ok(token) = Token::deserialize(value) else {
            continue;
        };
        let token = token.added(true);
        if !token.content.is_empty() && found.iter().all(|one| one.content != token.content) {
            found.push(token);
        }
    }
    found
}

/// The content of a JSON file, if it exists.
fn parse<T: for<'a> Deserialize<'a>>(
    file: &Path,
    expected: &'static str,
) -> Result<Option<T>, TokenizerError> {
    match read(file)? {
        None => Ok(None),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| malformed(&name(file), expected, error)),
    }
}
