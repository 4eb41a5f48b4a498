//! The bundled model and the specifications of experiments, for commands in any
//! folder.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Result, ensure};

/// The path of the assets at build time.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets");

/// A file in every folder of assets.
const KNOWN: &str = "overview.toml";

/// The folder of assets; simply `assets` if the command runs beside it.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = found().unwrap_or_else(|| PathBuf::from(BUILT));
    let here = Path::new("assets");
    match (here.canonicalize(), root.canonicalize()) {
        (Ok(own), Ok(root)) if own == root => here.to_owned(),
        (_, Ok(root)) => root,
        (_, Err(_)) => root,
    }
});

/// The path of one of the project's own files, such as `bundled` or `experiments`.
pub fn path(name: &str) -> PathBuf {
    ROOT.join(name)
}

/// The folder of the model that comes with the project.
pub fn bundled() -> PathBuf {
    path("bundled")
}

/// Refuses a path from [`path`] that does not exist, and says where it was searched
/// for.
///
/// # Errors
///
/// If it is a path of the project's own files and does not exist.
pub fn check(path: &Path) -> Result<()> {
    ensure!(
        path.exists() || !path.starts_with(&*ROOT),
        "{}: not found; put the folder `assets` of the sources beside this program or at \
         `../share/bsbr` from there, or name your own files",
        path.display()
    );
    Ok(())
}

/// Beside the program, in the package's shared folder, or where it was built.
fn found() -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program
        .as_deref()
        .and_then(Path::parent)
        .map(|folder| [folder.join("assets"), folder.join("../share/bsbr")]);
    beside
        .into_iter()
        .flatten()
        .chain([PathBuf::from(BUILT)])
        .find(|root| root.join(KNOWN).is_file())
}
