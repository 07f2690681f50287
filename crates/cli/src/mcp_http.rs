//! `counterfoil mcp gate --listen`: the gate in front of a server that is reached by an address.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use counterfoil_http::Address;
use counterfoil_mcp::{
    Shared,
    http::{self, Http},
};

use crate::{
    error::{Failure, Outcome},
    output,
    text::printable,
};

/// What clients of the gate show it.
const TOKEN: &str = "COUNTERFOIL_MCP_TOKEN";
/// What the gate shows the server.
const UPSTREAM_TOKEN: &str = "COUNTERFOIL_UPSTREAM_TOKEN";
/// Bytes of a token's file: tokens that carry claims have some kilobytes.
const TOKEN_BYTES: usize = 16_384;

/// The gate over HTTP.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Over HTTP")]
pub struct Listen {
    /// Serve clients over HTTP at this address, under /mcp, instead of on standard input and output
    #[arg(long, value_name = "ADDRESS:PORT", requires = "upstream", conflicts_with = "command")]
    listen: Option<SocketAddr>,
    /// The address of the server, such as https://host/mcp
    #[arg(long, value_name = "URL", requires = "listen", conflicts_with = "command")]
    pub upstream: Option<String>,
    /// Listen beyond this machine, where clients call the gate HOST, as in host.example:8931; needs a token, and TLS in front
    #[arg(long, value_name = "HOST", requires = "listen")]
    allow_remote: Vec<String>,
    /// The file of the token that clients of the gate have to show; or put it into COUNTERFOIL_MCP_TOKEN
    #[arg(long, value_name = "FILE", requires = "listen")]
    token_file: Option<PathBuf>,
    /// The file of the token that the server is shown; or put it into COUNTERFOIL_UPSTREAM_TOKEN [default: what each client shows]
    #[arg(long, value_name = "FILE", requires = "listen")]
    upstream_token_file: Option<PathBuf>,
    /// Reach the server without TLS though it is on another machine
    #[arg(long, requires = "listen")]
    plain_http: bool,
}

impl Listen {
    /// Serves clients, if there is an address for that, until it is told to end.
    pub fn run(&self, shared: &Arc<Shared>, told_to_end: &dyn Fn() -> bool) -> Option<Outcome> {
        let (listen, upstream) = (self.listen?, self.upstream.as_deref()?);
        Some(self.serve(listen, upstream, shared, told_to_end))
    }

    fn serve(
        &self,
        listen: SocketAddr,
        upstream: &str,
        shared: &Arc<Shared>,
        told_to_end: &dyn Fn() -> bool,
    ) -> Outcome {
        let usage = |message: String, next: &str| Failure::new("field-invalid", message, next);
        let upstream = Address::new(upstream, None)
            .map_err(|error| usage(error.to_string(), "such as --upstream https://host/mcp"))?;
        if upstream.base().starts_with("http://") && !upstream.is_loopback() && !self.plain_http {
            let message = format!("{} is not on this machine, and without TLS", printable(upstream.base()));
            return Err(usage(message, "use https, or say --plain-http"));
        }
        let token = token(self.token_file.as_deref(), TOKEN)?;
        let credential = token_of_server(self.upstream_token_file.as_deref())?;
        // Behind something else on this machine that lets others in, too.
        let is_remote = !listen.ip().is_loopback() || !self.allow_remote.is_empty();
        if is_remote && (self.allow_remote.is_empty() || token.is_none()) {
            let message = format!("{listen} is to be reached by other machines");
            let next = "listen on 127.0.0.1, or give --allow-remote and a token";
            return Err(usage(message, next));
        }
        if credential.is_some() && token.is_none() {
            let message = "whoever reaches the gate would be lent the server's token".to_owned();
            return Err(usage(
                message,
                "give clients of the gate a token, in --token-file or COUNTERFOIL_MCP_TOKEN",
            ));
        }
        let failed = |error: io::Error| {
            Failure::new("not-listening", format!("{listen}: {error}"), "listen on another address")
        };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let note = |said: &str| output::note(&format!("mcp gate: {}\n", printable(said)));
        note(&format!("listens on http://{at}/mcp, in front of {}", upstream.base()));
        let http = Http {
            listener,
            hosts: self.allow_remote.clone(),
            token,
            upstream,
            credential,
            name: Box::new(|| {
                let bytes = counterfoil_keys::random::<16>().ok()?;
                Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
            }),
            note: Arc::new(note),
        };
        http::serve(http, shared, told_to_end).map_err(failed)?;
        Ok(0)
    }
}

fn token_of_server(file: Option<&Path>) -> Outcome<Option<String>> {
    Ok(token(file, UPSTREAM_TOKEN)?.map(|token| format!("Bearer {token}")))
}

/// A token, of a file or else of the environment.
fn token(file: Option<&Path>, variable: &str) -> Outcome<Option<String>> {
    let (text, from) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let message = format!("{}: {error}", printable(&path.display().to_string()));
                Failure::new("token-file", message, "give a file that holds a token and nothing else")
            })?;
            (text, path.display().to_string())
        }
        None => match std::env::var(variable) {
            Ok(text) => (text, variable.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => (String::new(), variable.to_owned()),
        },
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() || text.len() > TOKEN_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("{from} holds no token: it is empty, too long, or not printable ASCII");
        return Err(Failure::new("token-file", message, "give one that is a line of printable ASCII"));
    }
    Ok(Some(text.to_owned()))
}
