//! `cargo xtask judge`

mod http;
mod server;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use bsbr_report::judge::{Session, VOTES};

/// Compare two summaries of each article, blind, on a page in the browser.
///
/// The summaries are those that `reproduce` recorded. Each vote is saved as it is given,
/// in `votes.jsonl` beside the records; started again, the page goes on where the judge stopped.
/// The next `reproduce` shows the votes in its tables.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the results
    #[arg(long, default_value = "results/bundled")]
    results: PathBuf,
    /// Whose summaries: an arm, lead-3, random-3 or reference [default: the default arm]
    #[arg(long, value_name = "ARM")]
    a: Option<String>,
    /// Whose summaries they are compared with [default: the dense arm]
    #[arg(long, value_name = "ARM")]
    b: Option<String>,
    /// Whose votes they are; recorded with each
    #[arg(long, default_value = "anonymous", value_name = "NAME")]
    judge: String,
    /// Port of the page; 0 for any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Address of the page, which must be one of this machine's own loopback
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), hide_short_help = true)]
    address: IpAddr,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let pair = [args.a.as_deref(), args.b.as_deref()];
    let session = Session::open(&args.results, pair, &args.judge)?;
    let (done, total) = session.progress();
    let running = server::start(session, SocketAddr::new(args.address, args.port))?;
    let votes = args.results.join(VOTES);
    eprintln!(
        "{done} of {total} articles are judged; votes go to {}",
        votes.display()
    );
    eprintln!("open the page in a browser; Ctrl-C ends it, and no vote is lost");
    println!("http://{}/", running.address);
    running.wait()
}
