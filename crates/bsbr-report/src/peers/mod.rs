//! Other engines for comparison: GPT-2 in CTranslate2 and ONNX Runtime, each timed by a process
//! that answers one request per line.

use std::path::Path;

use bsbr_gpt2::{Gpt2Config, ProductType};

use crate::bench::Place;
use crate::host::On;
use crate::torch::Baseline;

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// CTranslate2, by its Python package.
    Ctranslate2,
    /// ONNX Runtime, by its Python package.
    Onnxruntime,
}

impl Engine {
    /// Its name in records, its script, and the packages that this needs.
    fn parts(self) -> [&'static str; 3] {
        match self {
            Self::Ctranslate2 => [
                "ctranslate2",
                include_str!("ctranslate2.py"),
                "ctranslate2, torch and transformers",
            ],
            Self::Onnxruntime => [
                "onnxruntime",
                include_str!("onnxruntime.py"),
                "onnxruntime, onnx and torch",
            ],
        }
    }

    /// Its name in records.
    pub fn id(self) -> &'static str {
        self.parts()[0]
    }

    /// Its name in records with a weight type.
    pub(crate) fn row(self, products: ProductType) -> String {
        match products {
            ProductType::F32 => self.id().to_owned(),
            other => format!("{}, {}", self.id(), other.name()),
        }
    }

    /// Starts the engine's process with random weights of the model's shape, and room for texts of
    /// `positions` tokens; the default Python is `python3`.
    ///
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub(crate) fn start(
        self,
        python: Option<&Path>,
        config: &Gpt2Config,
        positions: usize,
        place: &Place,
    ) -> Result<Baseline, String> {
        if On::of(&place.device) != Some(On::Cpu) {
            return Err(format!("{} is timed only on the CPU", self.id()));
        }
        let [_, script, packages] = self.parts();
        let unfit = format!("Python exited; it needs the packages {packages}");
        let settings = [("positions", positions.into())];
        Baseline::run(python, script, config, settings, &unfit)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config() -> Gpt2Config {
        let text = r#"{"model_type": "gpt2", "vocab_size": 40, "n_positions": 32,
                       "n_embd": 16, "n_layer": 2, "n_head": 2}"#;
        Gpt2Config::from_json(text).unwrap()
    }

    /// A program that replaces Python.
    fn program(folder: &Path, script: &str) -> std::path::PathBuf {
        let path = folder.join("python");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn an_engine_is_asked_by_type_scope_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let python = program(
            folder.path(),
            "echo ready; while read kind scope number; do\n\
             case $kind in bf16) echo \"no $kind\";; *) echo $number.5;; esac; done",
        );
        for peer in [Engine::Ctranslate2, Engine::Onnxruntime] {
            let one = peer.start(Some(&python), &config(), 64, &Place::default());
            let one = one.unwrap();
            assert_eq!(one.ask("int8", "read", 7), Ok(7.5));
            assert_eq!(one.ask("bf16", "read", 7), Err("no bf16".to_owned()));
        }
    }

    #[test]
    fn an_engine_that_is_not_there_leaves_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let python = program(folder.path(), "exit 1");
        let config = config();
        let start = |place: &Place| Engine::Onnxruntime.start(Some(&python), &config, 64, place);
        let reason = start(&Place::default()).unwrap_err();
        assert!(reason.contains("onnxruntime, onnx and torch"), "{reason}");
        let reason = start(&Place::new("wgpu", "f32")).unwrap_err();
        assert!(reason.contains("only on the CPU"), "{reason}");
    }

    #[test]
    fn rows_name_the_engine_and_the_type() {
        let rows = ProductType::ALL.map(|products| Engine::Ctranslate2.row(products));
        let expected = [
            "ctranslate2",
            "ctranslate2, bf16",
            "ctranslate2, int8",
            "ctranslate2, int4",
        ];
        assert_eq!(rows, expected);
    }
}
