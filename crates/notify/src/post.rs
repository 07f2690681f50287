//! One POST over HTTP, for the channels that are one.

use std::io::Read as _;
use std::time::Duration;

use counterfoil_http::{Address, AddressError, retry_after};
use ureq::http::Uri;
use ureq::{Agent, Error};

use crate::channel::Failure;
use crate::limits;
use crate::text;

/// Where is posted to. A URL of this kind may be a secret, so only its host is ever shown.
pub(crate) struct Target {
    url: String,
    host: String,
    address: Address,
    agent: Agent,
}

/// Nothing can be posted there. The URL is not repeated: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("the URL of the channel is no http or https URL without user, fragment or spaces")]
pub struct UrlError(());

impl From<AddressError> for UrlError {
    fn from(_: AddressError) -> Self {
        Self(())
    }
}

impl Target {
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let (before, query) = url.split_once('?').unwrap_or((url, ""));
        let address = Address::new(before, None)?;
        let is_plain = query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let uri: Uri = url.parse().map_err(|_| UrlError(()))?;
        let host = uri.host().filter(|_| is_plain).ok_or(UrlError(()))?.to_owned();
        let agent = agent(&address, limits::HTTP_TIME);
        Ok(Self { url: url.to_owned(), host, address, agent })
    }

    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { agent: agent(&self.address, timeout), ..self }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Posts JSON; a status of 2xx is a success. What else is answered is judged by whether the same request can ever succeed.
    pub fn post(&self, headers: &[(&str, &str)], body: &str) -> Result<(), Failure> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send(body).map_err(|error| self.no_answer(&error))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        let after = retry_after(&response);
        let mut said = Vec::new();
        // Whatever could be read of it is enough for a reason.
        let _ = response.into_body().into_reader().take(limits::ANSWER_BYTES as u64).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let why =
            text::line(format!("{}: HTTP {status} {}", self.host, said.trim()).trim_end(), limits::WHY_BYTES);
        Err(if is_final(status) { Failure::Never { why } } else { Failure::Retry { why, after } })
    }

    fn no_answer(&self, error: &Error) -> Failure {
        match error {
            // These repeat the URL.
            Error::BadUri(_) | Error::Http(_) => Failure::never(&format!("{}: no URL to post to", self.host)),
            error => Failure::retry(&format!("{}: {error}", self.host)),
        }
    }
}

fn agent(address: &Address, timeout: Duration) -> Agent {
    let config = Agent::config_builder().timeout_connect(Some(limits::CONNECT)).timeout_global(Some(timeout));
    address.agent(config)
}

/// Whether it is this very message that the far side will not have. Everything else may be mended there or in the
/// configuration while the message waits: a wrong secret (401, 403), a path that is not there yet (404), a redirect.
const fn is_final(status: u16) -> bool {
    matches!(status, 400 | 405 | 406 | 409 | 410 | 411 | 413 | 414 | 415 | 422 | 431)
}
