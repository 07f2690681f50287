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
use counterfoil_http::{is_from_here, is_to_here};
use counterfoil_receipt::Principal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    access::{Access, Denied, Token},
    error::StartError,
    limits,
    problem::Problem,
    quota::{Peer, Quotas},
    submit::now,
    tokens::{Found, Listed, Scope, TokenFileError, is_shaped},
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
    held: Mutex<HashMap<(Account, Place), usize>>,
    /// Who may send a large body now.
    turns: Mutex<HashMap<Account, Arc<Semaphore>>>,
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

/// What somebody takes up while a request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// It waits for something to happen, or for its own body.
    Waiting,
    /// It waits for a receipt.
    Receipt,
}

/// A place among those who wait, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    door: Arc<Door>,
    account: Account,
    place: Place,
}

/// A turn at sending a large body, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    door: Arc<Door>,
    account: Account,
    permit: Option<OwnedSemaphorePermit>,
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
            turns: Mutex::default(),
        }))
    }

    /// Whether everybody may read.
    pub(crate) fn is_public(&self) -> bool {
        self.reads == Access::Public
    }

    /// What the operator should know: that no token of the file is taken, and why.
    pub(crate) fn warning(&self) -> Option<String> {
        let why = match &*self.listed.as_ref()?.fault()? {
            // It may repeat what stands in the file, and everybody is told this.
            TokenFileError::Malformed { line, .. } => {
                let at = line.map_or_else(String::new, |line| format!("line {line}: "));
                format!("{at}it is no token file; `counterfoil tokens list` says why")
            }
            why => why.to_string(),
        };
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
            // One of the file that was revoked, and asks on: it guesses at no other.
            (right, Ok(given))
                if self.door.listed.is_some()
                    && is_shaped(given)
                    && !right.is_some_and(|right| is_shaped(right.as_str().as_bytes())) =>
            {
                Err(Denied::WrongToken)
            }
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

    /// A place among those who wait: as many as there are for one who asks, and for all together.
    pub(crate) fn hold(&self, place: Place) -> Result<Held, Problem> {
        let account = self.account();
        let most = match place {
            Place::Waiting => limits::HELD,
            Place::Receipt => limits::RECEIPTS_ASKED,
        };
        let mut held = self.door.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.values().sum::<usize>() >= limits::HELD_BY_ALL {
            return Err(Problem::too_many_held(limits::HELD_BY_ALL, "requests"));
        }
        let count = held.entry((account.clone(), place)).or_default();
        if *count >= most {
            return Err(Problem::too_many_held(most, "requests from there"));
        }
        *count += 1;
        Ok(Held { door: Arc::clone(&self.door), account, place })
    }

    /// A turn at sending a large body: whoever has as many as one may waits for their own to end, and keeps nobody else waiting.
    pub(crate) async fn turn(&self) -> Turn {
        let account = self.account();
        let turns = {
            let mut all = self.door.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let turns = all.entry(account.clone());
            Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(limits::BATCHES_OF_ONE))))
        };
        // A closed semaphore would only mean that there is no bound.
        let permit = turns.acquire_owned().await.ok();
        Turn { door: Arc::clone(&self.door), account, permit }
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
        let key = (self.account.clone(), self.place);
        if let Some(count) = held.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&key);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut turns = self.door.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else has one, or waits for one.
        if turns.get(&self.account).is_some_and(|left| Arc::strong_count(left) == 1) {
            turns.remove(&self.account);
        }
    }
}

/// The token that a request brings.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Denied> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let one = given.next().ok_or(Denied::NoToken)?.as_bytes();
    // Of two, nobody can say which was meant. The name of a scheme may be written in any case (RFC 9110, section 11.1).
    match one.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") && given.next().is_none() => {
            Ok(token)
        }
        _ => Err(Denied::WrongToken),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_peer_takes_no_more_places_than_there_are_for_one_and_gives_them_back() {
        let door = Door::new(Access::Public, None, None).unwrap();
        let asker = |last: u8| door.asker([192, 0, 2, last].into(), &HeaderMap::new());
        let mut held: Vec<Held> = (0..limits::HELD).map(|_| asker(1).hold(Place::Waiting).unwrap()).collect();
        assert!(asker(1).hold(Place::Waiting).is_err());
        let _other = asker(2).hold(Place::Waiting).unwrap();
        held.pop();
        held.push(asker(1).hold(Place::Waiting).unwrap());
        assert!(asker(1).hold(Place::Waiting).is_err());
        // Receipts are places of their own, and few.
        let receipts: Vec<Held> =
            (0..limits::RECEIPTS_ASKED).map(|_| asker(1).hold(Place::Receipt).unwrap()).collect();
        assert!(asker(1).hold(Place::Receipt).is_err());
        drop((held, receipts));
        assert_eq!(door.held.lock().unwrap().len(), 1);
    }

    #[test]
    fn all_together_leave_room_for_those_who_only_ask() {
        let door = Door::new(Access::Public, None, None).unwrap();
        let asker = |at: usize| {
            let peer = [192, 0, 2, u8::try_from(at / limits::HELD).unwrap()];
            door.asker(peer.into(), &HeaderMap::new())
        };
        let held: Vec<Held> =
            (0..limits::HELD_BY_ALL).map(|at| asker(at).hold(Place::Waiting).unwrap()).collect();
        assert!(asker(limits::HELD_BY_ALL).hold(Place::Waiting).is_err());
        drop(held);
        assert!(asker(limits::HELD_BY_ALL).hold(Place::Waiting).is_ok());
    }

    #[tokio::test]
    async fn whoever_sends_as_much_as_one_may_waits_for_nobody_but_themselves() {
        let door = Door::new(Access::Public, None, None).unwrap();
        let asker = |last: u8| door.asker([192, 0, 2, last].into(), &HeaderMap::new());
        let mut turns = Vec::new();
        for _ in 0..limits::BATCHES_OF_ONE {
            turns.push(asker(1).turn().await);
        }
        let one = asker(1);
        let mut next = std::pin::pin!(one.turn());
        let moment = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(moment, next.as_mut()).await.is_err());
        drop(asker(2).turn().await);
        turns.pop();
        drop(next.await);
        turns.clear();
        assert!(door.turns.lock().unwrap().is_empty());
    }
}
