//! `cargo xtask judge`

mod http;
mod server;
#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use bsbr_report::judge::{Session, VOTES};

/// Compare two summaries of each article in the browser, without knowing their models.
///
/// The summaries are from the records of `reproduce`. Each vote is saved at once, in
/// `votes.jsonl` beside the records; after a restart, the page continues where the judge
/// stopped. The next `reproduce` shows the votes in its tables.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the results
    #[arg(long, default_value = "results/bundled")]
    results: PathBuf,
    /// Source of the first summary: an arm, lead-3, random-3 or reference [default: the default
    /// arm]
    #[arg(long, value_name = "ARM")]
    a: Option<String>,
    /// Source of the second summary [default: the dense arm]
    #[arg(long, value_name = "ARM")]
    b: Option<String>,
    /// Name of the judge, which is recorded with each vote
    #[arg(long, default_value = "anonymous", value_name = "NAME")]
    judge: String,
    /// Port of the page; 0 for any free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Address of the page, which must be a loopback address
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), hide_short_help = true)]
    address: IpAddr,
}

impl Args {
    /// The two authors of summaries.
    fn pair(&self) -> [Option<&str>; 2] {
        [self.a.as_deref(), self.b.as_deref()]
    }

    /// The address of the page.
    fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let session = Session::open(&args.results, args.pair(), &args.judge)?;
    let (done, total) = session.progress();
    let running = server::start(session, args.socket())?;
    let votes = args.results.join(VOTES);
    eprintln!(
        "{done} of {total} articles are judged; votes go to {}",
        votes.display()
    );
    eprintln!("open the page in a browser; Ctrl-C stops the server, and all votes are kept");
    println!("http://{}/", running.address);
    running.wait()
}
