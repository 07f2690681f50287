//! One file over HTTP: limits, time-outs, a bounded number of attempts.

use std::{io::Read, thread, time::Duration};

use counterfoil_http::{Address, retry_after};
use ureq::Agent;

use crate::{limits, source::SourceError};

/// The prefix of a log, and how it is talked to.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    address: Address,
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
        let address =
            Address::new(base_url, token).map_err(|error| SourceError::Misuse(error.to_string()))?;
        let config = Agent::config_builder()
            .timeout_connect(Some(limits::CONNECT))
            .timeout_global(Some(limits::CALL))
            .max_idle_connections(limits::JOBS)
            .max_idle_connections_per_host(limits::JOBS);
        Ok(Self { agent: address.agent(config), address })
    }

    pub(crate) fn name(&self) -> &str {
        self.address.base()
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
        let url = format!("{}/{path}", self.address.base());
        let unreachable = |why: String| SourceError::Unreachable { path: url.clone(), why };
        let mut request = self.agent.get(&url);
        if let Some(authorization) = self.address.authorization() {
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
