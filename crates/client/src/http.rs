//! One request and its answer: limits, time-outs, patience with a busy log, problem documents.

use std::{
    io::{self, Read},
    thread,
    time::{Duration, Instant},
};

use counterfoil_http::{Address, retry_after};
use serde::Deserialize;
use ureq::{Agent, Body, BodyReader, SendBody, http::Response};

use crate::{
    error::{ClientError, Problem},
    limits,
};

/// A server, and how it is talked to.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    agent: Agent,
    address: Address,
    pub patience: Duration,
    pub call: Duration,
}

/// The status of an answer, and its body to be read.
pub(crate) struct Reply {
    pub url: String,
    response: Response<Body>,
}

/// A body on its way out. Once it was read from, the server may have it.
struct Outgoing<'a> {
    rest: &'a [u8],
    is_read: bool,
}

/// Why a request has no answer, and whether the server may have its body.
struct Unanswered {
    error: ureq::Error,
    sent: bool,
}

impl Http {
    pub(crate) fn new(base_url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let address =
            Address::new(base_url, token).map_err(|error| ClientError::Misuse(error.to_string()))?;
        let agent = address.agent(Agent::config_builder().timeout_connect(Some(limits::CONNECT)));
        Ok(Self { agent, address, patience: limits::PATIENCE, call: limits::CALL })
    }

    /// Asks; any status is an answer.
    pub(crate) fn get(&self, path: &str, timeout: Duration) -> Result<Reply, ClientError> {
        self.get_after(path, timeout, None)
    }

    /// Asks for a stream of events, after the one of this id where there is one.
    pub(crate) fn get_after(
        &self,
        path: &str,
        timeout: Duration,
        last: Option<u64>,
    ) -> Result<Reply, ClientError> {
        self.patiently(path, |url| {
            let mut request = self.agent.get(url);
            if let Some(last) = last {
                request = request.header("Last-Event-ID", last.to_string());
            }
            if let Some(authorization) = self.address.authorization() {
                request = request.header("Authorization", authorization);
            }
            let answer = request.config().timeout_global(Some(timeout)).build().call();
            answer.map_err(|error| Unanswered { error, sent: false })
        })
    }

    /// Submits; any status is an answer.
    pub(crate) fn post(&self, path: &str, media_type: &str, body: &[u8]) -> Result<Reply, ClientError> {
        self.patiently(path, |url| {
            let mut request =
                self.agent.post(url).content_type(media_type).header("Content-Length", body.len());
            if let Some(authorization) = self.address.authorization() {
                request = request.header("Authorization", authorization);
            }
            let request = request.config().timeout_global(Some(self.call)).build();
            let mut outgoing = Outgoing { rest: body, is_read: false };
            let answer = request.send(SendBody::from_reader(&mut outgoing));
            answer.map_err(|error| Unanswered { error, sent: outgoing.is_read })
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address.base())
    }

    /// Asks a busy log again, as long as patience lasts.
    fn patiently(
        &self,
        path: &str,
        send: impl Fn(&str) -> Result<Response<Body>, Unanswered>,
    ) -> Result<Reply, ClientError> {
        let (url, started) = (self.url(path), Instant::now());
        loop {
            let response = send(&url).map_err(|unanswered| transport(&url, &unanswered))?;
            if response.status() != 429 {
                return Ok(Reply { url, response });
            }
            let pause = retry_after(&response)
                .unwrap_or(Duration::from_secs(1))
                .clamp(limits::PAUSE.0, limits::PAUSE.1);
            drop(response);
            if started.elapsed() + pause > self.patience {
                return Err(ClientError::Busy { url, waited: started.elapsed() });
            }
            thread::sleep(pause);
        }
    }
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The body of a 200; the problem of anything else.
    pub(crate) fn ok(self, limit: usize) -> Result<Vec<u8>, ClientError> {
        if self.status() == 200 { self.bytes(limit) } else { Err(self.problem()) }
    }

    /// The body of a 200, to be streamed.
    pub(crate) fn ok_reader(self) -> Result<BodyReader<'static>, ClientError> {
        if self.status() == 200 { Ok(self.response.into_body().into_reader()) } else { Err(self.problem()) }
    }

    /// The body, whatever the status.
    pub(crate) fn bytes(self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let url = self.url;
        let mut bytes = Vec::new();
        let mut reader = self.response.into_body().into_reader().take(limit as u64 + 1);
        reader.read_to_end(&mut bytes).map_err(|error| broke_off(&url, &error))?;
        if bytes.len() > limit {
            return Err(ClientError::TooLarge { url, limit });
        }
        Ok(bytes)
    }

    /// What an answer that is no 200 says.
    pub(crate) fn problem(self) -> ClientError {
        #[derive(Deserialize)]
        struct Document {
            code: String,
            #[serde(default)]
            detail: String,
            hint: Option<String>,
        }
        let (status, url) = (self.status(), self.url.clone());
        let bytes = match self.bytes(limits::PROBLEM_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Document>(&bytes) {
            Ok(Document { code, detail, hint }) => {
                ClientError::Refused(Problem { code, detail, hint, status })
            }
            // Said by whatever stands before the server.
            Err(_) if status == 413 => ClientError::Refused(Problem {
                code: "body-too-large".to_owned(),
                detail: format!("{url}: the body is too large for a proxy before the server"),
                hint: Some("submit less at once, or have the proxy take bodies of 32 MiB".to_owned()),
                status,
            }),
            Err(_) => ClientError::Protocol { url, why: format!("HTTP {status} without a problem document") },
        }
    }
}

impl Read for Outgoing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.is_read = true;
        self.rest.read(into)
    }
}

/// A read that failed in the middle of an answer.
pub(crate) fn broke_off(url: &str, error: &io::Error) -> ClientError {
    ClientError::NoAnswer { url: url.to_owned(), why: format!("the answer broke off: {error}") }
}

fn transport(url: &str, Unanswered { error, sent }: &Unanswered) -> ClientError {
    let (url, why) = (url.to_owned(), error.to_string());
    match error {
        // What rustls says about an answer that is no TLS.
        ureq::Error::Io(_) if !sent && why.contains("InvalidContentType") => ClientError::Unreachable {
            url,
            why: "the server does not speak TLS there: try http://".to_owned(),
        },
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) | ureq::Error::TooManyRedirects => {
            ClientError::Protocol { url, why }
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => ClientError::Misuse(format!("{url}: {why}")),
        _ if *sent => ClientError::NoAnswer { url, why },
        _ => ClientError::Unreachable { url, why },
    }
}
