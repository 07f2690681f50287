//! Links by which a person decides: what their tokens say, and how they are made and read (`spec/http.md`, "Decisions by link").

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{ActionDigest, Author, Principal, RecordId, SignError, Signature, Signer as _};
use counterfoil_tlog::Ed25519Key;

/// What a token's signature is over begins with this: it is no record.
const DOMAIN: &[u8] = b"counterfoil/v1/link\n";
const VERSION: u8 = 1;

/// Makes links and reads them, for one log.
pub(crate) struct Links {
    log: RecordId,
    key: Arc<RecordKey>,
    verifier: Option<Ed25519Key>,
    /// Where people reach this server, without a slash at the end.
    url: String,
    /// How long a link works.
    time: Duration,
    /// Held while one decides: what comes by the same link at the same time waits, and finds it used.
    pub deciding: tokio::sync::Mutex<()>,
}

/// What a link lets somebody do: decide about one action of one proposal, in one name, until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Which proposal.
    pub proposal: RecordId,
    /// The digest of its action.
    pub action: ActionDigest,
    /// Until when, in milliseconds.
    pub not_after: u64,
    /// In whose name.
    pub approver: Principal,
}

/// Why a token lets nobody decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoLink {
    /// This server's key did not sign it for this log.
    Forged,
    /// Its time is over.
    Expired,
}

impl Links {
    pub(crate) fn new(log: RecordId, key: Arc<RecordKey>, url: &str, time: Duration) -> Self {
        let verifier = Ed25519Key::parse(key.key().material());
        Self {
            log,
            key,
            verifier,
            url: url.trim_end_matches('/').to_owned(),
            time,
            deciding: tokio::sync::Mutex::default(),
        }
    }

    /// Who signs what comes by a link.
    pub(crate) fn signer(&self) -> Author {
        self.key.author()
    }

    /// The key that signs it.
    pub(crate) fn key(&self) -> &RecordKey {
        &self.key
    }

    /// The page of a proposal, for whoever may read.
    pub(crate) fn review_url(&self, proposal: &impl fmt::Display) -> String {
        format!("{}/review/{proposal}", self.url)
    }

    /// A link by which `approver` may decide, until its time is over; made anew, it has another end.
    pub(crate) fn link(
        &self,
        proposal: RecordId,
        action: ActionDigest,
        approver: &Principal,
        now: u64,
    ) -> Result<String, SignError> {
        let claims = Claims { proposal, action, not_after: self.end(now), approver: approver.clone() };
        Ok(format!("{}/link/{}", self.url, self.token(&claims)?))
    }

    /// Until when a link that is made now works.
    pub(crate) fn end(&self, now: u64) -> u64 {
        now.saturating_add(u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX))
    }

    fn token(&self, claims: &Claims) -> Result<String, SignError> {
        let head = claims.head();
        let signature = self.key.sign(&self.preimage(&head, &claims.approver))?;
        let bytes = [&head[..], signature.as_bytes(), claims.approver.as_str().as_bytes()].concat();
        Ok(BASE64_URL_SAFE_NO_PAD.encode(&bytes))
    }

    /// Reads a token; one that is not genuine is told apart from one whose time is over.
    pub(crate) fn read(&self, token: &str, now: u64) -> Result<Claims, NoLink> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| NoLink::Forged)?;
        let (claims, signature) = Claims::parse(&bytes).ok_or(NoLink::Forged)?;
        let preimage = self.preimage(&claims.head(), &claims.approver);
        let holds = self.verifier.as_ref().is_some_and(|key| key.verify(&preimage, signature.as_bytes()));
        if !holds {
            return Err(NoLink::Forged);
        }
        if now > claims.not_after { Err(NoLink::Expired) } else { Ok(claims) }
    }

    fn preimage(&self, head: &[u8], approver: &Principal) -> Vec<u8> {
        [DOMAIN, self.log.as_bytes(), head, approver.as_str().as_bytes()].concat()
    }
}

impl Claims {
    /// All but the approver, whose length is not fixed.
    fn head(&self) -> Vec<u8> {
        let parts = [&[VERSION][..], self.proposal.as_bytes(), self.action.as_bytes()];
        [&parts.concat()[..], &self.not_after.to_be_bytes()].concat()
    }

    fn parse(bytes: &[u8]) -> Option<(Self, Signature)> {
        let (version, rest) = bytes.split_first()?;
        let (proposal, rest) = rest.split_first_chunk()?;
        let (action, rest) = rest.split_first_chunk()?;
        let (not_after, rest) = rest.split_first_chunk()?;
        let (signature, approver) = rest.split_first_chunk()?;
        let claims = Self {
            proposal: RecordId::from_bytes(*proposal),
            action: ActionDigest::from_bytes(*action),
            not_after: u64::from_be_bytes(*not_after),
            approver: Principal::new(std::str::from_utf8(approver).ok()?)?,
        };
        (*version == VERSION).then_some((claims, Signature::from_bytes(*signature)))
    }
}

impl fmt::Display for NoLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forged => "This link is not one of this server's, or it was cut off or changed on its way.",
            Self::Expired => "The time of this link is over.",
        })
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_receipt::Role;

    use super::*;

    fn links(seed: u8, log: u8) -> Links {
        let key = RecordKey::from_seed(Principal::new("clock").unwrap(), Role::Policy, &[seed; 32]);
        Links::new(
            RecordId::from_bytes([log; 32]),
            Arc::new(key),
            "https://a.example/",
            Duration::from_secs(9),
        )
    }

    fn token_of(links: &Links, approver: &str) -> String {
        let (proposal, action) = (RecordId::from_bytes([1; 32]), ActionDigest::from_bytes([2; 32]));
        let link = links.link(proposal, action, &Principal::new(approver).unwrap(), 1_000).unwrap();
        link.strip_prefix("https://a.example/link/").unwrap().to_owned()
    }

    #[test]
    fn a_token_says_what_it_was_made_for_until_its_time_is_over() {
        let links = links(3, 7);
        let token = token_of(&links, "ana");
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
        let claims = links.read(&token, 10_000).unwrap();
        assert_eq!((claims.approver.as_str(), claims.not_after), ("ana", 10_000));
        assert_eq!(claims.proposal, RecordId::from_bytes([1; 32]));
        assert_eq!(links.read(&token, 10_001), Err(NoLink::Expired));
    }

    #[test]
    fn no_other_key_log_or_byte_makes_a_token() {
        let genuine = links(3, 7);
        for other in [links(4, 7), links(3, 8)] {
            assert_eq!(genuine.read(&token_of(&other, "ana"), 0), Err(NoLink::Forged));
        }
        let token = token_of(&genuine, "ana");
        for at in 0..token.len() {
            let other = if token.as_bytes()[at] == b'A' { 'B' } else { 'A' };
            let mut changed = token.clone();
            changed.replace_range(at..=at, &other.to_string());
            assert_eq!(genuine.read(&changed, 0), Err(NoLink::Forged), "{at}");
            assert_eq!(genuine.read(&token[..at], 0), Err(NoLink::Forged), "{at}");
        }
        for bad in ["", "=", "a b", &format!("{token}="), &format!("{token}A")] {
            assert_eq!(genuine.read(bad, 0), Err(NoLink::Forged), "{bad}");
        }
    }
}
