//! Who may read, and who may write to a raw log (`spec/http.md`, "Who may ask").

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{quota::Exceeded, tokens::Scope};

/// Who may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever can reach the server, under whatever name it is reached.
    Public,
    /// Whoever has this token; to read, also who has one of the token file.
    Token(Token),
    /// Whoever has a token of the token file. Nobody writes by it.
    Listed,
    /// This machine only: the server listens on a loopback address and is asked by a name of this machine.
    Local,
}

/// A token that lets its bearer read or write. Not shown when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The Host header does not name this machine.
    OtherHost,
    /// A page of another site makes a browser ask.
    OtherOrigin,
    /// There is no token.
    NoToken,
    /// The token is not the right one.
    WrongToken,
    /// Too many tokens were not the right one.
    Guessing(Exceeded),
    /// The token may be one of the token file, which can't be used.
    Unknown,
    /// The token has ended.
    Ended,
    /// The token is for something else.
    OtherScope {
        /// What it is for.
        has: Vec<Scope>,
        /// One of these is needed.
        needs: Vec<Scope>,
    },
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
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        Sha256::digest(given).as_slice().ct_eq(&Sha256::digest(&self.0)).into()
    }
}

impl Denied {
    /// What is wrong with the request.
    pub(crate) fn why(&self) -> String {
        let names =
            |scopes: &[Scope]| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
        match self {
            Self::OtherHost => "the Host header does not name this machine".to_owned(),
            Self::OtherOrigin => "the Origin header does not name this machine".to_owned(),
            Self::NoToken => "there is no token".to_owned(),
            Self::WrongToken => "the token is not the right one".to_owned(),
            Self::Guessing(_) => "too many tokens from there were not the right one".to_owned(),
            Self::Unknown => "the server can't read its token file, and takes no token of it".to_owned(),
            Self::Ended => "the token has expired".to_owned(),
            Self::OtherScope { has, needs } => {
                format!("the token is for {}; this needs one for {}", names(has), names(needs))
            }
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
