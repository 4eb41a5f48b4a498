//! Devices that another process lends, over WebSocket.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use burn::remote::{ConnectError, RemoteHost};
use burn::tensor::Device;

/// The environment variable with the path of the token file.
pub const TOKEN_FILE: &str = "BSBR_DEVICE_TOKEN_FILE";

/// The timeout of a connection. Burn alone would retry for a quarter of a minute if no server
/// listens, and wait forever for a server that does not answer.
const REACHED: Duration = Duration::from_secs(5);
const ANSWERED: Duration = Duration::from_secs(20);

/// The device at `ws://HOST:PORT`, or with `#N` appended the server's N-th, from 0.
///
/// # Errors
///
/// Says whether the address, the connection, or the token is wrong.
pub fn connect(address: &str) -> Result<Device> {
    let (url, index) = match address.split_once('#') {
        None => (address, 0),
        Some((url, index)) => (
            url,
            index
                .parse::<usize>()
                .with_context(|| format!("`{index}` is not the number of a device"))?,
        ),
    };
    let Some(authority) = url
        .strip_prefix("ws://")
        .map(|url| url.trim_end_matches('/'))
    else {
        bail!("expected remote:ws://HOST:PORT, with #N for the server's N-th device");
    };
    reach(authority)?;
    let file = std::env::var_os(TOKEN_FILE).map(PathBuf::from);
    let mut host = RemoteHost::websocket(&format!("ws://{authority}"));
    if let Some(file) = &file {
        host = host.with_credential(token(file)?);
    }
    let (sender, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let options = Device::remote_options(&host).device_index(index);
        // The caller may have given up.
        let _ = sender.send(options.init());
    });
    let answer = answer.recv_timeout(ANSWERED).map_err(|_| {
        anyhow!(
            "{authority} accepts connections but has not answered for {} seconds; is it \
             `{} serve-device`?",
            ANSWERED.as_secs(),
            crate::program()
        )
    })?;
    answer.map_err(|error| match (error, file) {
        (ConnectError::Unauthorized, Some(file)) => anyhow!(
            "the server refused the token in {}; it asks for the one in its --token-file",
            file.display()
        ),
        (ConnectError::Unauthorized, None) => anyhow!(
            "the server asks for a token; name a copy of its --token-file in the environment \
             variable {TOKEN_FILE}"
        ),
        (error, _) => anyhow::Error::new(error),
    })
}

/// Checks that a server listens there.
fn reach(authority: &str) -> Result<()> {
    let addresses = authority.to_socket_addrs().with_context(|| {
        format!("{authority} cannot be looked up; expected remote:ws://HOST:PORT")
    })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, REACHED) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    let reason = last.map_or_else(|| "no address".to_owned(), |error| error.to_string());
    bail!(
        "no server answers at {authority} ({reason}); start one with `{} serve-device`",
        crate::program()
    )
}

/// The token in a file, without its line end.
///
/// # Errors
///
/// If the file cannot be read or contains no token.
pub fn token(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let token = text.trim();
    if token.is_empty() {
        bail!(
            "{}: holds no token; write one into it, such as that of `openssl rand -hex 32`",
            file.display()
        );
    }
    Ok(token.to_owned())
}
