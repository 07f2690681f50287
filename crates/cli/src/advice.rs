//! What to do about a finding, by its code.

/// What a reader of a verdict does about a finding with this code.
pub fn on(code: &str) -> &'static str {
    match code {
        "json-utf8" | "json-syntax" | "json-not-canonical" | "json-duplicate-key" | "json-surrogate"
        | "json-number-range" | "json-depth" | "json-trailing" => {
            "the bytes are not those that a signer made: fetch the bundle again; if it stays so, whoever made it changed it"
        }
        "record-too-large" | "log-limit" => {
            "the log should never have admitted this record: ask its operator"
        }
        "version-unknown" | "type-unknown" | "scheme-unsupported" => {
            "a newer version may know it: update counterfoil, then verify again"
        }
        "field-unknown" | "field-missing" | "field-invalid" | "envelope-form" | "key-malformed"
        | "parents-order" | "list-order" | "committed-path" | "free-path" | "decision-terms"
        | "decision-voice" => {
            "the record does not follow the specification: whoever signed it uses faulty software"
        }
        "role-not-allowed" => {
            "a key signed what its role may not sign: find out who used it, and consider revoking it"
        }
        "signature-invalid" => {
            "the record was changed after it was signed, or another key signed it: don't act on it"
        }
        "log-mismatch" => "the record belongs to another log and counts for nothing here: it may be replayed",
        "genesis-misplaced" | "not-an-entry" | "statement-repeated" => {
            "the log should never have admitted this record: ask its operator"
        }
        "parent-unknown" | "parent-foreign" | "run-unknown" | "reference-unknown" => {
            "a record names another that is missing or not of this run: get the whole bundle from the log"
        }
        "prev-mismatch" => "a chain of records has a gap or a fork: get the whole bundle from the log",
        "basis-range" | "basis-fork" => {
            "the signer acted on another tree than this log's: keep this bundle, it is evidence of a fork"
        }
        "snapshot-index" | "snapshot-time" | "snapshot-map" | "checkpoint-snapshot" => {
            "the log signed what contradicts itself: keep this bundle, it convicts the log"
        }
        "key-unknown" | "key-role" | "key-principal" => {
            "the signer was not entitled: don't act on the record; ask the authority whether the key should be enrolled"
        }
        "key-retired" | "key-revoked" | "key-validity" => {
            "the key had ended when it signed: have the record made again with a live key"
        }
        "key-reused"
        | "key-change"
        | "endorsement-target"
        | "threshold-unreachable"
        | "revocation-target"
        | "revocation-signer" => {
            "the authority's record changes nothing: have the authority make a sound one"
        }
        "key-distrusted" => "the key may have been stolen when it signed: review by hand what rests on it",
        "authority-not-pinned" => {
            "your trust file pins other authority roots for that entry: update it only if the authority itself tells you so"
        }
        "policy-unreadable" => {
            "the policy can't be applied, so nothing is authorized: have the authority log one that can"
        }
        "delegation-unreadable" | "delegation-widens" => {
            "the delegation grants nothing: have one made that lies within what its signer holds"
        }
        "delegation-signer" | "delegation-holder" => {
            "the signer does not hold the delegation: have its delegate sign, with the key that it names"
        }
        "delegation-scope" => {
            "the delegation is not about this action: propose what it is about, or have another granted"
        }
        "delegation-ended" => {
            "the delegation is over: nothing more is done under it until another is granted"
        }
        "delegation-spent" => {
            "what the delegation grants is used up, or does not suffice: have another granted"
        }
        "not-owner" => "somebody acted on a run that they do not own: a handoff by the owner would allow it",
        "cancel-signer" => "only the owner, the decision's own signer or the authority may withdraw it",
        "handoff-recipient" => "the recipient is no live agent key: hand the run to one that is enrolled",
        "supersede-target" => "the proposal was over already: propose anew, without `supersedes`",
        "decision-action" => "the decision is about another action than the proposal's: don't act on it",
        "action-differs" => "what was executed is not what was approved: treat it as an incident",
        "use-consumed" | "use-exceeded" => {
            "it was executed more often than approved: treat it as an incident"
        }
        "proposal-ended" => "it was executed after somebody had stopped it: treat it as an incident",
        "decision-not-approval" | "quorum-not-met" => {
            "it was executed without enough approvals: treat it as an incident"
        }
        "segregation" => "somebody approved their own request: treat it as an incident",
        "window-closed" => {
            "it was executed outside the approved window, or that it lay inside is not shown: compare clocks and log time"
        }
        "policy-not-in-force" => "the policy changed between decision and execution: have it decided again",
        "audience-mismatch" => "another runtime than the approved one executed it: treat it as an incident",
        "approval-revoked" => "an approver's key was revoked before the execution: have it decided again",
        "terms-exceed-policy" => "a decision grants more than the policy allows: have it decided again",
        "break-glass-refused" => {
            "it was executed without approval, and the policy forbids that: treat it as an incident"
        }
        "policy-denied" | "free-path-refused" => {
            "it was executed, and the policy forbids that: treat it as an incident"
        }
        "preview-missing" => {
            "it was executed without the preview that the policy wants: treat it as an incident"
        }
        "link-approver" => {
            "somebody was named who can't decide: nothing rests on it; find out who holds the policy key"
        }
        "timer-unknown" | "timer-early" | "timer-out-of-turn" => {
            "the server said that a time was out, or whom to ask, when the policy does not: treat it as an incident"
        }
        "retry-refused" => {
            "an execution was tried again that must not be, or too often: treat it as an incident"
        }
        "outcome-signer" => "somebody else than the executing runtime reports an outcome: don't believe it",
        "outcome-settled" | "settlement-open" => {
            "the execution had its conclusive outcome before: believe the first"
        }
        "bundle-header" | "bundle-line" | "bundle-count" => {
            "the file is cut off, damaged or no bundle: fetch it again with `counterfoil bundle RUN --out FILE`"
        }
        "bundle-limit" => "the file is larger than any bundle may be: fetch it again, or ask whoever made it",
        "payload-unused" | "record-unused" => {
            "somebody added to the bundle what does not belong to it: fetch it again from the log"
        }
        "payload-mismatch" => {
            "the payload is not the one that was recorded: don't act on it; fetch the bundle again"
        }
        "genesis-not-pinned" => {
            "this bundle is of another log than your trust file's: check which of the two you meant"
        }
        "checkpoint-signature" => {
            "no log key that your trust file names signed this checkpoint: check `log_keys`, or don't believe the bundle"
        }
        "checkpoint-origin" | "checkpoint-form" => {
            "this is no checkpoint of the log that you trust: fetch the bundle again"
        }
        "inclusion-mismatch" => {
            "the records are not those that the log signed: one was added, changed or removed; fetch the bundle again"
        }
        "consistency-mismatch" => "the log signed two histories: keep this bundle, it convicts the log",
        "witness-quorum" => {
            "fetch a fresher bundle once witnesses have cosigned, or ask for fewer witnesses in the trust file"
        }
        "checkpoint-stale" => "fetch a fresher bundle, or raise `max_age` in the trust file",
        _ => "see spec/rules.md",
    }
}

/// What somebody does whose own record or action was refused with this code. Nothing happened.
pub fn when_refused(code: &str) -> &'static str {
    match code {
        "action-differs" => "do exactly what was proposed, or propose this instead",
        "use-consumed" | "use-exceeded" => "propose it again if it is to be done again",
        "preview-missing" => {
            "have its preview executed first, then propose it anew after that outcome: docs/policy.md, \"Looking before doing\""
        }
        "preview-unsupported" => {
            "say --preview if the command changes nothing where COUNTERFOIL_PREVIEW is 1"
        }
        "outcome-unknown" => {
            "look at what it changed, and say what became of it: `counterfoil settle`; then propose it again if it is to be done again"
        }
        "proposal-ended" | "supersede-target" => "it was rejected, withdrawn or replaced: propose anew",
        "decision-not-approval" | "quorum-not-met" | "segregation" => {
            "have it approved by enough people who neither asked for it nor execute it"
        }
        "window-closed" | "policy-not-in-force" | "approval-revoked" | "terms-exceed-policy" => {
            "have it decided again, under the policy in force: `counterfoil approve RUN`"
        }
        "policy-denied" => {
            "propose something that the policy lets be done: `counterfoil policy explain` says why"
        }
        "free-path-refused" => "propose it again with that argument bound",
        "delegation-widens" => {
            "let it lie within the delegation that it narrows: `counterfoil delegation show` says what that is"
        }
        "delegation-signer" | "delegation-holder" => {
            "sign with the key of the delegate, or use a delegation of your own"
        }
        "delegation-scope" | "delegation-spent" => {
            "ask for what the delegation grants, or for another: `counterfoil delegation show` says what is left"
        }
        "delegation-ended" => {
            "ask for another delegation: `counterfoil delegation show` says what ended this one"
        }
        "audience-mismatch" => "the proposal names who may execute it: use that key",
        "not-owner" => "sign with the key of the run's owner, or have the owner hand it over",
        "role-not-allowed" | "key-unknown" | "key-role" | "key-principal" | "key-retired" | "key-revoked"
        | "key-validity" => "use a live key of the right role, or have the authority enrol this one",
        "statement-repeated" => "it is in the log already; to say it anew, make a new record",
        "prev-mismatch" => "another record came first: make it anew on the state of now",
        "parent-unknown" | "parent-foreign" | "run-unknown" | "reference-unknown" => {
            "submit what it names first, and check the ids with `counterfoil record show`"
        }
        "evidence-incomplete" | "evidence-foreign" => {
            "nothing was run; look at the run with `counterfoil verify`"
        }
        "not-a-runtime" => "name a key of role runtime with --key",
        "policy-differs" => {
            "have the authority put that policy in force, or name with --policy the one that is meant"
        }
        "outcome-settled" | "settlement-open" => {
            "its outcome is known already: `counterfoil resume RUN` shows it"
        }
        _ => "nothing happened; spec/rules.md says what must hold",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_code_has_advice() {
        let intrinsic = counterfoil_receipt::Code::ALL.iter().map(|code| code.code());
        let others = counterfoil_verify::Rule::ALL.iter().map(|rule| rule.code());
        for code in intrinsic.chain(others) {
            assert_ne!(super::on(code), super::on(""), "{code}");
        }
    }
}
