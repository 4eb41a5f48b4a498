//! The roles of file names in a model folder.

use std::collections::BTreeSet;

use crate::transformers::CODE;

/// The configuration.
pub(crate) const CONFIG: &str = "config.json";
/// The generation settings of the model's authors.
pub(crate) const GENERATION: &str = "generation_config.json";
/// The model card. It describes one model, so it is not copied to another.
pub(crate) const CARD: &str = "README.md";
/// Weights, in order of preference: safetensors before pickles, one file before the index of
/// several, and BSBR's own format last.
pub(crate) const WEIGHTS: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model-int8.safetensors",
];
/// Other files that `transformers` reads.
pub(crate) const USUAL: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    GENERATION,
];
/// The size limit of other companions, in bytes.
pub(crate) const MAX_UNKNOWN: u64 = 16 << 20;
/// The maximum number of other companions.
pub(crate) const MOST_UNKNOWN: usize = 200;
/// Extensions of tensors, tables of data, and archives.
const TENSORS: &str = "7z arrow bin ckpt ggml gguf gz h5 hdf5 joblib mlmodel mpk msgpack npy npz onnx \
                       onnx_data ot parquet pb pickle pkl pt pth safetensors tar tflite xz zip zst";

/// The files to copy to a model made from a folder with these file names: all except configuration,
/// card, code of the arms, weights in any format, hidden files, and subfolders with weights, which
/// are other models or training states.
pub(crate) fn companions(names: &[String]) -> Vec<&str> {
    let others: BTreeSet<&str> = names
        .iter()
        .filter(|name| holds_tensors(name))
        .filter_map(|name| Some(name.rsplit_once('/')?.0))
        .collect();
    let goes_along = |name: &&str| {
        let hidden = name.split('/').any(|part| part.starts_with('.'));
        let code = CODE.iter().map(|(name, _)| name);
        let own = [CONFIG, CARD]
            .iter()
            .chain(code)
            .any(|own| own.eq_ignore_ascii_case(name));
        let of_another = name
            .match_indices('/')
            .any(|(at, _)| others.contains(&name[..at]));
        !(hidden || own || of_another || holds_tensors(name) || name.ends_with(".index.json"))
    };
    let names = names.iter().map(String::as_str);
    let mut found: Vec<&str> = names.filter(goes_along).collect();
    // Files of the folder itself come before those of subfolders.
    found.sort_by_key(|name| name.matches('/').count());
    found
}

fn holds_tensors(name: &str) -> bool {
    let end = name
        .rsplit_once('.')
        .map(|(_, end)| end.to_ascii_lowercase());
    end.is_some_and(|end| TENSORS.split(' ').any(|known| known == end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_any_format_and_other_models_stay() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let names = ".gitattributes 64-8bits.tflite LICENSE README.md Readme.md \
                     additional_chat_templates/tools.jinja checkpoint-500/config.json \
                     checkpoint-500/deep/state.json checkpoint-500/optimizer.pt config.json \
                     configuration_bsbr.py flax_model.msgpack generation_config.json merges.txt \
                     model.safetensors model.safetensors.index.json onnx/config.json \
                     onnx/decoder_model.onnx pytorch_model.bin samples/one.txt tf_model.H5 \
                     tokenizer.json tokenizer.model";
        let expected = "LICENSE generation_config.json merges.txt tokenizer.json tokenizer.model \
                        additional_chat_templates/tools.jinja samples/one.txt";
        assert_eq!(companions(&words(names)), words(expected));
    }
}
