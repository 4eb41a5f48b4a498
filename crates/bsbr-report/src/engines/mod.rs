//! Other engines for comparison: GPT-2 in PyTorch, CTranslate2 and ONNX Runtime, each timed by a
//! process that answers one request per line.

mod process;

use std::path::Path;

use bsbr_gpt2::{Gpt2Config, ProductType};

use crate::bench::Place;
use crate::bench::names::label;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::spec::ArmSpec;

pub(crate) use process::{Peer, Process, Started};

/// The script of a process that opens a folder and generates the first token in PyTorch.
pub(crate) const FIRST_TOKEN: &str = include_str!("first_token.py");

/// The end of every engine's script.
const SERVE: &str = include_str!("serve.py");

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// PyTorch.
    Torch,
    /// CTranslate2, by its Python package.
    Ctranslate2,
    /// ONNX Runtime, by its Python package.
    Onnxruntime,
}

impl Engine {
    /// All engines.
    pub(crate) const ALL: [Self; 3] = [Self::Torch, Self::Ctranslate2, Self::Onnxruntime];

    /// How its names in records begin, its script, and what this needs.
    fn parts(self) -> [&'static str; 3] {
        match self {
            Self::Torch => [
                "torch",
                include_str!("torch.py"),
                "torch and transformers, and CUDA for a GPU",
            ],
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

    /// How its names in records begin.
    pub(crate) fn id(self) -> &'static str {
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
    /// `positions` tokens. PyTorch computes on the device of `place` and in its type. The default
    /// Python is `python3`.
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
    ) -> Result<Process, String> {
        if self != Self::Torch && place.is_accelerator() {
            return Err(format!("{} is timed only on the CPU", self.id()));
        }
        let [device, dtype] = place.in_torch()?;
        let shape = serde_json::json!({
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_embd": config.n_embd,
            "n_inner": config.inner_size(),
            "vocab_size": config.vocab_size,
            "positions": positions,
            "device": device,
            "dtype": dtype,
            "threads": rayon::current_num_threads(),
        });
        let [_, script, packages] = self.parts();
        let arguments = [format!("{script}{SERVE}"), shape.to_string()];
        let unfit = format!("Python exited; it needs the packages {packages}");
        let python = python.unwrap_or(Path::new("python3"));
        Process::start(python, &arguments, config.n_head, &unfit)
    }

    /// Starts PyTorch for a lab's model.
    ///
    /// # Errors
    ///
    /// Same as [`Self::start`].
    pub(crate) fn torch(lab: &Lab) -> Result<Process, String> {
        let place = Place::new(&lab.device_name, &lab.dtype());
        let config = lab.dense().config();
        Self::Torch.start(lab.python.as_deref(), &config, config.n_positions, &place)
    }
}

/// An implementation of dense attention in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `torch.nn.functional.scaled_dot_product_attention`.
    Sdpa,
    /// Scores, softmax and their product with the values, in sequence.
    Eager,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Sdpa, Self::Eager];

    /// Its name in records.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Sdpa => "torch-sdpa",
            Self::Eager => "torch-eager",
        }
    }

    /// Its word in requests.
    pub(crate) fn word(self) -> &'static str {
        self.id().trim_start_matches("torch-")
    }

    /// Those of `kinds` that take part with a specification's baselines.
    pub(crate) fn of(baselines: &[String], kinds: &'static [Self]) -> &'static [Self] {
        match baselines.is_empty() {
            true => &[],
            false => kinds,
        }
    }

    /// The rows of tables: arms, and then PyTorch's.
    pub(crate) fn subjects(arms: &[ArmSpec], kinds: &[Self]) -> Vec<Subject> {
        let of = |(kind, place): (&Self, usize)| Subject {
            arm: Some(place),
            ..Subject::other(kind.id(), &label(kind.id()))
        };
        let torch = kinds.iter().zip(arms.len()..).map(of);
        Subject::arms(arms).into_iter().chain(torch).collect()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::decoding::tests::model;

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
        for peer in Engine::ALL {
            let one = peer.start(Some(&python), &model().config(), 64, &Place::default());
            let one = one.unwrap();
            assert_eq!(one.ask("int8", "read", 7), Ok(7.5));
            assert_eq!(one.ask("bf16", "read", 7), Err("no bf16".to_owned()));
        }
    }

    #[test]
    fn an_engine_that_is_not_there_leaves_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let python = program(folder.path(), "exit 1");
        let config = model().config();
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
