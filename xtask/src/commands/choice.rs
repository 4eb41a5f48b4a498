//! Options that take one of several names.

use bsbr_convert::FloatType;
use bsbr_gpt2::ProductType;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A name, the value that it stands for, and its help, which may be empty.
pub type Choice<T> = (&'static str, T, &'static str);

/// Parses the name of an element type.
pub fn float() -> impl TypedValueParser<Value = FloatType> {
    parser(FloatType::ALL.map(|dtype| (dtype.name(), dtype, "")))
}

/// Parses the name of a type of products.
pub fn products() -> impl TypedValueParser<Value = ProductType> {
    parser(ProductType::ALL.map(|products| (products.name(), products, "")))
}

/// Parses one of these names.
pub fn parser<T: Clone + Send + Sync + 'static>(
    choices: impl Into<Vec<Choice<T>>>,
) -> impl TypedValueParser<Value = T> {
    let choices = choices.into();
    let names = choices.iter().map(|(name, _, help)| match help.is_empty() {
        true => PossibleValue::new(*name),
        false => PossibleValue::new(*name).help(*help),
    });
    PossibleValuesParser::new(names).try_map(move |name| {
        let found = choices.iter().find(|(known, ..)| *known == name);
        found.map(|(_, value, _)| value.clone()).ok_or("unknown")
    })
}
