//! Attacks on what a reader is handed.

use counterfoil_receipt::{Place, RecordId, body::Cancel};
use counterfoil_testkit::{Scenario, TrustFile, action};
use counterfoil_tlog::{LeafIndex, MemoryTree, TreeSize, inclusion, leaf_hash};
use counterfoil_verify::{Answer, Conclusion, Dimension, RunState, verify};
use serde_json::json;

use crate::violations;

#[test]
fn another_record_s_proof_passes() {
    let mut s = Scenario::new();
    let run = s.approved_run();
    let trust = s.ledger.trust().trust();
    let assembly = s.ledger.assembly(run);
    for at in 0..assembly.segments.len() - 1 {
        let mut swapped = assembly.clone();
        swapped.segments.swap(at, at + 1);
        if swapped.segments != assembly.segments {
            assert!(violations(&swapped.to_bytes().unwrap(), &trust).contains(&"inclusion-mismatch"));
        }
    }
    let tree: MemoryTree = s.ledger.entries().iter().map(|entry| leaf_hash(entry)).collect();
    let proof = inclusion::prove(LeafIndex(3), tree.size(), &tree).unwrap();
    let entry = |at: usize| leaf_hash(&s.ledger.entries()[at]);
    assert!(inclusion::verify(entry(3), LeafIndex(3), &proof, &tree.head()).is_ok());
    assert!(inclusion::verify(entry(4), LeafIndex(3), &proof, &tree.head()).is_err());
    assert!(inclusion::verify(entry(3), LeafIndex(4), &proof, &tree.head()).is_err());
    assert!(inclusion::verify(entry(3), LeafIndex(3), &proof, &tree.head_at(TreeSize(9)).unwrap()).is_err());
}

#[test]
fn a_run_is_resumed_with_parents_age_and_proofs_unchecked() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let open = s.propose(run, action("db.drop", json!({})));
    s.approve(run, open);
    let (trust, now) = (s.ledger.trust(), s.ledger.now());
    let resumed = |bundle: &[u8], trust: &TrustFile, now: u64| {
        let (trust, shown) = (trust.trust(), verify(bundle, &trust.trust(), now));
        RunState::of(&shown, run, trust.require()).map(|_| ()).map_err(|why| why.code)
    };
    let bundle = s.ledger.bundle(run);
    assert_eq!(resumed(&bundle, &trust, now), Ok(()));
    let fresh = TrustFile { max_age: Some("10m".to_owned()), ..trust.clone() };
    assert_eq!(resumed(&bundle, &fresh, now + 700_000), Err("checkpoint-stale"));
    let mut swapped = s.ledger.assembly(run);
    let differ = swapped.segments.windows(2).position(|two| two[0] != two[1]).unwrap();
    swapped.segments.swap(differ, differ + 1);
    assert_eq!(resumed(&swapped.to_bytes().unwrap(), &trust, now), Err("inclusion-mismatch"));
    // The log lets in what follows records that are not there.
    let scout = s.cast.scout.clone();
    let cancel = Cancel { reason: None, target: open };
    let mut draft = s.ledger.draft(&scout, Some(run), cancel);
    let Place::Run { parents, .. } = &mut draft.place else { panic!("it is of a run") };
    *parents = vec![RecordId::of(b"elsewhere")];
    let orphan = draft.sign(scout.signer()).unwrap();
    assert_eq!(s.ledger.append(orphan.bytes()).unwrap_err().code, "parent-unknown");
    s.ledger.force(orphan.bytes()).unwrap_err();
    s.ledger.close();
    assert_eq!(resumed(&s.ledger.bundle(run), &trust, s.ledger.now()), Err("parent-unknown"));
}

#[test]
fn the_tail_of_a_file_is_cut_off() {
    let mut s = Scenario::new();
    let run = s.rejected_run();
    let trust = s.ledger.trust().trust();
    let bundle = s.ledger.bundle(run);
    let ends: Vec<usize> =
        bundle.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for end in &ends[..ends.len() - 1] {
        assert!(violations(&bundle[..*end], &trust).contains(&"bundle-count"), "cut after {end} bytes");
        assert!(
            violations(&bundle[..end - 1], &trust).contains(&"bundle-line"),
            "cut after {} bytes",
            end - 1
        );
    }
}

#[test]
fn the_rejection_is_left_out_and_the_header_counts_one_less() {
    let mut s = Scenario::new();
    let run = s.rejected_run();
    let trust = s.ledger.trust().trust();
    let mut assembly = s.ledger.assembly(run);
    let is_rejection =
        |entry: &(u64, Vec<u8>)| entry.1.windows(18).any(|window| window == br#""verdict":"reject""#);
    let at = assembly.entries.iter().position(is_rejection).unwrap();
    assembly.entries.remove(at);
    assembly.segments.remove(at);
    let codes = violations(&assembly.to_bytes().unwrap(), &trust);
    assert!(codes.contains(&"inclusion-mismatch") && codes.contains(&"parent-unknown"), "{codes:?}");
}

/// What a bundle can't show under this fold version, it does not claim: an older tree, with a valid proof, hides what came later.
#[test]
fn a_tail_cut_off_by_an_older_checkpoint_is_never_called_complete() {
    let mut s = Scenario::new();
    let run = s.trigger();
    s.propose(run, counterfoil_testkit::action("drop", serde_json::json!({})));
    let trust = s.ledger.trust().trust();
    let verdict = verify(&s.ledger.bundle(run), &trust, 0);
    assert!(matches!(verdict.answer(Dimension::Completeness), Answer::NotShown(_)));
    assert_eq!(verdict.conclude(&[Dimension::Completeness]), Conclusion::NotShown);
}

#[test]
fn an_empty_bundle_or_an_empty_question_is_a_success() {
    let mut s = Scenario::new();
    let run = s.approved_run();
    let trust = s.ledger.trust().trust();
    assert_eq!(verify(b"", &trust, 0).conclude(trust.require()), Conclusion::Unreadable);
    assert_eq!(verify(&s.ledger.bundle(run), &trust, 0).conclude(&[]), Conclusion::NotShown);
}

#[test]
fn a_key_found_in_the_bundle_is_trusted() {
    let mut s = Scenario::new();
    let run = s.approved_run();
    let mut trust = s.ledger.trust();
    let other = counterfoil_tlog::SeedSigner::ed25519(&trust.origin, &[9; 32]).unwrap();
    trust.log_keys = vec![counterfoil_tlog::Signer::key(&other).to_string()];
    trust.witnesses = "quorum none\n".to_owned();
    assert!(violations(&s.ledger.bundle(run), &trust.trust()).contains(&"checkpoint-signature"));
}

#[test]
fn a_silent_fork_is_shown_as_two_states_of_one_log() {
    let mut s = Scenario::new();
    let run = s.approved_run();
    let mut fork = s.clone();
    s.enrol(&s.cast.ana.with_key(7), &["sre"]);
    fork.enrol(&fork.cast.bo.with_key(7), &["sre"]);
    let (size, forked) = (s.ledger.close().size, fork.ledger.close());
    assert_eq!(size, forked.size);
    s.enrol(&s.cast.ana.with_key(8), &["sre"]);
    s.ledger.close();
    let mut assembly = s.ledger.assembly(run);
    let note = fork.ledger.checkpoint(size.0).unwrap().to_owned();
    let last = assembly.checkpoints.len() - 1;
    assembly.checkpoints.insert(last, (note, s.ledger.consistency(size.0, s.ledger.size())));
    let codes = violations(&assembly.to_bytes().unwrap(), &s.ledger.trust().trust());
    assert!(codes.contains(&"consistency-mismatch"), "{codes:?}");
}

#[test]
fn other_evidence_is_shown_than_was_recorded() {
    let mut s = Scenario::new();
    let run = s.approved_run();
    let trust = s.ledger.trust().trust();
    let mut assembly = s.ledger.assembly(run);
    assembly.payloads[0].content.0.reverse();
    assert_eq!(violations(&assembly.to_bytes().unwrap(), &trust), ["payload-mismatch"]);
}
