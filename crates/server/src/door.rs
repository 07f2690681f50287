//! The door: who asks, for what, and how often (`spec/http.md`, "Who may ask" and "Rates").

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, Request, State as Shared},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use counterfoil_receipt::Principal;

use crate::{
    access::{Access, Denied, Token, is_from_here, is_to_here},
    error::StartError,
    limits,
    problem::Problem,
    quota::{Peer, Quotas},
    submit::now,
    tokens::{Found, Listed, Scope},
};

/// Where a server says whether it goes on: to everybody, at any rate.
pub(crate) const HEALTH: &str = "/healthz";

/// Who may read, and what everybody has asked for lately.
#[derive(Debug)]
pub(crate) struct Door {
    reads: Access,
    listed: Option<Listed>,
    rates: Option<Rates>,
    /// Tokens that were none.
    wrong: Quotas<Peer>,
    held: Mutex<HashMap<Account, usize>>,
}

/// Nobody uses up the rate of a token without having it: tokens and peers are counted apart.
#[derive(Debug)]
struct Rates {
    peers: Quotas<Peer>,
    tokens: Quotas<String>,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Account {
    Peer(Peer),
    /// A token of the file, by its id.
    Token(String),
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    door: Arc<Door>,
    peer: Peer,
    /// What was found for the token in the request.
    found: Found,
}

/// Which approvals somebody who may read sees: everybody's, or those that are one principal's business.
#[derive(Clone, Debug)]
pub(crate) enum Sees {
    Everything,
    BusinessOf(Principal),
}

/// A place among those who wait, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    door: Arc<Door>,
    account: Account,
}

impl Door {
    /// Opens it.
    pub(crate) fn new(
        reads: Access,
        tokens: Option<PathBuf>,
        rate: Option<NonZeroU32>,
    ) -> Result<Arc<Self>, StartError> {
        let listed = tokens
            .map(|path| Listed::open(path.clone()).map_err(|source| StartError::Tokens { path, source }));
        Ok(Arc::new(Self {
            reads,
            listed: listed.transpose()?,
            rates: rate.map(|rate| Rates { peers: Quotas::new(rate), tokens: Quotas::new(rate) }),
            wrong: Quotas::new(const { NonZeroU32::new(limits::WRONG_TOKENS).unwrap() }),
            held: Mutex::default(),
        }))
    }

    /// Whether everybody may read.
    pub(crate) fn is_public(&self) -> bool {
        self.reads == Access::Public
    }

    /// What the operator should know: that no token of the file is taken, and why.
    pub(crate) fn warning(&self) -> Option<String> {
        let why = self.listed.as_ref()?.fault()?;
        Some(format!("no token of the token file (server.tokens) is taken: {why}"))
    }

    fn asker(self: &Arc<Self>, peer: IpAddr, headers: &HeaderMap) -> Asker {
        let found = match (&self.listed, bearer(headers)) {
            (Some(listed), Ok(token)) => listed.find(token),
            _ => Found::None,
        };
        Asker { door: Arc::clone(self), peer: Peer::of(peer), found }
    }
}

/// Lets a request in, unless whoever asks has asked too often. All but [`HEALTH`] counts, whatever becomes of it.
pub(crate) async fn enter(
    Shared(door): Shared<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == HEALTH {
        return next.run(request).await;
    }
    let asker = door.asker(peer.ip(), request.headers());
    if let Err(problem) = asker.charge() {
        return problem.into_response();
    }
    request.extensions_mut().insert(asker);
    next.run(request).await
}

impl Asker {
    /// Whether somebody may read what a token with one of these scopes may.
    pub(crate) fn may_read(&self, scopes: &[Scope], headers: &HeaderMap) -> Result<Sees, Denied> {
        let right = match &self.door.reads {
            Access::Public => return Ok(Sees::Everything),
            // A page elsewhere can let its own name resolve to 127.0.0.1, and have a browser read for it.
            Access::Local if !is_to_here(headers) => return Err(Denied::OtherHost),
            Access::Local => return Ok(Sees::Everything),
            Access::Token(token) => Some(token),
            Access::Listed => None,
        };
        match &self.found {
            Found::Unknown => Err(Denied::Unknown),
            Found::None => self.has(right, headers).map(|()| Sees::Everything),
            Found::Token(token) if token.has_ended(now()) => Err(Denied::Ended),
            Found::Token(token) if !scopes.iter().any(|scope| token.covers(*scope)) => {
                Err(Denied::OtherScope { has: token.scopes.clone(), needs: scopes.to_vec() })
            }
            Found::Token(token) => match &token.principal {
                None => Ok(Sees::Everything),
                // Who can't be named sees nothing, and not everything.
                Some(name) => Principal::new(name.as_str()).map(Sees::BusinessOf).ok_or(Denied::Unknown),
            },
        }
    }

    /// Whether somebody may write to a raw log. No token of the file lets them.
    pub(crate) fn may_write(&self, writes: &Access, headers: &HeaderMap) -> Result<(), Denied> {
        match writes {
            Access::Public => Ok(()),
            // A page elsewhere can have a browser write to 127.0.0.1 without its name, only it can't read the answer.
            Access::Local if !is_from_here(headers) => Err(Denied::OtherOrigin),
            Access::Local if !is_to_here(headers) => Err(Denied::OtherHost),
            Access::Local => Ok(()),
            Access::Token(token) => self.has(Some(token), headers),
            Access::Listed => Err(Denied::NoToken),
        }
    }

    /// Whether the request has this token. Who has tried too many is not told; those of the file can't be guessed, and were
    /// looked for before.
    fn has(&self, right: Option<&Token>, headers: &HeaderMap) -> Result<(), Denied> {
        let wrong = &self.door.wrong;
        let given = match bearer(headers) {
            Err(Denied::NoToken) => return Err(Denied::NoToken),
            given => given,
        };
        wrong.check(&self.peer, Instant::now()).map_err(Denied::Guessing)?;
        match (right, given) {
            (Some(right), Ok(given)) if right.is(given) => Ok(()),
            _ => {
                let bill = HashMap::from([(self.peer, 1)]);
                wrong.charge(&bill, Instant::now()).map_err(Denied::Guessing)?;
                Err(Denied::WrongToken)
            }
        }
    }

    /// Counts a request.
    fn charge(&self) -> Result<(), Problem> {
        let Some(rates) = &self.door.rates else { return Ok(()) };
        let charged = match self.account() {
            Account::Peer(peer) => rates.peers.charge(&HashMap::from([(peer, 1)]), Instant::now()),
            Account::Token(id) => rates.tokens.charge(&HashMap::from([(id, 1)]), Instant::now()),
        };
        charged.map_err(Problem::over_rate)
    }

    /// A place among those who wait for something to happen.
    pub(crate) fn hold(&self) -> Result<Held, Problem> {
        let account = self.account();
        let mut held = self.door.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(account.clone()).or_default();
        if *count >= limits::HELD {
            return Err(Problem::too_many_held());
        }
        *count += 1;
        Ok(Held { door: Arc::clone(&self.door), account })
    }

    /// Whether the token that a stream began with is still there: somebody may have revoked it meanwhile.
    pub(crate) fn is_still_let_in(&self) -> bool {
        match (&self.found, &self.door.listed) {
            (Found::Token(token), Some(listed)) => !token.has_ended(now()) && listed.still_has(token),
            _ => true,
        }
    }

    fn account(&self) -> Account {
        match &self.found {
            Found::Token(token) if !token.has_ended(now()) => Account::Token(token.id.clone()),
            _ => Account::Peer(self.peer),
        }
    }

    /// Where it asks from.
    pub(crate) const fn peer(&self) -> Peer {
        self.peer
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.door.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.account);
            }
        }
    }
}

/// The token that a request brings.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Denied> {
    let given = headers.get(header::AUTHORIZATION).ok_or(Denied::NoToken)?;
    given.as_bytes().strip_prefix(b"Bearer ").ok_or(Denied::WrongToken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_peer_takes_no_more_places_than_there_are_for_one_and_gives_them_back() {
        let door = Door::new(Access::Public, None, None).unwrap();
        let asker = |last: u8| door.asker([192, 0, 2, last].into(), &HeaderMap::new());
        let mut held: Vec<Held> = (0..limits::HELD).map(|_| asker(1).hold().unwrap()).collect();
        assert!(asker(1).hold().is_err());
        let _other = asker(2).hold().unwrap();
        held.pop();
        held.push(asker(1).hold().unwrap());
        assert!(asker(1).hold().is_err());
        held.clear();
        assert_eq!(door.held.lock().unwrap().len(), 1);
    }
}
