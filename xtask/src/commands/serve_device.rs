//! `cargo xtask serve-device`

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use crate::device;

/// Lend devices of this machine to other processes.
///
/// Another process uses them with `--device remote:ws://HOST:PORT`, and names a copy of the token
/// file in the environment variable BSBR_DEVICE_TOKEN_FILE. Clients with another token, or without
/// one, are refused.
///
/// The token, weights, texts and results are sent unencrypted. The token authenticates clients on a
/// network that you trust; it does not protect the traffic. On other networks, listen on 127.0.0.1
/// and use a tunnel such as `ssh -L`.
#[derive(clap::Args)]
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "the help is the same, and says what to compile")
)]
pub struct Args {
    /// The only address to listen on, such as 127.0.0.1:3737; port 0 selects a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// File with the token that clients must present
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[arg(
        long,
        default_value = "flex",
        value_delimiter = ',',
        help = "Devices to lend, all of one backend: flex, ndarray, wgpu or cuda, with :N for the \
                N-th one; a client takes the first, or with #N behind the address the N-th, from 0"
    )]
    device: Vec<String>,
}

/// Runs the command.
#[cfg(feature = "remote")]
pub fn run(args: Args) -> Result<()> {
    use std::io::Write;
    use std::net::TcpListener;

    use anyhow::{Context, bail};
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};

    let token = crate::remote::token(&args.token_file)?;
    if let Some(name) = args.device.iter().find(|name| name.starts_with("remote:")) {
        bail!("--device {name}: another server lends it already; clients can connect to that one");
    }
    let devices = device::parse_list(&args.device)?;
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("--listen {}: cannot listen there", args.listen))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        eprintln!("note: the token and all data are not encrypted on the network of {address}");
    }
    println!("lending {} at ws://{address}", args.device.join(", "));
    std::io::stdout().flush()?;
    RemoteServer::new(devices)
        .with_authorizer(TokenAuthorizer::new(token)?)
        .serve(WebSocketTransport::from_listener(listener))
        .context("serving")
}

/// Says how to get the command.
#[cfg(not(feature = "remote"))]
pub fn run(_: Args) -> Result<()> {
    Err(device::missing("remote").context("serve-device"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::commands::options;

    pub fn every_option_counts() {
        options::check(
            &["--listen 127.0.0.1:1 --token-file token"],
            |args: &Args| format!("{} {:?} {:?}", args.listen, args.token_file, args.device),
        );
    }
}
