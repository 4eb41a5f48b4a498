//! ETags and their checksums.

use std::fs::File;
use std::io;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::names::is_hexadecimal;

/// The length limit of ETags, in characters: they become file names.
const MAX_ETAG: usize = 128;

/// The Hub's identifier of one version of a file. The cache stores the file under this
/// name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Etag(String);

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// SHA-256 of the content, for files in large file storage.
    Sha256,
    /// SHA-1 of `blob <size>\0` and the content, for files in Git itself.
    GitSha1,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::GitSha1 => "git SHA-1",
        }
    }
}

impl Etag {
    /// The value of a header, without quotes and the prefix of weak ETags.
    pub(crate) fn parse(header: &str) -> Result<Self, &'static str> {
        let text = header.trim();
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        if text.is_empty() || text.len() > MAX_ETAG {
            return Err("its ETag is empty or too long");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !text.bytes().all(allowed) || text.starts_with('.') {
            return Err("its ETag is not a file name");
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The checksum algorithm, by the length; `None` if it is no checksum.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        match self.0.len() {
            64 if is_hexadecimal(&self.0) => Some(Algorithm::Sha256),
            40 if is_hexadecimal(&self.0) => Some(Algorithm::GitSha1),
            _ => None,
        }
    }
}

/// The checksum of a file, in lower-case hexadecimal digits.
pub(crate) fn checksum(path: &Path, algorithm: Algorithm) -> io::Result<String> {
    let mut file = File::open(path)?;
    Ok(match algorithm {
        Algorithm::Sha256 => {
            let mut hash = Sha256::new();
            io::copy(&mut file, &mut hash)?;
            format!("{:x}", hash.finalize())
        }
        Algorithm::GitSha1 => {
            let size = file.metadata()?.len();
            let mut hash = Sha1::new_with_prefix(format!("blob {size}\0"));
            io::copy(&mut file, &mut hash)?;
            format!("{:x}", hash.finalize())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard_tools() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc\n").unwrap();
        // `sha256sum` and `git hash-object`.
        assert_eq!(
            checksum(&path, Algorithm::Sha256).unwrap(),
            "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb"
        );
        assert_eq!(
            checksum(&path, Algorithm::GitSha1).unwrap(),
            "8baef1b4abc478178b004d62031cf7fe6db6f903"
        );
    }

    #[test]
    fn an_etag_is_a_checksum_by_its_length() {
        let of = |text: &str| Etag::parse(text).unwrap().algorithm();
        assert_eq!(
            of(&format!("\"{}\"", "a1".repeat(32))),
            Some(Algorithm::Sha256)
        );
        assert_eq!(
            of(&format!("W/\"{}\"", "0f".repeat(20))),
            Some(Algorithm::GitSha1)
        );
        assert_eq!(of(&"0f".repeat(16)), None);
        assert_eq!(of(&"0F".repeat(20)), None);
        assert_eq!(of("\"5-parts\""), None);
    }

    #[test]
    fn an_etag_that_leaves_the_folder_is_refused() {
        for text in ["", "\"\"", "../x", "a/b", "..", ".hidden", "a\\b", "a b"] {
            assert!(Etag::parse(text).is_err(), "{text:?}");
        }
        assert!(Etag::parse(&"a".repeat(129)).is_err());
    }
}
