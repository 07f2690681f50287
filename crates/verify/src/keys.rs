//! Keys, authority and revocation: who may speak, judged by log position.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use counterfoil_receipt::{
    Author, Body, Place, Principal, PublicKey, RecordId, Role,
    body::{Endorsement, Genesis, Holder, KeyChange, Keyring, Revocation, RevocationTarget, Type},
    field::Millis,
    text::Group,
};

use crate::{
    delegation,
    fault::{Fault, Shown},
    place::with_article,
    record::Record,
    rule::Rule,
    run::Run,
    state::{Effect, PolicyInForce, State},
};

/// What the fold knows of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Who holds it.
    pub principal: Principal,
    /// In which role it signs.
    pub role: Role,
    /// The index at which its enrolment took effect.
    pub enrolled: u64,
    /// Log time before which it may not sign.
    pub not_before: Option<Millis>,
    /// Log time after which it may not sign.
    pub not_after: Option<Millis>,
    /// The index at which it was retired or replaced.
    pub retired: Option<u64>,
    /// The index at which it was revoked.
    pub revoked: Option<u64>,
    /// The index from which a revocation disputes what it signed.
    pub distrust_from: Option<u64>,
    /// The index of the last record that it signed.
    pub last_signed: Option<u64>,
}

impl KeyFacts {
    pub(crate) const fn has_validity(&self) -> bool {
        self.not_before.is_some() || self.not_after.is_some()
    }

    fn is_live(&self) -> bool {
        self.retired.is_none() && self.revoked.is_none()
    }

    fn is_live_authority(&self) -> bool {
        self.role == Role::Authority && self.is_live()
    }
}

/// The keyring, and what still waits for signatures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    by_material: BTreeMap<[u8; 32], (PublicKey, KeyFacts)>,
    note_keys: BTreeSet<[u8; 32]>,
    groups: HashMap<Principal, Vec<Group>>,
    heads: HashMap<Principal, RecordId>,
    authority: Holders,
    humans: Holders,
    /// For each key that came by rotation the key that it all began with, and for that key the latest.
    first: HashMap<[u8; 32], [u8; 32]>,
    latest: HashMap<[u8; 32], PublicKey>,
    /// For the key that it all began with, where a key of its line was first revoked.
    revoked_lines: HashMap<[u8; 32], u64>,
    threshold: u64,
    candidates: HashMap<RecordId, Candidate>,
}

/// How many live keys of one role each principal has; principals without one are not here.
#[derive(Clone, Debug, Default)]
struct Holders(HashMap<Principal, u64>);

impl Holders {
    fn gain(&mut self, principal: &Principal) {
        *self.0.entry(principal.clone()).or_default() += 1;
    }

    fn lose(&mut self, principal: &Principal) {
        let left = self.0.get(principal).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.0.remove(principal)
        } else {
            self.0.insert(principal.clone(), left)
        };
    }
}

/// A record of the authority that does not have its threshold yet.
#[derive(Clone, Debug)]
struct Candidate {
    body: Body,
    /// The record that it follows, if it stands in a chain.
    prev: Option<RecordId>,
    endorsers: BTreeSet<Principal>,
}

impl Keys {
    pub(crate) fn get(&self, key: &PublicKey) -> Option<&KeyFacts> {
        self.by_material.get(key.material()).map(|(_, facts)| facts)
    }

    pub(crate) fn all(&self) -> Vec<(PublicKey, &KeyFacts)> {
        self.by_material.values().map(|(key, facts)| (*key, facts)).collect()
    }

    pub(crate) fn groups(&self, principal: &Principal) -> &[Group] {
        self.groups.get(principal).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn head(&self, principal: &Principal) -> Option<RecordId> {
        self.heads.get(principal).copied()
    }

    /// Takes over the keys that the genesis names.
    pub(crate) fn start(&mut self, genesis: &Genesis) {
        let vkeys = genesis.log.note_keys.0.iter();
        let parsed = vkeys.filter_map(|vkey| counterfoil_tlog::VerifierKey::parse(vkey.as_str()).ok());
        self.note_keys = parsed.filter_map(|key| key.public_key().try_into().ok()).collect();
        self.threshold = genesis.authority.threshold.get();
        for root in &genesis.authority.roots.0 {
            self.insert(root.key, root.principal.clone(), Role::Authority, 0);
        }
        let snapshot = &genesis.log.snapshot;
        self.insert(snapshot.key, snapshot.principal.clone(), Role::Log, 0);
    }

    pub(crate) fn note_signature(&mut self, key: &PublicKey, index: u64) {
        if let Some((_, facts)) = self.by_material.get_mut(key.material()) {
            facts.last_signed = Some(index);
        }
    }

    /// The key that stands for `key` today, after every rotation.
    pub(crate) fn current(&self, key: PublicKey) -> PublicKey {
        let first = self.first.get(key.material()).unwrap_or(key.material());
        self.latest.get(first).copied().unwrap_or(key)
    }

    /// Where a key was first revoked that rotations connect with `key`, itself included.
    pub(crate) fn line_revoked(&self, key: &PublicKey) -> Option<u64> {
        self.revoked_lines.get(self.first.get(key.material()).unwrap_or(key.material())).copied()
    }

    /// Whether a record of the authority waits for signatures.
    pub(crate) fn waits(&self, candidate: &RecordId) -> bool {
        self.candidates.contains_key(candidate)
    }

    fn insert(&mut self, key: PublicKey, principal: Principal, role: Role, index: u64) -> &mut KeyFacts {
        let facts = KeyFacts {
            principal,
            role,
            enrolled: index,
            not_before: None,
            not_after: None,
            retired: None,
            revoked: None,
            distrust_from: None,
            last_signed: None,
        };
        if !self.by_material.contains_key(key.material())
            && let Some(holders) = holders(&mut self.authority, &mut self.humans, role)
        {
            holders.gain(&facts.principal);
        }
        &mut self.by_material.entry(*key.material()).or_insert((key, facts)).1
    }

    /// How many principals could agree as the authority without the key `ended` and with one of `added`.
    fn agreeing(&self, ended: Option<PublicKey>, added: Option<&Principal>) -> u64 {
        let ended = ended.and_then(|key| self.get(&key)).filter(|facts| facts.is_live_authority());
        let lost = ended
            .map(|facts| &facts.principal)
            .filter(|principal| self.authority.0.get(*principal) == Some(&1));
        let gained = added.filter(|added| lost == Some(*added) || !self.authority.0.contains_key(*added));
        self.authority.0.len() as u64 - u64::from(lost.is_some()) + u64::from(gained.is_some())
    }

    /// Ends a key, by this change to its facts.
    fn end(&mut self, key: &PublicKey, change: impl FnOnce(&mut KeyFacts)) {
        let Some((_, facts)) = self.by_material.get_mut(key.material()) else { return };
        let was_live = facts.is_live();
        change(facts);
        if was_live
            && !facts.is_live()
            && let Some(holders) = holders(&mut self.authority, &mut self.humans, facts.role)
        {
            holders.lose(&facts.principal);
        }
    }

    /// Whether this principal can sign as a human.
    pub(crate) fn is_human(&self, principal: &Principal) -> bool {
        self.humans.0.contains_key(principal)
    }

    fn apply_change(&mut self, body: &Keyring, index: u64) {
        if let Some(ended) = body.ended() {
            let rotated = body.change == KeyChange::Rotate;
            self.end(&ended, |facts| facts.retired = facts.retired.or(Some(index)));
            if rotated {
                let first = self.first.get(ended.material()).unwrap_or(ended.material()).to_owned();
                self.first.insert(*body.key.material(), first);
                self.latest.insert(first, body.key);
            }
        }
        if body.change != KeyChange::Retire {
            let facts = self.insert(body.key, body.principal.clone(), body.role, index);
            facts.not_before = body.not_before;
            facts.not_after = body.not_after;
        }
        self.groups.insert(body.principal.clone(), body.groups.to_vec());
        self.threshold = body.threshold.map_or(self.threshold, |threshold| threshold.get());
    }
}

/// Who holds keys of this role, where that is counted.
const fn holders<'a>(
    authority: &'a mut Holders,
    humans: &'a mut Holders,
    role: Role,
) -> Option<&'a mut Holders> {
    match role {
        Role::Authority => Some(authority),
        Role::Human => Some(humans),
        Role::Agent | Role::Runtime | Role::Policy | Role::Log => None,
    }
}

/// What a keyring record ends: the key that it retires or replaces.
trait Ended {
    fn ended(&self) -> Option<PublicKey>;
}

impl Ended for Keyring {
    fn ended(&self) -> Option<PublicKey> {
        match self.change {
            KeyChange::Enrol => None,
            KeyChange::Rotate => self.replaces,
            KeyChange::Retire => Some(self.key),
        }
    }
}

/// What R-KEY-01 means for entry 0, which no entry precedes: its signer is one of the roots that it names.
pub(crate) fn genesis_signer_is_root(body: &Genesis, record: &Record) -> Result<(), Fault> {
    let author = record.author();
    let is_signer = |root: &counterfoil_receipt::body::Holder| {
        root.key == author.key && root.principal == author.principal
    };
    if body.authority.roots.0.iter().any(is_signer) {
        return Ok(());
    }
    Err(Fault::violated(Rule::KeyUnknown, format!("signer.key: {} is no root of this genesis", author.key)))
}

/// All rules about the key of a signer, in the order of their ids.
pub(crate) fn signer_may_sign(state: &State, author: &Author, index: u64) -> Result<(), Fault> {
    let facts = key_is_enrolled(state, &author.key)?;
    role_agrees(facts, author)?;
    principal_agrees(facts, author)?;
    key_is_not_retired(facts, &author.key)?;
    key_is_not_revoked(facts, &author.key)?;
    key_is_valid_now(state, facts, &author.key, index)
}

impl State {
    /// Who owns a run, with the key that rotations put in the place of that which it was given to, and whether what it signs next is
    /// admitted.
    pub fn owner(&self, run: &Run) -> (Holder, bool) {
        let Holder { key, principal } = run.owner();
        let key = self.keys.current(*key);
        let author = Author { key, principal: principal.clone(), role: Role::Agent };
        (Holder { key, principal: principal.clone() }, self.signs(&author))
    }

    /// Whether what a principal signs next as a runtime is admitted, with one of their keys.
    pub(crate) fn runtime_signs(&self, runtime: &Principal) -> bool {
        self.runtimes().any(|principal| principal == runtime)
    }

    /// Of each key with which a runtime may sign, whose it is.
    pub(crate) fn runtimes(&self) -> impl Iterator<Item = &Principal> {
        self.keys.by_material.values().filter_map(|(key, facts)| {
            let author = Author { key: *key, principal: facts.principal.clone(), role: Role::Runtime };
            self.signs(&author).then_some(&facts.principal)
        })
    }

    fn signs(&self, author: &Author) -> bool {
        let next = self.entries.len() as u64;
        signer_may_sign(self, author, next).is_ok()
    }
}

/// R-KEY-01: the signer's key is enrolled at an earlier index.
fn key_is_enrolled<'a>(state: &'a State, key: &PublicKey) -> Result<&'a KeyFacts, Fault> {
    state
        .keys
        .get(key)
        .ok_or_else(|| state.absent(Rule::KeyUnknown, format!("signer.key: {key} is not enrolled")))
}

/// R-KEY-02: it is enrolled in the role that the record claims.
fn role_agrees(facts: &KeyFacts, author: &Author) -> Result<(), Fault> {
    if facts.role == author.role {
        return Ok(());
    }
    let detail = format!("signer.role: claims {}, the key is enrolled as {}", author.role, facts.role);
    Err(Fault::violated(Rule::KeyRole, detail))
}

/// R-KEY-03: it is enrolled for the principal that the record claims.
fn principal_agrees(facts: &KeyFacts, author: &Author) -> Result<(), Fault> {
    if facts.principal == author.principal {
        return Ok(());
    }
    let detail =
        format!("signer.principal: claims {}, the key belongs to {}", author.principal, facts.principal);
    Err(Fault::violated(Rule::KeyPrincipal, detail))
}

/// R-KEY-04: it was not retired before.
fn key_is_not_retired(facts: &KeyFacts, key: &PublicKey) -> Result<(), Fault> {
    match facts.retired {
        None => Ok(()),
        Some(at) => {
            Err(Fault::violated(Rule::KeyRetired, format!("signer.key: {key} was retired at entry {at}")))
        }
    }
}

/// R-KEY-05: it was not revoked before.
fn key_is_not_revoked(facts: &KeyFacts, key: &PublicKey) -> Result<(), Fault> {
    match facts.revoked {
        None => Ok(()),
        Some(at) => {
            Err(Fault::violated(Rule::KeyRevoked, format!("signer.key: {key} was revoked at entry {at}")))
        }
    }
}

/// R-KEY-06: log time lies within the key's validity.
fn key_is_valid_now(state: &State, facts: &KeyFacts, key: &PublicKey, index: u64) -> Result<(), Fault> {
    if !facts.has_validity() {
        return Ok(());
    }
    let Some(now) = state.log_time() else {
        return Err(
            state.absent(Rule::KeyValidity, format!("signer.key: no log time is known at entry {index}"))
        );
    };
    if facts.not_after.is_some_and(|until| now > until) {
        let detail = format!("signer.key: {key} is no longer valid at log time {now}");
        return Err(Fault::violated(Rule::KeyValidity, detail));
    }
    if facts.not_before.is_some_and(|from| now < from) {
        // Log time increases: a snapshot that is not shown could mend what is early, never what is late.
        let detail = format!("signer.key: {key} is not yet valid at log time {now}");
        return Err(state.absent(Rule::KeyValidity, detail));
    }
    Ok(())
}

/// R-KEY-06, where the snapshot before the record is not shown to be the last before it.
pub(crate) fn validity_is_not_shown() -> Fault {
    Fault::not_shown(
        Rule::KeyValidity,
        "signer.key: no snapshot after the record shows which was the last before it",
    )
}

/// Every rule about a change to the keyring.
pub(crate) fn change_is_sound(state: &State, body: &Keyring) -> Result<(), Fault> {
    key_is_new(state, body)?;
    ended_key_is_live(state, body)?;
    if body.role == Role::Authority { threshold_is_reachable(authority_after(state, body)) } else { Ok(()) }
}

/// R-KEY-07: an enrolled key is new to the log: never enrolled before, under any prefix, and no note key.
fn key_is_new(state: &State, body: &Keyring) -> Result<(), Fault> {
    if body.change == KeyChange::Retire {
        return Ok(());
    }
    let key = body.key;
    if let Some(facts) = state.keys.get(&key) {
        let detail =
            format!("body.key: {key} is a key of {}, enrolled at entry {}", facts.principal, facts.enrolled);
        return Err(Fault::violated(Rule::KeyReused, detail));
    }
    if state.keys.note_keys.contains(key.material()) {
        return Err(Fault::violated(
            Rule::KeyReused,
            format!("body.key: {key} signs this log's checkpoints"),
        ));
    }
    Ok(())
}

/// R-KEY-08: a rotation or retirement names a live key of that principal and role; a rotation keeps the role.
fn ended_key_is_live(state: &State, body: &Keyring) -> Result<(), Fault> {
    let Some(ended) = body.ended() else { return Ok(()) };
    let Some(facts) = state.keys.get(&ended) else {
        return Err(state.absent(Rule::KeyChange, format!("body: {ended} is not enrolled")));
    };
    let wrong = if facts.principal != body.principal {
        format!("belongs to {}, not to {}", facts.principal, body.principal)
    } else if facts.role != body.role {
        format!("is enrolled as {}, not as {}", facts.role, body.role)
    } else if let Some(at) = facts.retired.or(facts.revoked) {
        format!("ended at entry {at}")
    } else {
        return Ok(());
    };
    Err(Fault::violated(Rule::KeyChange, format!("body: {ended} {wrong}")))
}

/// What the authority's threshold would be after a change to its keys, and how many could then agree.
fn authority_after(state: &State, body: &Keyring) -> (u64, u64) {
    let added = (body.change != KeyChange::Retire).then_some(&body.principal);
    let threshold = body.threshold.map_or(state.keys.threshold, |threshold| threshold.get());
    (threshold, state.keys.agreeing(body.ended(), added))
}

/// R-AUTH-03: the authority's threshold is at most the number of principals that hold a live authority key.
fn threshold_is_reachable((threshold, after): (u64, u64)) -> Result<(), Fault> {
    if threshold <= after {
        return Ok(());
    }
    let detail = format!("body: {threshold} of {after} authority principals can never agree");
    Err(Fault::violated(Rule::ThresholdUnreachable, detail))
}

/// R-AUTH-01: an endorsement names a candidate that still waits for signatures.
pub(crate) fn candidate_waits(state: &State, body: &Endorsement, record: &Record) -> Result<(), Fault> {
    let signer = &record.author().principal;
    match state.keys.candidates.get(&body.candidate) {
        Some(candidate) if !candidate.endorsers.contains(signer) => Ok(()),
        Some(_) => Err(Fault::violated(
            Rule::EndorsementTarget,
            format!("body.candidate: {signer} has already signed {}", body.candidate),
        )),
        None => Err(match state.entries.get(&body.candidate) {
            Some(entry) => Fault {
                rule: Rule::EndorsementTarget,
                shown: entry.fault.unwrap_or(Shown::Violated),
                detail: format!("body.candidate: {} waits for no signature", body.candidate),
            },
            None => state.absent(
                Rule::EndorsementTarget,
                format!("body.candidate: {} is no earlier entry", body.candidate),
            ),
        }),
    }
}

/// Every rule about a revocation.
pub(crate) fn revocation_is_sound(state: &State, body: &Revocation, author: &Author) -> Result<(), Fault> {
    revocation_names_something_live(state, body)?;
    revocation_signer_may(state, body, author)?;
    threshold_survives_revocation(state, body)
}

/// What R-AUTH-03 means for a revocation.
fn threshold_survives_revocation(state: &State, body: &Revocation) -> Result<(), Fault> {
    match ended_authority_key(state, body) {
        Some(key) => threshold_is_reachable((state.keys.threshold, state.keys.agreeing(Some(key), None))),
        None => Ok(()),
    }
}

/// The authority key that a revocation ends, if it ends one.
fn ended_authority_key(state: &State, body: &Revocation) -> Option<PublicKey> {
    match &body.target {
        RevocationTarget::Key(key) => {
            state.keys.get(key).filter(|facts| facts.role == Role::Authority).map(|_| *key)
        }
        RevocationTarget::Delegation(_) => None,
    }
}

/// R-REV-01: a revocation names a key or delegation that exists and was not revoked before, unless it is the first to say
/// `distrust_from`.
fn revocation_names_something_live(state: &State, body: &Revocation) -> Result<(), Fault> {
    match &body.target {
        RevocationTarget::Key(key) => match state.keys.get(key) {
            None => {
                Err(state.absent(Rule::RevocationTarget, format!("body.target.key: {key} is not enrolled")))
            }
            // A thief who revokes the stolen key first must not keep the authority from disputing what it signed.
            Some(KeyFacts { distrust_from: None, .. }) if body.distrust_from.is_some() => Ok(()),
            Some(KeyFacts { revoked: Some(at), .. }) => Err(Fault::violated(
                Rule::RevocationTarget,
                format!("body.target.key: {key} was revoked at entry {at}"),
            )),
            Some(_) => Ok(()),
        },
        RevocationTarget::Delegation(id) => match state.entries.get(id) {
            Some(_) if state.delegations.is_revoked(id) => Err(Fault::violated(
                Rule::RevocationTarget,
                format!("body.target.delegation: {id} was revoked before"),
            )),
            Some(entry) if entry.kind == Type::Delegation => Ok(()),
            Some(entry) => Err(Fault::violated(
                Rule::RevocationTarget,
                format!("body.target.delegation: {id} is {}", with_article(entry.kind.as_str())),
            )),
            None => Err(state
                .absent(Rule::RevocationTarget, format!("body.target.delegation: {id} is no earlier entry"))),
        },
    }
}

/// R-REV-02: it is signed by the authority; or, without `distrust_from`, by the key's own principal; or by whoever signed or holds
/// the delegation.
fn revocation_signer_may(state: &State, body: &Revocation, author: &Author) -> Result<(), Fault> {
    if let RevocationTarget::Delegation(id) = &body.target
        && author.role != Role::Authority
        && state.entries.get(id).is_some_and(|entry| entry.fault == Some(Shown::NotShown))
    {
        let detail = format!("body.target.delegation: whose {id} is, is not shown");
        return Err(Fault::not_shown(Rule::RevocationSigner, detail));
    }
    let owns = match &body.target {
        RevocationTarget::Key(key) => {
            state.keys.get(key).is_some_and(|facts| facts.principal == author.principal)
        }
        RevocationTarget::Delegation(id) => delegation::may_revoke(state, id, author),
    };
    // Whoever could dispute their own past could repudiate it.
    let disputes = body.distrust_from.is_some() && matches!(body.target, RevocationTarget::Key(_));
    if author.role == Role::Authority || (owns && !disputes) {
        return Ok(());
    }
    let detail =
        format!("signer: {} as {} may not revoke this, in these words", author.principal, author.role);
    Err(Fault::violated(Rule::RevocationSigner, detail))
}

/// Applies a record of the authority that was checked.
pub(crate) fn apply(state: &mut State, record: &Record, index: u64) -> Effect {
    match record.body() {
        Body::Keyring(body) => {
            state.keys.heads.insert(body.principal.clone(), record.id());
            propose(state, record, index)
        }
        Body::Endorsement(body) => endorse(state, body, &record.author().principal, index),
        // One signature ends any key but the authority's own: those would let one root put out the others.
        Body::Revocation(body) if ended_authority_key(state, body).is_some() => propose(state, record, index),
        Body::Revocation(body) => revoke(state, body, index),
        _ => Effect::None("not a record of the authority".to_owned()),
    }
}

/// Lets a record of the authority take effect, at once or when enough have endorsed it.
pub(crate) fn propose(state: &mut State, record: &Record, index: u64) -> Effect {
    let author = record.author();
    let is_root = author.role == Role::Authority;
    let endorsers: BTreeSet<Principal> = is_root.then(|| author.principal.clone()).into_iter().collect();
    let prev = match record.place() {
        Place::Chain { prev, .. } => Some(*prev),
        _ => None,
    };
    let candidate = Candidate { body: record.body().clone(), prev, endorsers };
    if candidate.endorsers.len() as u64 >= state.keys.threshold {
        return enact(state, record.id(), &candidate, index);
    }
    state.keys.candidates.insert(record.id(), candidate);
    Effect::Waits
}

fn endorse(state: &mut State, body: &Endorsement, signer: &Principal, index: u64) -> Effect {
    let threshold = state.keys.threshold;
    let Some(candidate) = state.keys.candidates.get_mut(&body.candidate) else {
        return Effect::None("the candidate waits for no signature".to_owned());
    };
    candidate.endorsers.insert(signer.clone());
    if (candidate.endorsers.len() as u64) < threshold {
        return Effect::Waits;
    }
    match state.keys.candidates.remove(&body.candidate) {
        Some(candidate) => enact(state, body.candidate, &candidate, index),
        None => Effect::None("the candidate waits for no signature".to_owned()),
    }
}

/// A candidate takes effect at the index of the signature that completes its threshold, if it is still sound there.
fn enact(state: &mut State, id: RecordId, candidate: &Candidate, index: u64) -> Effect {
    match &candidate.body {
        Body::Delegation(body) => delegation::enact(state, id, body, None, index),
        Body::Keyring(body) => match change_is_sound(state, body) {
            Ok(()) => {
                state.keys.apply_change(body, index);
                Effect::Took
            }
            Err(fault) => Effect::None(fault.to_string()),
        },
        Body::Policy(body) => match state.read_policy(body) {
            Ok((digest, policy)) => {
                // One that repeats the document in force makes it no younger, unless another may have been in force between them.
                let follows_shown = candidate.prev.is_some_and(|prev| state.holds(&prev));
                let is_shown = follows_shown && !state.policy_in_doubt;
                state.policy_in_doubt = false;
                if !is_shown || state.policies.last().is_none_or(|last| last.digest != digest) {
                    state.policies.push(PolicyInForce { from: index, digest, policy });
                }
                Effect::Took
            }
            Err(fault) => Effect::None(fault.to_string()),
        },
        Body::Revocation(body) => {
            let sound = revocation_names_something_live(state, body)
                .and_then(|()| threshold_survives_revocation(state, body));
            match sound {
                Ok(()) => revoke(state, body, index),
                Err(fault) => Effect::None(fault.to_string()),
            }
        }
        _ => Effect::None("nothing that waits for signatures".to_owned()),
    }
}

fn revoke(state: &mut State, body: &Revocation, index: u64) -> Effect {
    let key = match &body.target {
        RevocationTarget::Key(key) => key,
        RevocationTarget::Delegation(id) => return state.delegations.revoke(id, index),
    };
    let first = *state.keys.first.get(key.material()).unwrap_or(key.material());
    state.keys.revoked_lines.entry(first).or_insert(index);
    state.keys.end(key, |facts| {
        facts.revoked.get_or_insert(index);
        facts.distrust_from = body.distrust_from.map(|from| from.get());
    });
    Effect::Took
}

/// R-KEY-09: the record does not lie in a range disputed by a later revocation.
pub(crate) fn disputed(facts: &KeyFacts) -> Option<Fault> {
    let (from, last) = (facts.distrust_from?, facts.last_signed?);
    (last >= from).then(|| {
        let detail =
            format!("what {} signed from entry {from} on is disputed by a revocation", facts.principal);
        Fault::not_shown(Rule::KeyDistrusted, detail)
    })
}
