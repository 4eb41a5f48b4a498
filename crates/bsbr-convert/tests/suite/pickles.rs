//! Hand-written pickles, in both containers.

use std::io::Write;

use bsbr_convert::LoadError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::read_calmly;

/// A pickle of protocol 2, an instruction at a time.
#[derive(Clone)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.op(b"X")
            .op(&(text.len() as u32).to_le_bytes())
            .op(text.as_bytes())
    }

    pub fn int(self, value: u32) -> Self {
        self.op(b"\x8a\x08").op(&u64::from(value).to_le_bytes())
    }

    pub fn tuple(mut self, values: &[u32]) -> Self {
        self = self.op(b"(");
        for &value in values {
            self = self.int(value);
        }
        self.op(b"t")
    }

    /// A tensor of f32 in storage `key`.
    pub fn tensor(
        self,
        key: &str,
        elements: u32,
        offset: u32,
        shape: &[u32],
        stride: &[u32],
    ) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b"((")
            .text("storage")
            .global("torch", "FloatStorage")
            .text(key)
            .text("cpu")
            .int(elements)
            .op(b"tQ")
            .int(offset)
            .tuple(shape)
            .tuple(stride)
            .op(b"\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }

    /// A dictionary of one entry, whose value `value` pushes.
    pub fn dict(name: &str, value: impl FnOnce(Self) -> Self) -> Self {
        value(Self::new().op(b"}").text(name)).op(b"s.")
    }
}

/// An archive of this pickle and these storages, as `torch.save` writes it.
pub fn zip(pickle: &Pickle, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut files = vec![("model/data.pkl".to_owned(), pickle.0.as_slice())];
    for (key, bytes) in storages {
        files.push((format!("model/data/{key}"), bytes));
    }
    archive(&files, CompressionMethod::Stored)
}

/// An archive of these files.
pub fn archive(files: &[(String, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in files {
        archive.start_file(name.as_str(), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A legacy file of this pickle and these storages of f32.
pub fn legacy(pickle: &Pickle, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.");
    bytes.extend(Pickle::dict("little_endian", |pickle| pickle.op(b"\x88")).0);
    bytes.extend(&pickle.0);
    let mut keys = Pickle::new().op(b"](");
    for (key, _) in storages {
        keys = keys.text(key);
    }
    bytes.extend(keys.op(b"e.").0);
    for (_, storage) in storages {
        bytes.extend((storage.len() as u64 / 4).to_le_bytes());
        bytes.extend(*storage);
    }
    bytes
}

/// Reads the pickle in both kinds of file, with one storage of six f32 named `0`.
pub fn both(pickle: &Pickle) -> [Result<usize, LoadError>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    [zip, legacy].map(|file| read_calmly(&path, &file(pickle, &[("0", &[0; 24])]), "by hand"))
}
