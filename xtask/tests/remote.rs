//! Devices of other processes: two servers on the loopback interface lend their CPU, and commands
//! that compute there give the results of a local device.
#![cfg(all(feature = "remote", feature = "flex"))]
#![allow(clippy::unwrap_used)]

mod tiny;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bsbr_convert::{LoadOptions, load_model};
use bsbr_gpt2::parameters::visit_tensors;
use burn::tensor::Device;
use safetensors::SafeTensors;

const TOKEN: &str = "a token of this test";

/// Longer than any refusal may take; the clocks of the commands are shorter.
const BOUNDED: Duration = Duration::from_secs(45);

fn xtask() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env_remove("BSBR_DEVICE_TOKEN_FILE");
    command
}

/// A server in a process of its own, ended with it.
struct Lent {
    process: Child,
    address: String,
}

impl Lent {
    fn new(token_file: &Path) -> Self {
        let mut process = xtask()
            .args(["serve-device", "--listen", "127.0.0.1:0", "--token-file"])
            .arg(token_file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().split("lending flex at ").nth(1).unwrap();
        assert!(address.starts_with("ws://127.0.0.1:"), "{line}");
        Self {
            address: format!("remote:{address}"),
            process,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A model, a token and a folder to work in.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny::model(&folder.path().join("model"));
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command with the token.
    fn run(&self, arguments: &[&str]) -> Output {
        xtask()
            .args(arguments)
            .current_dir(self.folder.path())
            .env("BSBR_DEVICE_TOKEN_FILE", self.path("token"))
            .output()
            .unwrap()
    }

    fn succeed(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// What a command that fails says, which it does soon.
    fn refusal(&self, token_file: Option<&str>, device: &str) -> String {
        let mut command = xtask();
        command
            .args(["generate", "--model", "model", "--prompt", "Mara"])
            .args(["--device", device])
            .current_dir(self.folder.path());
        if let Some(name) = token_file {
            command.env("BSBR_DEVICE_TOKEN_FILE", self.path(name));
        }
        let started = Instant::now();
        let output = command.output().unwrap();
        assert!(started.elapsed() < BOUNDED, "{:?}", started.elapsed());
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// The losses and the weights of a fine-tuned model.
    fn trained(&self, name: &str) -> (Vec<f64>, Vec<f32>) {
        let text = std::fs::read_to_string(self.path(name).join("finetuning.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let losses = record["history"]["losses"].as_array().unwrap();
        let losses = losses.iter().map(|loss| loss.as_f64().unwrap()).collect();
        (losses, weights(&self.path(name)))
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let bytes = std::fs::read(self.path(name)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let logits = file.tensor("logits").unwrap();
        let floats = logits.data().chunks_exact(4);
        floats
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }
}

fn weights(folder: &Path) -> Vec<f32> {
    let model = load_model(folder, &LoadOptions::on(&Device::flex())).unwrap();
    let mut all = Vec::new();
    visit_tensors(&model.model, |_, data| all.extend(data.iter::<f32>()));
    all
}

/// An arm with a far field in so short a text.
const ARM: &str = "moments:chunk_size=16,clusters=4,sink_tokens=2";

#[test]
fn two_lent_devices_train_as_this_one_does() {
    let world = World::new();
    let (a, b) = (
        Lent::new(&world.path("token")),
        Lent::new(&world.path("token")),
    );
    let both = format!("{},{}", a.address, b.address);
    let finetune = |out: &str, device: &[&str]| {
        let settings = [
            "finetune",
            "--model",
            "model",
            "--arm",
            ARM,
            "--window",
            "64",
            "--windows",
            "6",
            "--grad-accumulation",
            "3",
            "--lr",
            "1e-3",
            "--out",
            out,
        ];
        world.succeed(&[&settings[..], device].concat());
    };
    finetune("here", &["--device", "flex"]);
    finetune("there", &["--devices", &both]);
    let (expected, expected_weights) = world.trained("here");
    let (found, found_weights) = world.trained("there");
    assert_eq!((expected.len(), found.len()), (2, 2));
    for (found, expected) in found.iter().zip(&expected) {
        // The operations are fused here and composed there.
        assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
    }
    let start = weights(&world.path("model"));
    let (mut apart, mut moved) = (0.0f64, 0.0f64);
    assert_eq!(expected_weights.len(), found_weights.len());
    for ((found, expected), start) in found_weights.iter().zip(&expected_weights).zip(&start) {
        apart += f64::from(found - expected).powi(2);
        moved += f64::from(expected - start).powi(2);
    }
    // Of the way that the training went: AdamW makes whole steps of gradients that are all rounding,
    // as those of the biases of keys are.
    assert!(moved > 0.0 && apart < 1e-2 * moved, "{apart} of {moved}");
}

#[test]
fn a_lent_device_gives_the_logits_of_this_one() {
    let world = World::new();
    let lent = Lent::new(&world.path("token"));
    world.succeed(&[
        "convert",
        "--model",
        "model",
        "--arm",
        ARM,
        "--out",
        "converted",
    ]);
    let ids: Vec<u32> = (0..90).map(|i| i * 7 % 300).collect();
    std::fs::write(world.path("ids.json"), format!("[{ids:?}]")).unwrap();
    for model in ["model", "converted"] {
        let logits = |device: &str, out: &str| {
            let arguments = ["logits", "--model", model, "--ids-file", "ids.json"];
            world.succeed(&[&arguments[..], &["--device", device, "--out", out]].concat());
            world.values(out)
        };
        let here = logits("flex", "here.safetensors");
        let there = logits(&lent.address, "there.safetensors");
        assert_eq!(here.len(), there.len());
        assert!(here.iter().any(|&x| x.abs() > 0.01));
        for (here, there) in here.iter().zip(&there) {
            assert!((here - there).abs() < 1e-4, "{model}: {here}, {there}");
        }
    }
}

#[test]
fn who_has_not_the_token_is_refused() {
    let world = World::new();
    let lent = Lent::new(&world.path("token"));
    std::fs::write(world.path("wrong"), "another token").unwrap();
    let text = world.refusal(Some("wrong"), &lent.address);
    assert!(text.contains("refused the token in"), "{text}");
    let text = world.refusal(None, &lent.address);
    assert!(text.contains("BSBR_DEVICE_TOKEN_FILE"), "{text}");
    let text = world.refusal(Some("token"), &format!("{}#3", lent.address));
    assert!(text.contains("hosts only 1 device"), "{text}");
}

#[test]
fn a_server_that_is_not_there_is_told_soon() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It accepts, and says nothing.
    let text = world.refusal(Some("token"), &format!("remote:ws://{address}"));
    assert!(text.contains("has not answered"), "{text}");
    drop(listener);
    let text = world.refusal(Some("token"), &format!("remote:ws://{address}"));
    assert!(text.contains("no server answers at"), "{text}");
    let text = world.refusal(Some("token"), "remote:http://127.0.0.1:80");
    assert!(text.contains("expected remote:ws://HOST:PORT"), "{text}");
}

#[test]
fn a_server_without_a_token_or_an_address_does_not_start() {
    let world = World::new();
    std::fs::write(world.path("empty"), "\n").unwrap();
    let serve = |address: &str, token: &str, device: &str| {
        let output = world.run(&[
            "serve-device",
            "--listen",
            address,
            "--token-file",
            token,
            "--device",
            device,
        ]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(serve("127.0.0.1:0", "empty", "flex").contains("holds no token"));
    assert!(serve("127.0.0.1:0", "missing", "flex").contains("missing"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(serve(&address, "token", "flex").contains("cannot listen there"));
    let device = format!("remote:ws://{address}");
    assert!(serve("127.0.0.1:0", "token", &device).contains("another server lends it"));
}
