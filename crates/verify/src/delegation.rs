//! Delegations: who may propose within which bounds, what is used up of them, and what ended (`spec/delegation.md`).
//!
//! A chain leads from a delegation to the one of the authority. No link is trusted to lie within the one above it: an action
//! has to lie within each.

use std::collections::HashMap;

use counterfoil_policy::{Decimal, Request, Scope};
use counterfoil_receipt::{
    Author, Place, Principal, RecordId, Role,
    body::{Audience, Cost, Delegation, Proposal, Spend},
};

use crate::{
    fault::{Fault, Shown},
    keys::Keys,
    record::Record,
    rule::Rule,
    run::ProposalState,
    state::{Effect, State},
};

/// A delegation in effect, and what became of it.
#[derive(Clone, Debug)]
pub struct DelegationState {
    /// The index at which it took effect.
    pub index: u64,
    /// The delegation that it narrows; `None` for one of the authority.
    pub narrows: Option<RecordId>,
    /// Who signed it, if it was not the authority.
    pub issuer: Option<Author>,
    /// What it says.
    pub body: Delegation,
    /// How many executions stand under it.
    pub used: u64,
    /// What they cost, in the currency of its total; zero where it has none.
    pub spent: Decimal,
    scope: Scope,
}

/// Every delegation in effect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delegations {
    by_id: HashMap<RecordId, DelegationState>,
    /// In the order in which they took effect.
    order: Vec<RecordId>,
    /// Who signed each, and to whom it is: also one that still waits for signatures, as below.
    parties: HashMap<RecordId, [Principal; 2]>,
    /// Where each was revoked.
    revoked: HashMap<RecordId, u64>,
}

impl Delegations {
    pub fn get(&self, id: &RecordId) -> Option<&DelegationState> {
        self.by_id.get(id)
    }

    pub fn is_revoked(&self, id: &RecordId) -> bool {
        self.revoked.contains_key(id)
    }

    pub fn revoke(&mut self, id: &RecordId, index: u64) -> Effect {
        self.revoked.entry(*id).or_insert(index);
        Effect::Took
    }

    /// The ids of a chain, from this one up to that of the authority; empty where it is not in effect. What a link narrows is in
    /// effect before it, so this ends.
    pub fn chain(&self, id: &RecordId) -> Vec<RecordId> {
        std::iter::successors(self.by_id.get_key_value(id), |(_, link)| {
            self.by_id.get_key_value(link.narrows.as_ref()?)
        })
        .map(|(id, _)| *id)
        .collect()
    }

    fn links<'a>(
        &'a self,
        chain: &'a [RecordId],
    ) -> impl Iterator<Item = (&'a RecordId, &'a DelegationState)> {
        chain.iter().filter_map(|id| self.by_id.get_key_value(id))
    }

    /// Counts an execution under every link.
    pub fn take(&mut self, chain: &[RecordId], cost: Option<Decimal>) {
        for id in chain {
            if let Some(link) = self.by_id.get_mut(id) {
                link.used += 1;
                // What does not fit was refused before.
                let sum = cost.filter(|_| link.total().is_some()).and_then(|cost| link.spent.plus(cost));
                link.spent = sum.unwrap_or(link.spent);
            }
        }
    }
}

impl DelegationState {
    /// The log times between which it may be used, in milliseconds, if it says so.
    fn validity(&self) -> Option<(u64, u64)> {
        let (from, until) = (self.body.not_before, self.body.not_after);
        (from.is_some() || until.is_some())
            .then(|| (from.map_or(0, |from| from.get()), until.map_or(u64::MAX, |until| until.get())))
    }

    fn total(&self) -> Option<&Cost> {
        self.body.spend.as_ref()?.total.as_ref()
    }
}

impl State {
    /// A delegation in effect.
    pub fn delegation(&self, id: &RecordId) -> Option<&DelegationState> {
        self.delegations.get(id)
    }

    /// Every delegation in effect that took effect below `before`, the newest first.
    pub fn delegations(&self, before: u64) -> impl Iterator<Item = (RecordId, &DelegationState)> {
        let Delegations { by_id, order, .. } = &self.delegations;
        let end = order.partition_point(|id| by_id.get(id).is_some_and(|link| link.index < before));
        order[..end].iter().rev().filter_map(|id| Some((*id, by_id.get(id)?)))
    }

    /// The links of a delegation, from itself up to that of the authority; empty if it is not in effect.
    pub fn chain(&self, delegation: &RecordId) -> Vec<RecordId> {
        self.delegations.chain(delegation)
    }

    /// Whether a delegation may still be narrowed and proposed under. Its validity and what is used up are not looked at.
    ///
    /// # Errors
    /// R-DEL-06, or R-DEL-04 if it is not in effect.
    pub fn is_live(&self, delegation: &RecordId) -> Result<(), Fault> {
        if self.delegation(delegation).is_none() {
            return Err(not_in_effect(self, Rule::DelegationHolder, "delegation", delegation));
        }
        no_link_has_ended(self, &self.chain(delegation), "")
    }

    /// The log times, in milliseconds, in which an execution of this proposal has to lie for the delegations under which it
    /// acts.
    pub(crate) fn validities(&self, proposal: &ProposalState) -> Vec<(u64, u64)> {
        self.delegations.links(&proposal.chain).filter_map(|(_, link)| link.validity()).collect()
    }

    /// The delegates of a chain: they are involved in whatever is proposed under it.
    pub(crate) fn delegates<'a>(&'a self, chain: &'a [RecordId]) -> impl Iterator<Item = &'a Principal> {
        self.delegations.links(chain).map(|(_, link)| &link.body.delegate.principal)
    }
}

/// Every rule of a delegation record.
pub(crate) fn check(state: &State, body: &Delegation, record: &Record) -> Result<(), Fault> {
    let scope = scope_is_readable(body)?;
    let narrows = delegator_signs(state, record)?;
    let Some(narrows) = narrows else { return Ok(()) };
    no_link_has_ended(state, &state.chain(&narrows), "prev: ")?;
    let Some(outer) = state.delegation(&narrows) else { return Ok(()) };
    lies_within(body, &scope, outer)
}

/// Lets a delegation take effect: at once, or with the authority's threshold.
pub(crate) fn apply(state: &mut State, record: &Record, body: &Delegation, index: u64) -> Effect {
    let parties = [record.author().principal.clone(), body.delegate.principal.clone()];
    state.delegations.parties.insert(record.id(), parties);
    match narrowed_by(state, record) {
        None => crate::keys::propose(state, record, index),
        narrows => enact(state, record.id(), body, narrows.map(|id| (id, record.author())), index),
    }
}

/// Lets a delegation take effect at `index`: that of the authority, or one by `above`'s delegate.
pub(crate) fn enact(
    state: &mut State,
    id: RecordId,
    body: &Delegation,
    above: Option<(RecordId, &Author)>,
    index: u64,
) -> Effect {
    let scope = match scope_is_readable(body) {
        Ok(scope) => scope,
        Err(fault) => return Effect::None(fault.to_string()),
    };
    let link = DelegationState {
        index,
        narrows: above.map(|(above, _)| above),
        issuer: above.map(|(_, author)| author.clone()),
        body: body.clone(),
        used: 0,
        spent: Decimal::default(),
        scope,
    };
    state.delegations.order.push(id);
    state.delegations.by_id.insert(id, link);
    Effect::Took
}

/// The delegation that a record narrows; `None` if that is the genesis.
fn narrowed_by(state: &State, record: &Record) -> Option<RecordId> {
    match record.place() {
        Place::Chain { prev, .. } => Some(*prev).filter(|prev| state.log() != Some(*prev)),
        Place::Root | Place::Run { .. } | Place::Single { .. } => None,
    }
}

/// R-DEL-01: the scope of a delegation is in the grammar of this version.
fn scope_is_readable(body: &Delegation) -> Result<Scope, Fault> {
    Scope::read(&body.scope.0)
        .map_err(|why| Fault::violated(Rule::DelegationUnreadable, format!("body.{why}")))
}

/// R-DEL-02: a delegation is signed by the authority, or by the delegate of the one that it narrows, which is in effect.
fn delegator_signs(state: &State, record: &Record) -> Result<Option<RecordId>, Fault> {
    let author = record.author();
    let Some(narrows) = narrowed_by(state, record) else {
        if author.role == Role::Authority {
            return Ok(None);
        }
        let detail =
            format!("signer: {} as {} grants what only the authority may", author.principal, author.role);
        return Err(Fault::violated(Rule::DelegationSigner, detail));
    };
    let Some(outer) = state.delegation(&narrows) else {
        return Err(not_in_effect(state, Rule::DelegationSigner, "prev", &narrows));
    };
    if is_delegate(&state.keys, outer, author) {
        return Ok(Some(narrows));
    }
    let delegate = &outer.body.delegate;
    let detail =
        format!("signer: {} with {}; {narrows} is {}'s", author.principal, author.key, delegate.principal);
    Err(Fault::violated(Rule::DelegationSigner, detail))
}

/// Whether somebody signs as the delegate of this link: with the named key, or the one that rotations put in its place.
fn is_delegate(keys: &Keys, link: &DelegationState, author: &Author) -> bool {
    let delegate = &link.body.delegate;
    author.principal == delegate.principal && author.key == keys.current(delegate.key)
}

/// A delegation that is named and not in effect. It, or what it waits for, may be in a part of the log that is not shown.
fn not_in_effect(state: &State, rule: Rule, field: &str, id: &RecordId) -> Fault {
    let detail = format!("{field}: {id} is no delegation in effect");
    match state.entries.get(id) {
        Some(entry) if entry.fault == Some(Shown::NotShown) => Fault::not_shown(rule, detail),
        Some(_) if state.keys.waits(id) => state.absent(rule, detail),
        Some(_) => Fault::violated(rule, detail),
        None => state.absent(rule, detail),
    }
}

/// R-DEL-03: a delegation lies within the one that it narrows.
fn lies_within(body: &Delegation, scope: &Scope, outer: &DelegationState) -> Result<(), Fault> {
    let fault = |why: String| Err(Fault::violated(Rule::DelegationWidens, format!("body.{why}")));
    if let Err(beyond) = scope.lies_within(&outer.scope) {
        return fault(beyond.to_string());
    }
    let theirs = &outer.body;
    if body.depth.get() >= theirs.depth.get() {
        return fault(format!("depth: {} is not less than {}", body.depth, theirs.depth));
    }
    let at_most = |field: &str, inner: Option<u64>, outer: Option<u64>| match inner.zip(outer) {
        Some((inner, outer)) if inner > outer => Some(format!("{field}: {inner} is over {outer}")),
        _ => None,
    };
    let millis = |time: Option<counterfoil_receipt::field::Millis>| time.map(|time| time.get());
    let wider = at_most("uses", body.uses.map(|uses| uses.get()), theirs.uses.map(|uses| uses.get()))
        .or_else(|| at_most("not_after", millis(body.not_after), millis(theirs.not_after)))
        .or_else(|| {
            let early = at_most("not_before", millis(theirs.not_before), millis(body.not_before));
            early.map(|_| "not_before: is before that of the delegation that it narrows".to_owned())
        })
        .or_else(|| spends_more("per_action", body, theirs, |spend| spend.per_action.as_ref()))
        .or_else(|| spends_more("total", body, theirs, |spend| spend.total.as_ref()))
        .or_else(|| match (&body.audience, &theirs.audience) {
            (Some(inner), Some(outer)) if inner != outer => {
                Some("audience: is not that of the delegation that it narrows".to_owned())
            }
            _ => None,
        });
    wider.map_or(Ok(()), fault)
}

fn spends_more(
    field: &str,
    inner: &Delegation,
    outer: &Delegation,
    member: impl Fn(&Spend) -> Option<&Cost>,
) -> Option<String> {
    let (inner, outer) = (member(inner.spend.as_ref()?)?, member(outer.spend.as_ref()?)?);
    let is_within =
        inner.currency == outer.currency && Decimal::of(&inner.amount) <= Decimal::of(&outer.amount);
    (!is_within).then(|| {
        let (Cost { amount: a, currency: b }, Cost { amount: c, currency: d }) = (inner, outer);
        format!("spend.{field}: {a} {b} is not within {c} {d}")
    })
}

/// R-DEL-04 to R-DEL-06, for a proposal: its delegation is in effect and the proposer's, and the action lies in it.
pub(crate) fn proposal_is_delegated(
    state: &State,
    body: &Proposal,
    author: &Author,
    request: &Request<'_>,
) -> Result<(), Fault> {
    let Some(id) = &body.delegation else { return Ok(()) };
    delegate_proposes(state, id, author)?;
    let chain = state.chain(id);
    action_is_in_every_scope(state, &chain, request)?;
    no_link_has_ended(state, &chain, "body.delegation: ")
}

/// R-DEL-04: a proposal under a delegation is signed by its delegate, and the delegation is in effect.
fn delegate_proposes(state: &State, id: &RecordId, author: &Author) -> Result<(), Fault> {
    let Some(link) = state.delegation(id) else {
        return Err(not_in_effect(state, Rule::DelegationHolder, "body.delegation", id));
    };
    if is_delegate(&state.keys, link, author) {
        return Ok(());
    }
    let detail = format!(
        "signer: {} with {}; delegation {id} is {}'s with {}",
        author.principal,
        author.key,
        link.body.delegate.principal,
        state.keys.current(link.body.delegate.key)
    );
    Err(Fault::violated(Rule::DelegationHolder, detail))
}

/// R-DEL-05: the action of a proposal is in the scope of every link of its delegation.
fn action_is_in_every_scope(state: &State, chain: &[RecordId], request: &Request<'_>) -> Result<(), Fault> {
    match state.delegations.links(chain).find(|(_, link)| !link.scope.holds(request)) {
        None => Ok(()),
        Some((id, link)) => {
            let detail = format!(
                "body.action: {} is not in the scope of delegation {id} to {}",
                request.action.tool, link.body.delegate.principal
            );
            Err(Fault::violated(Rule::DelegationScope, detail))
        }
    }
}

/// R-DEL-06: no link has ended when it is narrowed, proposed under or executed under.
pub(crate) fn no_link_has_ended(state: &State, chain: &[RecordId], field: &str) -> Result<(), Fault> {
    for (id, link) in state.delegations.links(chain) {
        // Whoever signed it is the delegate of the link above it, or the authority.
        let key = &link.body.delegate.key;
        let revoked = state.keys.line_revoked(key).map(|at| {
            format!("a key of the delegate of {id}, {key} or one that rotations connect with it, was revoked at entry {at}")
        });
        let ended = state
            .delegations
            .revoked
            .get(id)
            .map(|at| format!("delegation {id} was revoked at entry {at}"))
            .or(revoked);
        if let Some(why) = ended {
            return Err(Fault::violated(Rule::DelegationEnded, format!("{field}{why}")));
        }
    }
    Ok(())
}

/// The half of R-EXEC-10 that concerns delegations: the runtime is the audience of every link that states one.
pub(crate) fn runtime_is_every_audience(
    state: &State,
    chain: &[RecordId],
    runtime: &Principal,
) -> Result<(), Fault> {
    let is_meant = |audience: &Audience| state.is_audience(audience, runtime);
    let outside = state
        .delegations
        .links(chain)
        .find(|(_, link)| link.body.audience.as_ref().is_some_and(|audience| !is_meant(audience)));
    match outside {
        None => Ok(()),
        Some((id, _)) => {
            let detail = format!("signer.principal: {runtime} is not the audience of delegation {id}");
            Err(Fault::violated(Rule::AudienceMismatch, detail))
        }
    }
}

/// R-DEL-07: cost and number of the executions under each link lie within its `spend` and `uses`. Gives the cost, if a link
/// wants it known. A retry takes nothing, so that nothing has to be left for it; what one action may cost binds it too.
///
/// What other runs took is known to whoever folds the whole log.
pub(crate) fn enough_is_left(
    state: &State,
    proposal: &ProposalState,
    is_retry: bool,
) -> Result<Option<Decimal>, Fault> {
    let fault = |why: String| Err(Fault::violated(Rule::DelegationSpent, format!("body.proposal: {why}")));
    let mut known = None;
    for (id, link) in state.delegations.links(&proposal.chain) {
        if let Some(uses) = link.body.uses
            && !is_retry
            && link.used >= uses.get()
        {
            return fault(format!("delegation {id} grants {uses} uses, and all are taken"));
        }
        let Some(spend) = &link.body.spend else { continue };
        let cost = match state.policy_in_force().map(|(_, policy)| policy.cost(&proposal.request())) {
            Some(Ok(cost)) => cost,
            Some(Err(why)) => return fault(format!("delegation {id} bounds the cost; {why}")),
            None => {
                return fault(format!(
                    "delegation {id} bounds the cost; no policy is in force that knows it"
                ));
            }
        };
        known = Some(cost.amount);
        let nothing = Decimal::default();
        // What a retry costs was added to the total when its use was taken.
        let (before, counts) = if is_retry { (nothing, false) } else { (link.spent, true) };
        let bounds =
            [("an action", &spend.per_action, nothing, true), ("all actions", &spend.total, before, counts)];
        for (what, bound, before, counts) in bounds {
            let Some(bound) = bound else { continue };
            let after = before.plus(cost.amount).filter(|_| cost.currency == bound.currency);
            if after.is_none_or(|after| counts && after > Decimal::of(&bound.amount)) {
                let (amount, currency) = (cost.amount, &cost.currency);
                let taken = if link.total().is_some() && link.spent > Decimal::default() {
                    format!(", {} are taken", link.spent)
                } else {
                    String::new()
                };
                return fault(format!(
                    "{amount} {currency} does not fit: delegation {id} grants {} {} for {what}{taken}",
                    bound.amount, bound.currency
                ));
            }
        }
    }
    Ok(known)
}

/// Whether somebody may revoke a delegation who is not the authority: whoever signed it, and its delegate.
pub(crate) fn may_revoke(state: &State, id: &RecordId, author: &Author) -> bool {
    state.delegations.parties.get(id).is_some_and(|parties| parties.contains(&author.principal))
}
