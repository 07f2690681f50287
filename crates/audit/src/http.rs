//! One file over HTTP: limits, time-outs, a bounded number of attempts.

use std::{io::Read, thread, time::Duration};

use ureq::{Agent, Body, http::Response};

use crate::{limits, source::SourceError};

/// The prefix of a log, and how it is talked to.
pub(crate) struct Http {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// Why an attempt gave no bytes.
enum Failed {
    /// Asking again may help, after this pause if the server named one.
    Passing(SourceError, Option<Duration>),
    /// It will not.
    Final(SourceError),
}

impl Http {
    pub(crate) fn new(base_url: &str, token: Option<&str>) -> Result<Self, SourceError> {
        let base = base_url.trim_end_matches('/');
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        let host = host.filter(|host| !host.is_empty() && !host.contains(['?', '#', '@', ' ']));
        let host =
            host.ok_or_else(|| SourceError::Misuse(format!("{base_url:?} is no http or https address")))?;
        let is_plain = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_some_and(|token| !is_plain(token)) {
            return Err(SourceError::Misuse("the token is empty or not printable ASCII".to_owned()));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(limits::CONNECT))
            .timeout_global(Some(limits::CALL))
            .max_idle_connections(limits::JOBS)
            .max_idle_connections_per_host(limits::JOBS)
            .user_agent(concat!("counterfoil/", env!("CARGO_PKG_VERSION")));
        let config = if is_loopback(host) { config.proxy(None) } else { config };
        Ok(Self {
            agent: config.build().new_agent(),
            base: base.to_owned(),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.base
    }

    /// The body of a 200, decompressed, of at most `limit` bytes.
    pub(crate) fn get(&self, path: &str, limit: usize) -> Result<Vec<u8>, SourceError> {
        let mut pause = limits::PAUSE;
        for attempt in 1.. {
            match self.attempt(path, limit) {
                Ok(bytes) => return Ok(bytes),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Passing(error, _)) if attempt >= limits::ATTEMPTS => return Err(error),
                Err(Failed::Passing(_, asked)) => {
                    thread::sleep(asked.unwrap_or(pause).min(limits::RETRY_AFTER))
                }
            }
            pause *= 2;
        }
        Err(SourceError::Unreachable { path: path.to_owned(), why: "was asked for too often".to_owned() })
    }

    fn attempt(&self, path: &str, limit: usize) -> Result<Vec<u8>, Failed> {
        let url = format!("{}/{path}", self.base);
        let unreachable = |why: String| SourceError::Unreachable { path: url.clone(), why };
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let response = request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failed::Final(SourceError::Misuse(format!("{url}: {error}")))
            }
            error => Failed::Passing(unreachable(error.to_string()), None),
        })?;
        match response.status().as_u16() {
            200 => {}
            404 | 410 => return Err(Failed::Final(SourceError::Missing { path: path.to_owned() })),
            status @ (429 | 500..) => {
                let asked = retry_after(&response);
                return Err(Failed::Passing(SourceError::Refused { path: url, status }, asked));
            }
            status => return Err(Failed::Final(SourceError::Refused { path: url, status })),
        }
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(limit as u64 + 1);
        let read = body.read_to_end(&mut bytes);
        read.map_err(|error| Failed::Passing(unreachable(format!("the answer broke off: {error}")), None))?;
        if bytes.len() > limit {
            let why = format!("has more than {limit} bytes");
            return Err(Failed::Final(SourceError::Malformed { path: path.to_owned(), why }));
        }
        Ok(bytes)
    }
}

impl std::fmt::Debug for Http {
    /// The token is a secret: it is not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("base", &self.base).finish_non_exhaustive()
    }
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get("Retry-After")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn is_loopback(host: &str) -> bool {
    let host = host.split('/').next().unwrap_or(host);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
