//! Who may read, and who may write to a raw log (`spec/http.md`, "Who may ask").

use std::{fmt, net::IpAddr};

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Who may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever can reach the server, under whatever name it is reached.
    Public,
    /// Whoever has this token.
    Token(Token),
    /// This machine only: the server listens on a loopback address and is asked by a name of this machine.
    Local,
}

/// A token that lets its bearer read or write. Not shown when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The Host header does not name this machine.
    OtherHost,
    /// A page of another site makes a browser ask.
    OtherOrigin,
    /// There is no token.
    NoToken,
    /// The token is not the right one.
    WrongToken,
}

impl Access {
    /// Whether these headers may read.
    pub(crate) fn to_read(&self, headers: &HeaderMap) -> Result<(), Denied> {
        match self {
            Self::Public => Ok(()),
            Self::Token(token) => token.is_in(headers),
            // A page elsewhere can let its own name resolve to 127.0.0.1, and have a browser read for it.
            Self::Local if !header_names(headers, header::HOST, "") => Err(Denied::OtherHost),
            Self::Local => Ok(()),
        }
    }

    /// Whether these headers may write.
    pub(crate) fn to_write(&self, headers: &HeaderMap) -> Result<(), Denied> {
        // A page elsewhere can have a browser write to 127.0.0.1 without its name, only it can't read the answer.
        if matches!(self, Self::Local) && !header_names(headers, header::ORIGIN, "http://") {
            return Err(Denied::OtherOrigin);
        }
        self.to_read(headers)
    }
}

impl Token {
    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A token that was checked to be one.
    pub(crate) const fn new(token: String) -> Self {
        Self(token)
    }

    /// Compares digests in constant time: how long it takes says nothing about the token.
    fn is_in(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let given = headers.get(header::AUTHORIZATION).ok_or(Denied::NoToken)?;
        let given = given.as_bytes().strip_prefix(b"Bearer ").ok_or(Denied::WrongToken)?;
        let is_right: bool = Sha256::digest(given).as_slice().ct_eq(&Sha256::digest(&self.0)).into();
        if is_right { Ok(()) } else { Err(Denied::WrongToken) }
    }
}

impl Denied {
    /// What is wrong with the request.
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::OtherHost => "the Host header does not name this machine",
            Self::OtherOrigin => "the Origin header does not name this machine",
            Self::NoToken => "there is no token",
            Self::WrongToken => "the token is not the right one",
        }
    }

    /// Whether a token is asked for.
    pub(crate) const fn wants_token(self) -> bool {
        match self {
            Self::NoToken | Self::WrongToken => true,
            Self::OtherHost | Self::OtherOrigin => false,
        }
    }
}

/// Whether a header is a loopback address or `localhost` after this prefix; a request without it comes from no browser.
fn header_names(headers: &HeaderMap, name: header::HeaderName, prefix: &str) -> bool {
    let Some(value) = headers.get(name) else { return true };
    let Some(host) = value.to_str().ok().and_then(|value| value.strip_prefix(prefix)) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
