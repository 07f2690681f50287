//! Where a record stands: in this log, in its run, in its chain, on its basis.

use counterfoil_receipt::{Body, Place, PolicyDigest, RecordId, body::Type};

use crate::{
    fault::{Fault, Shown},
    record::Record,
    rule::Rule,
    state::{Entry, Roots, Scope, State},
};

/// R-LOG-01: `log` is the id of this log's genesis.
pub(crate) fn log_is_this(state: &State, record: &Record) -> Result<(), Fault> {
    let Some(claimed) = record.log() else { return Ok(()) };
    match state.log() {
        Some(log) if log == claimed => Ok(()),
        Some(log) => {
            Err(Fault::violated(Rule::LogMismatch, format!("log: claims {claimed}, this log is {log}")))
        }
        None => {
            Err(state.absent(Rule::LogMismatch, format!("log: claims {claimed}, and no genesis is there")))
        }
    }
}

/// R-LOG-02: entry 0 is a genesis, and no other entry is.
pub(crate) fn genesis_is_first(record: &Record, index: u64) -> Result<(), Fault> {
    let kind = record.kind();
    if (kind == Type::Genesis) == (index == 0) {
        return Ok(());
    }
    Err(Fault::violated(
        Rule::GenesisMisplaced,
        format!("type: {} stands at index {index}", with_article(kind.as_str())),
    ))
}

/// R-LOG-05: a rejection is not logged.
pub(crate) fn is_an_entry(record: &Record) -> Result<(), Fault> {
    if record.kind() == Type::Rejection {
        return Err(Fault::violated(Rule::NotAnEntry, "type: a rejection is an answer, never an entry"));
    }
    Ok(())
}

/// R-LOG-04: the record's bytes and its run's records lie within the genesis's limits.
pub(crate) fn log_limits_hold(state: &State, record: &Record) -> Result<(), Fault> {
    let Some(log) = &state.log else { return Ok(()) };
    let (bytes, most) = (record.bytes().len() as u64, log.body.limits.record_bytes.get());
    if bytes > most {
        return Err(Fault::violated(Rule::LogLimit, format!("{bytes} bytes; this log takes at most {most}")));
    }
    let most = log.body.limits.run_records.get();
    let records = record.run().and_then(|run| state.runs.get(&run)).map_or(0, |run| run.count());
    if records >= most {
        return Err(Fault::violated(
            Rule::LogLimit,
            format!("run: has {records} records; this log takes at most {most}"),
        ));
    }
    Ok(())
}

/// R-CHAIN-03: `run` is the id of an earlier trigger.
pub(crate) fn run_is_known(state: &State, record: &Record) -> Result<(), Fault> {
    let Place::Run { run, .. } = record.place() else { return Ok(()) };
    if state.runs.contains_key(run) {
        return Ok(());
    }
    match state.entries.get(&run.trigger()) {
        Some(entry) if entry.fault == Some(Shown::NotShown) => Err(Fault::not_shown(
            Rule::RunUnknown,
            format!("run: the trigger {run} is not shown to be sound"),
        )),
        Some(_) => Err(Fault::violated(Rule::RunUnknown, format!("run: {run} is no sound trigger"))),
        None => Err(Fault::violated(Rule::RunUnknown, format!("run: {run} is no earlier entry"))),
    }
}

/// R-CHAIN-01: every parent is an earlier entry.
pub(crate) fn parents_are_earlier(state: &State, record: &Record) -> Result<(), Fault> {
    record.parents().iter().try_for_each(|parent| {
        earlier_of_the_run(state, parent).map(|_| ()).map_err(|shown| Fault {
            rule: Rule::ParentUnknown,
            shown,
            detail: format!("parents: {parent} is no earlier entry that holds"),
        })
    })
}

/// R-CHAIN-02: every parent belongs to the same run.
pub(crate) fn parents_are_of_the_run(state: &State, record: &Record) -> Result<(), Fault> {
    let foreign = |parent: &&RecordId| {
        state.entries.get(*parent).is_some_and(|entry| entry.run.is_none() || entry.run != record.run())
    };
    match record.parents().iter().find(foreign) {
        None => Ok(()),
        Some(parent) => {
            Err(Fault::violated(Rule::ParentForeign, format!("parents: {parent} belongs to another run")))
        }
    }
}

/// R-CHAIN-04: records named in the body are earlier entries of the same run, of the type that the field wants.
pub(crate) fn references_are_earlier(state: &State, record: &Record) -> Result<(), Fault> {
    for (field, id, kinds) in references(record.body()) {
        let fault = |shown, why: &str| Fault {
            rule: Rule::ReferenceUnknown,
            shown,
            detail: format!("body.{field}: {id} {why}"),
        };
        let entry =
            earlier_of_the_run(state, &id).map_err(|shown| fault(shown, "is no earlier entry that holds"))?;
        if entry.run != record.run() {
            return Err(fault(Shown::Violated, "belongs to another run"));
        }
        if !kinds.contains(&entry.kind) {
            return Err(fault(Shown::Violated, &format!("is {}", with_article(entry.kind.as_str()))));
        }
    }
    Ok(())
}

/// The records that a body names, with the field and the types that may stand there.
fn references(body: &Body) -> Vec<(&'static str, RecordId, &'static [Type])> {
    const PROPOSAL: &[Type] = &[Type::Proposal];
    const DECISION: &[Type] = &[Type::Decision];
    const EXECUTION: &[Type] = &[Type::Execution];
    match body {
        Body::Proposal(body) => body.supersedes.iter().map(|id| ("supersedes", *id, PROPOSAL)).collect(),
        Body::Decision(body) => vec![("proposal", body.proposal, PROPOSAL)],
        Body::Escalation(body) => vec![("proposal", body.proposal, PROPOSAL)],
        Body::Cancel(body) => vec![("target", body.target, &[Type::Proposal, Type::Decision])],
        Body::Execution(body) => {
            let decisions = body.decisions.iter().map(|id| ("decisions", *id, DECISION));
            let retries = body.retries.iter().map(|id| ("retries", *id, EXECUTION));
            [("proposal", body.proposal, PROPOSAL)].into_iter().chain(decisions).chain(retries).collect()
        }
        Body::Outcome(body) => vec![("execution", body.execution, EXECUTION)],
        Body::Refusal(body) => {
            let decisions = body.decisions.iter().flat_map(|ids| ids.iter());
            let decisions = decisions.map(|id| ("decisions", *id, DECISION));
            body.proposal.iter().map(|id| ("proposal", *id, PROPOSAL)).chain(decisions).collect()
        }
        Body::Settlement(body) => vec![("execution", body.execution, EXECUTION)],
        Body::Handoff(body) => {
            const OPEN: &[Type] = &[Type::Proposal, Type::Execution];
            body.open.iter().map(|id| ("open", *id, OPEN)).collect()
        }
        Body::Genesis(_)
        | Body::Snapshot(_)
        | Body::Keyring(_)
        | Body::Policy(_)
        | Body::Endorsement(_)
        | Body::Delegation(_)
        | Body::Revocation(_)
        | Body::Trigger(_)
        | Body::Observation(_)
        | Body::Rejection(_) => Vec::new(),
    }
}

/// An earlier entry of a run that took its place in the fold. A bundle holds every record of its run, so one that is not there was
/// taken out.
fn earlier_of_the_run<'a>(state: &'a State, id: &RecordId) -> Result<&'a Entry, Shown> {
    if state.entries.contains_key(id) { earlier(state, id) } else { Err(Shown::Violated) }
}

/// An earlier entry that took its place in the fold.
fn earlier<'a>(state: &'a State, id: &RecordId) -> Result<&'a Entry, Shown> {
    match state.entries.get(id) {
        Some(entry) => entry.fault.map_or(Ok(entry), Err),
        None if state.scope() == Scope::Complete => Err(Shown::Violated),
        None => Err(Shown::NotShown),
    }
}

/// R-CHAIN-05: `prev` is the head of its chain.
///
/// Where only some entries are shown, an unshown `prev` may be the head; a shown one that is not can't.
pub(crate) fn prev_is_head(state: &State, record: &Record) -> Result<(), Fault> {
    let Place::Chain { prev, .. } = record.place() else { return Ok(()) };
    let head = match record.body() {
        Body::Snapshot(_) => state.snapshot_head(),
        Body::Policy(_) => state.policy_head(),
        Body::Keyring(body) => state.keyring_head(&body.principal),
        Body::Delegation(_) => return narrowed_is_earlier(state, prev),
        _ => return Ok(()),
    };
    // One in doubt may be the head as well.
    let in_doubt = |entry: &Entry| entry.fault == Some(Shown::NotShown);
    let unshown = state.scope() == Scope::Shown && state.entries.get(prev).is_none_or(in_doubt);
    if head == Some(*prev) || unshown {
        return Ok(());
    }
    let head = head.map_or_else(|| "nothing".to_owned(), |head| head.to_string());
    Err(Fault::violated(Rule::PrevMismatch, format!("prev: claims {prev}, the head of the chain is {head}")))
}

/// A delegation's `prev` is the genesis or the delegation that it narrows; whether that is in effect is R-DEL-02.
fn narrowed_is_earlier(state: &State, prev: &RecordId) -> Result<(), Fault> {
    let fault = |detail: String| Err(Fault::violated(Rule::PrevMismatch, detail));
    match state.entries.get(prev).map(|entry| entry.kind) {
        Some(Type::Genesis | Type::Delegation) => Ok(()),
        Some(kind) => fault(format!("prev: {prev} is {}", with_article(kind.as_str()))),
        None if state.scope() == Scope::Shown => Ok(()),
        None => fault(format!("prev: {prev} is no earlier entry")),
    }
}

/// Whether a snapshot names the last snapshot that was folded: no other lies between them.
pub(crate) fn prev_follows_last_snapshot(state: &State, record: &Record) -> bool {
    matches!(record.place(), Place::Chain { prev, .. } if state.snapshot_head() == Some(*prev))
}

/// R-BASIS-01: the basis covers what the record names and is not larger than the record's index. An execution that stands on the policy alone
/// need not have seen its proposal in the log, but that policy.
pub(crate) fn basis_is_in_range(state: &State, record: &Record, index: u64) -> Result<(), Fault> {
    let Some(basis) = record.body().basis() else { return Ok(()) };
    let size = basis.size.get();
    if size > index {
        return Err(Fault::violated(
            Rule::BasisRange,
            format!("body.basis.size: claims {size}, stands at {index}"),
        ));
    }
    if let Some(policy) = stands_on_the_policy_alone(record.body()) {
        return basis_covers_the_policy(state, policy, size);
    }
    let uncovered = |id: &RecordId| state.index_of(id).is_some_and(|named| named >= size);
    match references(record.body()).into_iter().find(|(_, id, _)| uncovered(id)) {
        None => Ok(()),
        Some((field, id, _)) => Err(Fault::violated(
            Rule::BasisRange,
            format!("body.basis.size: {size} does not cover {field} {id}"),
        )),
    }
}

/// The basis covers the entry by which the policy took effect that is in force, if that is the one named; R-EXEC-09 asks whether it is.
fn basis_covers_the_policy(state: &State, named: &PolicyDigest, size: u64) -> Result<(), Fault> {
    match state.policies.last() {
        Some(policy) if !state.policy_in_doubt && policy.digest == *named && policy.from >= size => {
            let from = policy.from;
            let why = format!(
                "body.basis.size: {size} does not cover entry {from}, by which body.policy took effect"
            );
            // Where a bundle leaves policies out, one looks younger than it is.
            Err(state.absent(Rule::BasisRange, why))
        }
        _ => Ok(()),
    }
}

/// The policy of an execution that names nobody's decision, no reason to go without, and nothing that it tries again.
fn stands_on_the_policy_alone(body: &Body) -> Option<&PolicyDigest> {
    match body {
        Body::Execution(body) => {
            let is_alone = body.decisions.is_empty() && body.break_glass.is_none() && body.retries.is_none();
            is_alone.then_some(&body.policy)
        }
        _ => None,
    }
}

/// R-BASIS-02: the root of the basis is the root of the log at that size.
pub(crate) fn basis_is_no_fork(record: &Record, roots: &dyn Roots) -> Result<(), Fault> {
    let Some(basis) = record.body().basis() else { return Ok(()) };
    match roots.root_at(basis.size.get()) {
        Some(root) if root != *basis.root.as_bytes() => {
            let root = counterfoil_receipt::Root::from_bytes(root);
            let detail =
                format!("body.basis.root: claims {}, the log's root at {} is {root}", basis.root, basis.size);
            Err(Fault::violated(Rule::BasisFork, detail))
        }
        // A root that is not at hand can't be compared; inclusion is shown by checkpoints, not by the basis.
        _ => Ok(()),
    }
}

/// The name of a type or role behind its indefinite article.
pub(crate) fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}
