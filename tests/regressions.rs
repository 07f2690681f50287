//! Defects that were found, each named after what went wrong.

use counterfoil_receipt::{
    PublicKey, RecordId, Role, RunId, UnverifiedRecord,
    body::{BreakGlass, Cancel, Endorsement, KeyChange, Revocation, RevocationTarget, Ruling},
    field::{Set, Whole},
};
use counterfoil_testkit::{
    Actor, NoRoots, Scenario, action, delegation, enrolment, policy_document, text, witness,
};
use counterfoil_verify::{Answer, Conclusion, Dimension, Effect, ProposalStatus, Trust, Verifier, verify};
use serde_json::json;

/// Only the header's claim was compared with the pinned genesis, not entry 0.
#[test]
fn a_header_that_claims_the_pinned_genesis_hid_another() {
    let pinned = Scenario::new();
    let mut impostor = Scenario::founded(|genesis| genesis.limits.run_records = Whole::new(999).unwrap());
    impostor.enrol_cast();
    impostor.set_policy(counterfoil_testkit::policy_document(2));
    impostor.ledger.close();
    let run = impostor.approved_run();
    let mut assembly = impostor.ledger.assembly(run);
    assembly.log = pinned.ledger.log();
    let trust = pinned.ledger.trust().trust();
    let verdict = verify(&assembly.to_bytes().unwrap(), &trust, 0);
    let codes: Vec<_> = verdict.findings().iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"genesis-not-pinned"), "{codes:?}");
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Violated);
}

/// A bundle left out the keyring records of roots that had signed nothing, though `spec/bundle.md` has them.
#[test]
fn keyring_records_of_a_silent_root_were_left_out() {
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    let mut retirement = enrolment(&scenario.cast.spare_root, &[]);
    retirement.change = KeyChange::Retire;
    let root = scenario.cast.root.clone();
    let retirement: RecordId = scenario.ledger.add(&root, None, retirement);
    scenario.ledger.close();
    let index = scenario.ledger.state().index_of(&retirement).unwrap();
    let assembly = scenario.ledger.assembly(run);
    assert!(assembly.entries.iter().any(|(at, _)| *at == index));
}

/// Payloads of an item set were taken off the count of single items, so the count of undisclosed ones came out too small.
#[test]
fn a_disclosed_set_hid_an_undisclosed_item() {
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    scenario.observe(run);
    scenario.ledger.close();
    let mut assembly = scenario.ledger.assembly(run);
    assert_eq!(assembly.payloads.len(), 3, "one item and a set of two");
    assembly.payloads.retain(|line| line.set.is_some());
    let trust = scenario.ledger.trust().trust();
    assert_eq!(verify(&assembly.to_bytes().unwrap(), &trust, 0).undisclosed(), 1);
    assembly.payloads.clear();
    assert_eq!(verify(&assembly.to_bytes().unwrap(), &trust, 0).undisclosed(), 3);
}

/// A count over its limit was called a malformed header (R-BUN-01), not a limit (R-BUN-04).
#[test]
fn a_count_over_its_limit_was_called_malformed() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    let bundle = String::from_utf8(scenario.ledger.bundle(run)).unwrap();
    let trust = scenario.ledger.trust().trust();
    for (member, limit) in [("checkpoints", 4_096u64), ("documents", 4_096), ("payloads", 65_536)] {
        for (count, codes) in [(limit, "bundle-"), (limit + 1, "bundle-limit")] {
            let mut header: serde_json::Value = serde_json::from_str(bundle.lines().next().unwrap()).unwrap();
            header[member] = json!(count);
            let rest = bundle.split_once('\n').unwrap().1;
            let verdict = verify(format!("{header}\n{rest}").as_bytes(), &trust, 0);
            let code = verdict.findings()[0].code;
            assert!(code.starts_with(codes), "{member} {count}: {code}");
            assert_eq!(code == "bundle-limit", count > limit, "{member} {count}: {code}");
        }
    }
}

/// Where a checkpoint could not be opened, the snapshot that ends it was called unused: a key that the reader does not pin
/// made *integrity* fail too.
#[test]
fn an_unpinned_log_key_made_a_snapshot_unused() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    let mut trust = scenario.ledger.trust();
    let stranger = counterfoil_tlog::SeedSigner::ed25519(&trust.origin, &[7; 32]).unwrap();
    trust.log_keys = vec![counterfoil_tlog::Signer::key(&stranger).to_string()];
    trust.witnesses = "quorum none\n".to_owned();
    let verdict = verify(&scenario.ledger.bundle(run), &trust.trust(), 0);
    assert_eq!(*verdict.answer(Dimension::Inclusion), Answer::Fail);
    assert!(matches!(verdict.answer(Dimension::Integrity), Answer::Pass(_)), "{:#?}", verdict.findings());
}

/// A log whose authority has three roots of which two must agree, with an agent and a runtime.
fn under_three_roots() -> (Scenario, Actor) {
    let third = Actor::new("third-root", Role::Authority);
    let mut scenario = Scenario::founded(|genesis| {
        genesis.authority.threshold = Whole::new(2).unwrap();
        genesis.authority.roots.0.push(third.holder());
    });
    let (root, spare) = (scenario.cast.root.clone(), scenario.cast.spare_root.clone());
    for actor in [scenario.cast.scout.clone(), scenario.cast.gate.clone()] {
        let candidate = scenario.ledger.add(&root, None, enrolment(&actor, &[]));
        scenario.ledger.add(&spare, None, Endorsement { candidate });
    }
    scenario.ledger.close();
    (scenario, third)
}

fn revocation(key: PublicKey, distrust_from: Option<u64>) -> Revocation {
    let distrust_from = distrust_from.map(|from| Whole::new(from).unwrap());
    Revocation { distrust_from, reason: None, target: RevocationTarget::Key(key) }
}

/// A bundle left out the endorsement that completes the revocation of an authority key, so a reader took what the key had signed for
/// undisputed.
#[test]
fn a_revocation_came_without_its_endorsement() {
    let (mut scenario, third) = under_three_roots();
    let (root, spare) = (scenario.cast.root.clone(), scenario.cast.spare_root.clone());
    let run = scenario.trigger();
    scenario.observe(run);
    let candidate = scenario.ledger.add(&spare, None, revocation(root.key(), Some(1)));
    scenario.ledger.add(&third, None, Endorsement { candidate });
    scenario.ledger.close();
    let trust = scenario.ledger.trust().requiring(&[Dimension::Authority]).trust();
    let verdict = verify(&scenario.ledger.bundle(run), &trust, 0);
    assert!(verdict.state().key(&root.key()).unwrap().revoked.is_some());
    let codes: Vec<_> = verdict.findings().iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"key-distrusted"), "{codes:?}");
    assert_eq!(verdict.conclude(trust.require()), Conclusion::NotShown);
}

/// Revocations that were proposed while they left enough roots took effect when they no longer did.
#[test]
fn endorsed_revocations_left_an_authority_that_can_not_agree() {
    let (mut scenario, third) = under_three_roots();
    let (root, spare) = (scenario.cast.root.clone(), scenario.cast.spare_root.clone());
    let proposed: Vec<RecordId> = [spare.key(), third.key()]
        .into_iter()
        .map(|key| scenario.ledger.add(&root, None, revocation(key, None)))
        .collect();
    scenario.ledger.add(&third, None, Endorsement { candidate: proposed[0] });
    scenario.ledger.add(&third, None, Endorsement { candidate: proposed[1] });
    let live = |actor: &Actor| scenario.ledger.state().key(&actor.key()).unwrap().revoked.is_none();
    assert!(!live(&spare), "two of three roots are left");
    assert!(live(&third), "one of two could never agree with itself");
}

/// After a line that could not be read, the end of the proof was judged all the same, on more than one thread only.
#[test]
fn the_verdict_of_an_unreadable_bundle_depended_on_the_number_of_threads() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    scenario.ledger.close();
    let trust = scenario.ledger.trust().trust();
    let bundle = String::from_utf8(scenario.ledger.bundle(run)).unwrap();
    let last = bundle.lines().rfind(|line| line.starts_with(r#"{"index":"#)).unwrap();
    let broken = bundle.replace(last, "{}");
    let findings = |threads: usize| {
        let mut verifier = Verifier::new(&trust, threads.try_into().unwrap());
        broken.lines().for_each(|line| verifier.line(line.as_bytes()));
        verifier.finish(0).findings().iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(findings(1), findings(2));
    assert_eq!(findings(2), findings(7));
}

/// Entries out of order were left to the multiproof, and folded in that order.
#[test]
fn entries_out_of_order_were_folded() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    scenario.ledger.close();
    let mut assembly = scenario.ledger.assembly(run);
    let last = assembly.entries.len() - 1;
    assembly.entries.swap(last - 1, last);
    let trust = scenario.ledger.trust().trust();
    let verdict = verify(&assembly.to_bytes().unwrap(), &trust, 0);
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Unreadable);
}

/// One approval that does not count made a proposal that a quorum had approved look open.
#[test]
fn an_approval_that_does_not_count_hid_a_quorum() {
    let mut scenario = Scenario::under(policy_document(1));
    let stranger = Actor::new("stranger", Role::Human);
    scenario.enrol(&stranger, &[]);
    let run = scenario.trigger();
    let proposal = scenario.propose(run, action("deploy", json!({})));
    let ana = scenario.cast.ana.clone();
    scenario.decide(run, proposal, &ana, Ruling::Approve);
    scenario.decide(run, proposal, &stranger, Ruling::Approve);
    let state = scenario.ledger.state();
    assert_eq!(state.proposal_status(state.run(&run).unwrap(), &proposal), Some(ProposalStatus::Approved));
}

/// A thief who revoked the stolen key first kept the authority from disputing what it had signed.
#[test]
fn a_revoked_key_could_not_be_disputed_any_more() {
    let mut scenario = Scenario::new();
    let (root, ana) = (scenario.cast.root.clone(), scenario.cast.ana.clone());
    scenario.ledger.add(&ana, None, revocation(ana.key(), None));
    scenario.ledger.add(&root, None, revocation(ana.key(), Some(3)));
    let facts = scenario.ledger.state().key(&ana.key()).unwrap();
    assert_eq!(facts.distrust_from, Some(3));
    let again = scenario.ledger.sign(&root, None, revocation(ana.key(), Some(2)));
    assert_eq!(scenario.ledger.append(again.bytes()).unwrap_err().code, "revocation-target");
}

/// One approval whose window was over made a proposal look expired that a quorum without it approves.
#[test]
fn an_expired_approval_hid_a_quorum_that_is_not_over() {
    let mut scenario = Scenario::under(policy_document(1));
    let run = scenario.trigger();
    let proposal = scenario.propose(run, action("deploy", json!({})));
    let mut short = scenario.decision(run, proposal, Ruling::Approve);
    let window = short.window.as_mut().unwrap();
    window.until = Whole::new(window.from.get() + 1_000).unwrap();
    let (ana, bo) = (scenario.cast.ana.clone(), scenario.cast.bo.clone());
    scenario.ledger.add(&ana, Some(run), short);
    scenario.ledger.wait(10_000);
    scenario.ledger.close();
    let status = |scenario: &Scenario| {
        let state = scenario.ledger.state();
        state.proposal_status(state.run(&run).unwrap(), &proposal)
    };
    assert_eq!(status(&scenario), Some(ProposalStatus::Expired));
    scenario.decide(run, proposal, &bo, Ruling::Approve);
    assert_eq!(status(&scenario), Some(ProposalStatus::Approved));
}

/// What nobody had approved was said to be executed as approved.
#[test]
fn break_glass_was_called_approved() {
    let mut policy = policy_document(1);
    policy["break_glass"] = json!(true);
    let mut scenario = Scenario::under(policy);
    let run = scenario.trigger();
    let proposal = scenario.propose(run, action("db.vacuum", json!({})));
    let mut body = scenario.execution(run, proposal, &[]);
    body.decisions = Set::new([]).unwrap();
    body.break_glass = Some(BreakGlass { reason: text("The disk is full.") });
    let gate = scenario.cast.gate.clone();
    scenario.ledger.add(&gate, Some(run), body);
    scenario.ledger.close();
    let said = |scenario: &Scenario| {
        let trust = scenario.ledger.trust().trust();
        match verify(&scenario.ledger.bundle(run), &trust, 0).answer(Dimension::Conformity) {
            Answer::Pass(said) => said.clone(),
            other => panic!("{other:?}"),
        }
    };
    let glass = "1 executed under break-glass, approved by nobody";
    let review = "1 under break-glass not reviewed yet";
    assert_eq!(said(&scenario), format!("{glass}, as the runtime recorded it; {review}"));
    let proposal = scenario.propose(run, action("deploy", json!({})));
    let decisions = scenario.approve(run, proposal);
    scenario.execute(run, proposal, &decisions);
    scenario.ledger.close();
    assert_eq!(
        said(&scenario),
        format!("1 executed exactly as approved; {glass}, as the runtime recorded it; {review}")
    );
}

/// Withdrawing a decision once more was reported as if it did something.
#[test]
fn a_second_cancel_of_a_decision_was_reported_to_take_effect() {
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    let proposal = scenario.propose(run, action("deploy", json!({})));
    let ana = scenario.cast.ana.clone();
    let decision = scenario.decide(run, proposal, &ana, Ruling::Approve);
    let mut cancel = || {
        let body = Cancel { reason: None, target: decision };
        let record = scenario.ledger.sign(&ana, Some(run), body);
        scenario.ledger.append(record.bytes()).unwrap()
    };
    assert_eq!(cancel(), Effect::Took);
    assert!(matches!(cancel(), Effect::None(_)));
}

/// `u64::from_str` takes a plus sign, so one age had two spellings.
#[test]
fn a_sign_before_max_age_was_read() {
    let mut trust = Scenario::new().ledger.trust();
    for (age, reads) in [("10m", true), ("+10m", false), ("-10m", false), ("0m", false), ("m", false)] {
        trust.max_age = Some(age.to_owned());
        assert_eq!(Trust::parse(&trust.to_toml()).is_ok(), reads, "{age}");
    }
}

/// Where no snapshot beside a record was shown, one that is valid only later, or that ended, was judged by an earlier log time.
#[test]
fn a_key_with_a_validity_was_judged_by_whichever_snapshot_was_shown() {
    let mut scenario = Scenario::new();
    let root = scenario.cast.root.clone();
    let ana = scenario.cast.ana.with_key(1);
    let mut body = enrolment(&ana, &["sre"]);
    body.not_before = scenario.ledger.state().log_time();
    scenario.ledger.add(&root, None, body);
    let run = scenario.trigger();
    let proposal = scenario.propose(run, action("deploy", json!({})));
    for _ in 0..3 {
        scenario.trigger();
        scenario.ledger.close();
    }
    let before = scenario.ledger.size() - 1;
    let decision = scenario.decide(run, proposal, &ana, Ruling::Approve);
    let decided = scenario.ledger.state().index_of(&decision).unwrap();
    scenario.trigger();
    scenario.ledger.close();
    let after = scenario.ledger.size() - 1;
    for _ in 0..3 {
        scenario.trigger();
        scenario.ledger.close();
    }
    let assembly = scenario.ledger.assembly(run);
    let shown: Vec<u64> = assembly.entries.iter().map(|(at, _)| *at).collect();
    assert!(shown.ends_with(&[before, decided, after, scenario.ledger.size() - 1]), "{shown:?}");
    let trust = scenario.ledger.trust().requiring(&[Dimension::Authority]).trust();
    let verdict = verify(&assembly.to_bytes().unwrap(), &trust, 0);
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Shown, "{:#?}", verdict.findings());
}

/// An allowed run, proposed under a delegation with this validity, that nobody approved.
fn allowed_under_a_delegation(
    change: impl FnOnce(&mut counterfoil_receipt::body::Delegation),
) -> (Scenario, RunId) {
    let rule = json!({"effect": "allow", "match": {"delegation": true}, "name": "delegates", "uses": 1});
    let mut s = Scenario::under(json!({"language": "counterfoil-policy/1", "rules": [rule]}));
    let mut body = delegation(&s.cast.scout, "*", 0);
    change(&mut body);
    s.delegation = Some(s.ledger.add(&s.cast.root.clone(), None, body));
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    s.execute(run, proposal, &[]);
    (s, run)
}

/// The windows of an execution were taken for those of decisions, and a delegation's validity is one of them.
#[test]
fn the_validity_of_a_delegation_passed_for_an_approval() {
    let (s, run) = allowed_under_a_delegation(|body| body.not_after = Whole::new(u64::pow(2, 50)));
    let verdict = verify(&s.ledger.bundle(run), &s.ledger.trust().trust(), 0);
    let Answer::Pass(said) = verdict.answer(Dimension::Conformity) else { panic!("it is shown") };
    assert!(said.starts_with("1 executed as the policy allows, approved by nobody"), "{said}");
}

/// Witnesses had to have seen an execution before the end of a validity that has none.
#[test]
fn a_delegation_that_only_begins_waited_for_witnesses() {
    let (s, run) = allowed_under_a_delegation(|body| body.not_before = Whole::new(1));
    let mut trust = s.ledger.trust();
    trust.witnesses =
        format!("witness a {}\nquorum a\n", counterfoil_tlog::Signer::key(&witness("a.example")));
    let verdict = verify(&s.ledger.bundle(run), &trust.trust(), 0);
    assert!(verdict.answer(Dimension::Conformity).passes(), "{:?}", verdict.findings());
}

/// What waits for an endorsement that a bundle leaves out was said to be no delegation, where it only is not shown to be one.
#[test]
fn an_endorsement_that_was_left_out_looked_like_a_violation() {
    let mut s = Scenario::founded(|genesis| genesis.authority.threshold = Whole::new(2).unwrap());
    let (root, spare) = (s.cast.root.clone(), s.cast.spare_root.clone());
    let mut candidates = vec![];
    for (actor, groups) in [(s.cast.scout.clone(), &[][..]), (s.cast.gate.clone(), &["prod"])] {
        candidates.push(s.enrol(&actor, groups));
    }
    candidates.push(s.ledger.add(&root, None, delegation(&s.cast.scout, "*", 0)));
    let last = candidates
        .iter()
        .map(|candidate| s.ledger.add(&spare, None, Endorsement { candidate: *candidate }))
        .last();
    s.delegation = candidates.last().copied();
    s.ledger.close();
    let run = s.trigger();
    s.propose(run, action("db.vacuum", json!({})));
    let endorsed = s.ledger.state().index_of(&last.unwrap()).unwrap();
    let mut entries: Vec<u64> = s.ledger.assembly(run).entries.iter().map(|(index, _)| *index).collect();
    assert!(entries.contains(&endorsed));
    entries.retain(|index| *index != endorsed);
    let mut state = counterfoil_verify::State::new(counterfoil_verify::Scope::Shown);
    let mut keys = counterfoil_verify::KeyCache::default();
    let faults: Vec<_> = entries
        .into_iter()
        .filter_map(|index| {
            let record = UnverifiedRecord::parse(&s.ledger.entries()[index as usize]).unwrap();
            let record = counterfoil_verify::check_signature(record, &mut keys).unwrap();
            state.fold(&record, index, &NoRoots).err()
        })
        .collect();
    let said: Vec<_> = faults.iter().map(|fault| (fault.rule.id(), fault.shown)).collect();
    assert_eq!(said, [("R-DEL-04", counterfoil_verify::Shown::NotShown)], "{faults:?}");
}

/// A log let a policy be replaced, took an execution under the one before, and left the document of the later one out.
#[test]
fn an_execution_under_a_policy_that_was_replaced_out_of_sight_passed() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({"head": "c0ffee"})));
    let decisions = s.approve(run, proposal);
    let earlier = s.execution(run, proposal, &decisions);
    let later = counterfoil_receipt::action::Json::from_value(&policy_document(1)).unwrap();
    let later = s.ledger.document(later);
    s.ledger.add(&s.cast.root.clone(), None, counterfoil_receipt::body::Policy::Digest(later));
    let record = s.ledger.sign(&s.cast.gate.clone(), Some(run), earlier);
    s.ledger.force(record.bytes()).expect_err("it is another policy");
    s.ledger.close();
    let trust = s.ledger.trust().trust();
    let mut assembly = s.ledger.assembly(run);
    let judged = |assembly: &counterfoil_verify::Assembly| {
        let verdict = verify(&assembly.to_bytes().unwrap(), &trust, 0);
        let found = verdict.findings().iter().find(|finding| finding.code == "policy-not-in-force");
        (verdict.conclude(trust.require()), found.is_some(), verdict.answer(Dimension::Conformity).passes())
    };
    assert_eq!(judged(&assembly), (Conclusion::Violated, true, false));
    assembly.documents.clear();
    assert_eq!(judged(&assembly), (Conclusion::NotShown, true, false));
}

/// Who stays out was judged before terms that are too wide, the other way round than the specification has it.
#[test]
fn an_approver_who_stays_out_hid_terms_that_are_too_wide() {
    let mut s = Scenario::new();
    let scout = Actor::new("scout", Role::Human).with_key(7);
    s.enrol(&scout, &["sre"]);
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({})));
    let mut decisions = s.approve(run, proposal);
    let mut wide = s.decision(run, proposal, Ruling::Approve);
    wide.uses = Whole::new(3);
    decisions.push(s.ledger.add(&scout, Some(run), wide));
    s.ledger.close();
    let body = s.execution(run, proposal, &decisions);
    let record = s.ledger.sign(&s.cast.gate.clone(), Some(run), body);
    assert_eq!(s.ledger.append(record.bytes()).unwrap_err().code, "terms-exceed-policy");
}
