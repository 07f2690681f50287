//! The token of a binding: what stands before the thing itself, and is handed evidence by a runtime that it need not believe.

use counterfoil_receipt::{Action, Principal, RecordId, RunId, field::Millis};
use counterfoil_verify::{
    Answer, Dimension, ExecutionState, Ground, ProposalState, Rule, Trust, Verdict, verify,
};

use crate::{decide::Refusal, effect::Attempt};

/// What evidence has to show, whatever the trust file wants besides.
const SHOWN: [Dimension; 5] = [
    Dimension::Integrity,
    Dimension::Authority,
    Dimension::Conformity,
    Dimension::Inclusion,
    Dimension::Freshness,
];

/// What whoever calls a binding says: this is to be done, and that execution is its receipt.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The execution that is the receipt.
    pub execution: RecordId,
    /// The action that is about to be done; must be the one approved, byte for byte.
    pub action: &'a Action,
    /// The runtime for which the binding acts, by the binding's own configuration and not the caller's word.
    pub runtime: &'a Principal,
}

/// An approved execution without an end so far, of exactly one action, by one runtime, shown to be in the log now. Only
/// [`prove`] makes one, and [`Proven::run`] consumes it.
///
/// It does not say that this is the first time that somebody shows it: before it runs, a binding notes
/// [`Attempt::idempotency_key`] where no other process can note it too.
///
/// ```compile_fail
/// fn twice(proven: counterfoil_gate::Proven) {
///     proven.run(|_, _| ());
///     proven.run(|_, _| ());
/// }
/// ```
///
/// ```compile_fail
/// fn forge(proven: counterfoil_gate::Proven, action: counterfoil_receipt::Action) -> counterfoil_gate::Proven {
///     counterfoil_gate::Proven { action, ..proven }
/// }
/// ```
#[derive(Debug)]
#[must_use = "an execution was shown, and nothing done yet"]
pub struct Proven {
    run: RunId,
    attempt: Attempt,
    action: Action,
}

/// Verifies a bundle at `now`, by the binding's own trust and clock, and says whether it shows the approved execution that is claimed.
///
/// Besides what the trust requires, *integrity*, *authority*, *conformity*, *inclusion* and *freshness* have to be shown: a trust file without
/// `max_age` proves nothing here. Whatever people did not approve, the policy's own leave and broken glass too, is refused.
///
/// ```
/// use counterfoil_gate::{Claim, prove};
/// use counterfoil_receipt::{Action, Principal, RecordId, field::Millis};
/// use counterfoil_verify::Trust;
///
/// /// Deploys what people approved; gives why not otherwise.
/// fn deploy(bundle: &[u8], trust: &str, receipt: &str, action: &str, now: Millis) -> Result<(), String> {
///     let trust = Trust::parse(trust).map_err(|why| why.to_string())?;
///     let execution = RecordId::parse(receipt).ok_or("no id of a record")?;
///     let action = Action::parse(action.as_bytes()).map_err(|why| why.to_string())?;
///     let runtime = Principal::new("runtime").ok_or("no principal")?;
///     let claim = Claim { execution, action: &action, runtime: &runtime };
///     let proven = prove(bundle, &trust, &claim, now).map_err(|refusal| refusal.code)?;
///     // Here the key is noted on disk, by `create_new` say: whoever comes second deploys nothing.
///     proven.run(|action, attempt| println!("{} under {}", action.tool, attempt.idempotency_key));
///     Ok(())
/// }
///
/// let trust = include_str!("../../../examples/bundles/trust.toml");
/// let (receipt, action) = (format!("sha256:{}", "0".repeat(64)), r#"{"arguments":{},"mode":"apply","tool":"deploy"}"#);
/// let refused = deploy(b"", trust, &receipt, action, Millis::new(1_795_273_701_000).unwrap());
/// assert_eq!(refused.unwrap_err(), "bundle-count");
/// ```
///
/// # Errors
/// [`Refusal`], with the code of the rule that does not hold, or `evidence-incomplete`, `execution-not-shown`, `runtime-differs`,
/// `not-approved`. Nothing may be done then.
pub fn prove(bundle: &[u8], trust: &Trust, claim: &Claim<'_>, now: Millis) -> Result<Proven, Refusal> {
    let verdict = verify(bundle, trust, now.get());
    suffices(&verdict, trust)?;
    let id = claim.execution;
    let absent = |what: &str| Refusal::new("execution-not-shown", format!("{id} {what}"));
    let run_id = verdict.run_id().ok_or_else(|| absent("is of a run that is not shown"))?;
    let run = verdict.state().run(&run_id).ok_or_else(|| absent("is of a run that is not shown"))?;
    let execution = run.execution(&id).ok_or_else(|| absent("is no execution of the run that is shown"))?;
    let proposal =
        run.proposal(&execution.proposal).ok_or_else(|| absent("executes a proposal that is not shown"))?;
    is_claimed(claim, execution, proposal)?;
    is_open(&id, execution, proposal, now)?;
    let attempt = Attempt { execution: id, idempotency_key: execution.first };
    Ok(Proven { run: run_id, attempt, action: proposal.action.clone() })
}

/// That all is shown that has to be, and nothing violated.
fn suffices(verdict: &Verdict, trust: &Trust) -> Result<(), Refusal> {
    for dimension in Dimension::ALL {
        let is_needed = SHOWN.contains(&dimension) || trust.require().contains(&dimension);
        let finding = || verdict.findings().iter().find(|finding| finding.dimension == dimension);
        let why = match verdict.answer(dimension) {
            Answer::Pass(_) => continue,
            Answer::NotShown(_) if !is_needed => continue,
            Answer::NotShown(why) => why.clone(),
            Answer::Fail => "fails".to_owned(),
        };
        let code = finding().map_or("evidence-incomplete", |finding| finding.code);
        let detail = finding().map_or(why, ToString::to_string);
        return Err(Refusal::new(code, format!("{dimension}: {detail}")));
    }
    Ok(())
}

/// That people approved exactly this action, and this runtime executes it.
fn is_claimed(
    claim: &Claim<'_>,
    execution: &ExecutionState,
    proposal: &ProposalState,
) -> Result<(), Refusal> {
    let id = claim.execution;
    if let Some(difference) = proposal.action.first_difference(claim.action) {
        let show = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        let (approved, asked) = (show(difference.left), show(difference.right));
        let detail = format!("{} is {approved} in what was approved, and {asked} here", difference.path);
        return Err(Refusal::new(Rule::ActionDiffers.code(), detail));
    }
    if execution.runtime != *claim.runtime {
        let detail = format!("{id} is by {}, and not by {}", execution.runtime, claim.runtime);
        return Err(Refusal::new("runtime-differs", detail));
    }
    if execution.ground != Ground::Approved || execution.decisions.is_empty() {
        let detail = format!("nobody approved {id}: it stands on {}", execution.ground.as_str());
        return Err(Refusal::new("not-approved", detail));
    }
    Ok(())
}

/// That nothing has ended it: no other execution, nobody, no outcome and no time.
fn is_open(
    id: &RecordId,
    execution: &ExecutionState,
    proposal: &ProposalState,
    now: Millis,
) -> Result<(), Refusal> {
    let use_number = execution.use_number;
    if proposal.uses.get(&use_number) != Some(id) {
        let detail = format!("use {use_number} of {} is held by another than {id}", execution.proposal);
        return Err(Refusal::new(Rule::UseConsumed.code(), detail));
    }
    // Somebody who stops it once it was logged is heeded too: nothing was done yet.
    if let Some((at, end)) = proposal.ended {
        let detail = format!("{} ended at entry {at}: {end:?}", execution.proposal);
        return Err(Refusal::new(Rule::ProposalEnded.code(), detail));
    }
    if let Some(status) = execution.status() {
        return Err(Refusal::new(Rule::OutcomeSettled.code(), format!("{id} is {status} already")));
    }
    let is_inside = |(from, until): &(u64, u64)| (*from..=*until).contains(&now.get());
    if execution.windows.is_empty() || !execution.windows.iter().all(is_inside) {
        let detail = format!("{now} lies outside the time that {id} was approved for");
        return Err(Refusal::new(Rule::WindowClosed.code(), detail));
    }
    Ok(())
}

impl Proven {
    /// The run that it is of.
    pub const fn run_id(&self) -> RunId {
        self.run
    }

    /// What it is known by, to be noted before it runs.
    pub const fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Lets the effect happen. It is given the approved action, and what it is known by.
    pub fn run<T>(self, effect: impl FnOnce(&Action, &Attempt) -> T) -> T {
        effect(&self.action, &self.attempt)
    }
}
