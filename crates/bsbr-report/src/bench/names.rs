//! Cases by their names in records: `dense`, `dense, int8`, `torch-sdpa`.

use crate::bench::machine;
use crate::engines::Engine;

/// The dense model.
pub(super) const DENSE: &str = "dense";

/// The name of a case in tables.
pub(crate) fn label(who: &str) -> String {
    let (name, weights) = match who.split_once(", ") {
        Some((name, weights)) => (name, Some(weights)),
        None => (who, None),
    };
    let known = match (name, weights) {
        ("torch-sdpa", None) => "PyTorch, SDPA",
        ("torch-eager", None) => "PyTorch, eager",
        ("torch-sdpa", _) => "PyTorch",
        ("ctranslate2", _) => "CTranslate2",
        ("onnxruntime", _) => "ONNX Runtime",
        (machine::TORCH_MATRIX, _) => "PyTorch's product",
        (machine::MATRIX, _) => "our product",
        (other, _) => other,
    };
    weights.map_or_else(|| known.to_owned(), |weights| format!("{known}, {weights}"))
}

/// Whether a case is a limit of the machine.
pub(super) fn is_limit(who: &str) -> bool {
    [machine::MATRIX, machine::TORCH_MATRIX, machine::COPY].contains(&who)
}

/// Whether a case is another engine.
pub(super) fn is_peer(who: &str) -> bool {
    Engine::ALL.iter().any(|peer| who.starts_with(peer.id()))
}

/// Whether a case of ours is compared with another: with PyTorch's fused attention, with its
/// plain one for stored weights, with engines of the same weight type, f32 by default, and with the
/// dense model.
pub(super) fn are_compared(own: &str, other: &str) -> bool {
    let [kind, others] = [own, other].map(|who| who.split_once(", ").map(|(_, kind)| kind));
    match other {
        _ if is_peer(own) || own == other || is_limit(own) || is_limit(other) => false,
        "torch-sdpa" | DENSE => true,
        "torch-eager" => kind.is_none(),
        _ => is_peer(other) && kind.unwrap_or("f32") == others.unwrap_or("f32"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_compared_with_rows_of_their_type() {
        let all = [
            "dense",
            "dense, int8",
            "torch-sdpa",
            "torch-eager",
            "ctranslate2, int8",
            "torch-matrix",
        ];
        let compared = |own: &str| -> Vec<&str> {
            all.into_iter()
                .filter(|other| are_compared(own, other))
                .collect()
        };
        assert_eq!(compared("dense"), ["torch-sdpa", "torch-eager"]);
        assert_eq!(
            compared("dense, int8"),
            ["dense", "torch-sdpa", "ctranslate2, int8"]
        );
        assert!(compared("torch-sdpa").is_empty());
    }

    #[test]
    fn labels_keep_the_type() {
        let labels = [
            "torch-sdpa",
            "torch-sdpa, f16",
            "onnxruntime, int8",
            "moments",
        ]
        .map(label);
        assert_eq!(
            labels,
            [
                "PyTorch, SDPA",
                "PyTorch, f16",
                "ONNX Runtime, int8",
                "moments"
            ]
        );
    }
}
