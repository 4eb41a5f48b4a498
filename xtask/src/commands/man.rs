//! `cargo xtask man`

use std::path::PathBuf;

use anyhow::{Context, Result};
use bsbr_files::write_file;
use clap_mangen::Man;

/// Write a manual page for `bsbr` and one for each of its commands.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for the pages, such as ~/.local/share/man/man1; pages of the same name are replaced
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    std::fs::create_dir_all(&args.folder).with_context(|| args.folder.display().to_string())?;
    for (name, page) in pages()? {
        let path = args.folder.join(name);
        write_file(&path, &page)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The file names of the pages, and their contents.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut program = crate::cli("bsbr").disable_help_subcommand(true);
    program.build();
    let commands = program.get_subcommands().filter(|one| !one.is_hide_set());
    let pages = std::iter::once(&program).chain(commands).map(|command| {
        let man = Man::new(command.clone());
        let mut page = Vec::new();
        man.render(&mut page)?;
        Ok((man.get_filename(), page))
    });
    pages.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Args, pages};
    use crate::commands::options;

    pub fn every_option_counts() {
        options::check(&["here"], |args: &Args| format!("{:?}", args.folder));
    }

    #[test]
    fn commands_have_pages_and_what_only_the_program_starts_has_none() {
        let pages = pages().expect("pages");
        let page = |name: &str| pages.iter().find(|(file, _)| file == name);
        let (_, convert) = page("bsbr-convert.1").expect("a page");
        let text = String::from_utf8_lossy(convert);
        assert!(
            text.contains("position") && text.contains("bsbr convert"),
            "{text}"
        );
        assert!(page("bsbr.1").is_some());
        assert!(page("bsbr-memory-cell.1").is_none());
    }
}
