//! Indices of weights that are spread over several files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::error::HubError;
use crate::names::check_path;

/// The longest index accepted, in bytes. GPT-2's largest has some 600 tensors.
const MAX_INDEX: u64 = 64 << 20;

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names, each once, in the order of their names.
pub(crate) fn shards(index: &Path) -> Result<Vec<String>, HubError> {
    let read = HubError::io("read", index);
    let invalid = |reason: String| HubError::InvalidIndex {
        index: index.to_owned(),
        reason,
    };
    if fs::metadata(index).map_err(&read)?.len() > MAX_INDEX {
        return Err(invalid(format!("it is longer than {MAX_INDEX} bytes")));
    }
    let text = fs::read(index).map_err(&read)?;
    let Index { weight_map } =
        serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    let shards: BTreeSet<String> = weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(invalid("it names no files".to_owned()));
    }
    for shard in &shards {
        check_path(shard).map_err(|reason| HubError::UnsafeShard {
            index: index.to_owned(),
            shard: shard.clone(),
            reason,
        })?;
    }
    Ok(shards.into_iter().collect())
}
