//! Where a server is, and the token that it asks for.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use thiserror::Error;
use ureq::{
    Agent, Error,
    config::{Config, ConfigBuilder},
    http::{Response, Uri},
    typestate::AgentScope,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

/// Where a server is: `http://` or `https://`, its name, and perhaps a path under which everything lies; and the token for it.
#[derive(Clone)]
pub struct Address {
    base: String,
    authorization: Option<String>,
}

/// Nothing can be asked there.
#[derive(Debug, Error)]
pub enum AddressError {
    /// It names no host, or has a query, a fragment or a user.
    #[error("{0:?} is no http or https address")]
    Url(String),
    /// It would break the request, or say nothing.
    #[error("the token is empty or not printable ASCII")]
    Token,
}

impl Address {
    /// Reads an address; a slash at its end does not matter.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn new(base_url: &str, token: Option<&str>) -> Result<Self, AddressError> {
        let base = base_url.trim_end_matches('/').to_owned();
        let is_plain =
            |host: &str| !host.is_empty() && !host.starts_with('/') && !host.contains(['?', '#', '@', ' ']);
        if !host(&base).is_some_and(is_plain) {
            return Err(AddressError::Url(base_url.to_owned()));
        }
        let is_plain = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_some_and(|token| !is_plain(token)) {
            return Err(AddressError::Token);
        }
        Ok(Self { base, authorization: token.map(|token| format!("Bearer {token}")) })
    }

    /// The address as it was read, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The value of `Authorization`, if there is a token.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Asks this address: any status is an answer, no redirect is followed, and what is on this machine is asked without a
    /// proxy.
    pub fn agent(&self, config: ConfigBuilder<AgentScope>) -> Agent {
        let config = config
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("counterfoil/", env!("CARGO_PKG_VERSION")));
        let config = if self.is_loopback() { config.proxy(None) } else { config };
        Agent::with_parts(config.build(), DefaultConnector::default(), Names::default())
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = host(&self.base).unwrap_or_default().split('/').next().unwrap_or_default();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next(),
            None => host.split(':').next(),
        };
        let name = name.unwrap_or(host);
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Looks up names; a name that is an address is one. [`DefaultResolver`] starts a thread for each request, even then.
#[derive(Debug, Default)]
struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let address = uri.host().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        match address.map(|address| SocketAddr::new(address, uri.port_u16().unwrap_or(default))) {
            Some(address) => {
                let mut found = self.empty();
                found.push(address);
                Ok(found)
            }
            None => self.0.resolve(uri, config, timeout),
        }
    }
}

impl fmt::Debug for Address {
    /// The token is a secret: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What an answer says about when to ask again, if it says so in seconds.
pub fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let seconds = response.headers().get("Retry-After")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What follows the scheme.
fn host(base: &str) -> Option<&str> {
    base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_address_names_a_host_and_nothing_that_a_path_can_not_follow() {
        for good in ["http://a", "https://a.example:1/log/", "http://[::1]:8080", "https://a/b//"] {
            assert!(!Address::new(good, None).unwrap().base().ends_with('/'), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "ftp://a",
            "http://",
            "http:///",
            "http://a?b",
            "http://a#b",
            "http://u@a",
            "http://a b",
        ] {
            assert!(matches!(Address::new(bad, None), Err(AddressError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn a_token_can_not_break_a_request_and_is_not_shown() {
        for bad in ["", "a b", "a\nb", "ä"] {
            assert!(matches!(Address::new("http://a", Some(bad)), Err(AddressError::Token)), "{bad:?}");
        }
        let address = Address::new("http://a", Some("secret")).unwrap();
        assert_eq!(address.authorization(), Some("Bearer secret"));
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn only_this_machine_is_asked_without_a_proxy() {
        for (base, is_loopback) in [
            ("http://localhost", true),
            ("http://127.0.0.9:80/x", true),
            ("http://[::1]:80", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
            ("https://[2001:db8::1]/127.0.0.1", false),
        ] {
            assert_eq!(Address::new(base, None).unwrap().is_loopback(), is_loopback, "{base}");
        }
    }
}
