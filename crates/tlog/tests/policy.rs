//! Policies: what reads as one, and when a quorum stands.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use counterfoil_tlog::policy::{Member, Quorum};
use counterfoil_tlog::*;
use proptest::prelude::*;

const ORIGIN: &str = "example.com/log";

fn log_key(seed: u8) -> SeedSigner {
    SeedSigner::ed25519(ORIGIN, &[seed; 32]).unwrap()
}

fn witness(seed: u8) -> SeedSigner {
    SeedSigner::ed25519_cosigner(&format!("w.example/{seed}"), &[seed; 32]).unwrap()
}

/// `{log1}` and `{w1}` stand for keys.
fn fill(template: &str) -> Vec<u8> {
    let mut text = template.to_owned();
    for seed in 1..=6 {
        text = text.replace(&format!("{{log{seed}}}"), &log_key(seed).key().to_string());
        text = text.replace(&format!("{{w{seed}}}"), &witness(100 + seed).key().to_string());
    }
    text.into_bytes()
}

fn parse(template: &str) -> Result<Policy, PolicyError> {
    Policy::parse(&fill(template))
}

/// The specification's example.
const EXAMPLE: &str = "
    log {log1}

# the X people
witness X1 {w1}
witness X2\t{w2} https://x2.example/
witness X3 {w3}
group X-witnesses 2 X1 X2 X3

witness Y1 {w4}
witness Y2 {w5}
witness Y3 {w6}
  # the Y people
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses \t
quorum X-and-Y
";

#[test]
fn the_example_demands_two_of_x_and_one_of_y() {
    let policy = parse(EXAMPLE).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().len(), policy.groups().len()), (1, 6, 3));
    assert_eq!(policy.quorum(), Quorum::Member(Member::Group(2)));
    assert_eq!(policy.witnesses()[1].name, b"X2");
    assert_eq!(policy.witnesses()[1].url.as_deref(), Some(&b"https://x2.example/"[..]));
    for subset in 0..64_u32 {
        let cosigned: Vec<usize> = (0..6).filter(|place| subset >> place & 1 == 1).collect();
        let expected = (subset & 7).count_ones() >= 2 && subset >> 3 != 0;
        assert_eq!(policy.is_satisfied(&cosigned), expected, "{cosigned:?}");
    }
    assert!(!policy.is_satisfied(&[0, 0, 3]), "one witness counts once");
    assert!(!policy.is_satisfied(&[6, 7, 8]));
}

#[test]
fn times_are_those_at_which_the_quorum_stands() {
    let policy = parse(EXAMPLE).unwrap();
    let at = |time| QuorumTime::At(PosixSeconds(time));
    let times =
        [(0, 10), (1, 40), (2, 20), (3, 30), (4, 15)].map(|(place, time)| (place, PosixSeconds(time)));
    // By 20 two of X signed, and by 15 one of Y.
    assert_eq!(policy.existed_by(&times), at(20));
    // Since 20 two of X signed, since 30 one of Y.
    assert_eq!(policy.fresh_at(&times), at(20));
    assert_eq!(policy.existed_by(&times[..3]), QuorumTime::NotReached);
    assert_eq!(policy.fresh_at(&[]), QuorumTime::NotReached);
    // A witness may sign again; the first time shows existence, the last freshness.
    let again = [&times[..], &[(0, PosixSeconds(50)), (3, PosixSeconds(60))]].concat();
    assert_eq!((policy.existed_by(&again), policy.fresh_at(&again)), (at(20), at(40)));
}

#[test]
fn quorum_none_demands_nothing_and_shows_no_time() {
    let policy = parse("quorum none\n").unwrap();
    assert_eq!(policy.quorum(), Quorum::NotRequired);
    assert!(policy.is_satisfied(&[]));
    let cosignatures = [(0, PosixSeconds(5))];
    assert_eq!(policy.existed_by(&cosignatures), QuorumTime::NotRequired);
    assert_eq!(policy.fresh_at(&cosignatures), QuorumTime::NotRequired);
}

#[test]
fn a_single_witness_can_be_the_quorum() {
    let policy = parse("witness a {w1}\nwitness b {w2}\nquorum b\n").unwrap();
    assert!(policy.is_satisfied(&[1]) && !policy.is_satisfied(&[0]));
}

#[test]
fn what_is_no_policy_is_refused_at_its_line() {
    let ml_dsa = SeedSigner::ml_dsa_44_cosigner(ORIGIN, &[7; 32]).unwrap().key().to_string();
    for (template, line, code) in [
        ("", 1, "policy-no-quorum"),
        ("quorum none", 1, "policy-no-final-newline"),
        ("quorum none\nquorum none\n", 2, "policy-second-quorum"),
        ("log {log1}\n", 2, "policy-no-quorum"),
        ("log {log1}\nlog {log1}\nquorum none\n", 2, "policy-duplicate-key"),
        ("witness a {w1}\nwitness b {w1}\nquorum none\n", 2, "policy-duplicate-key"),
        ("witness a {w1}\nwitness a {w2}\nquorum none\n", 2, "policy-name-taken"),
        ("witness none {w1}\nquorum none\n", 1, "policy-name-taken"),
        ("witness a {w1}\ngroup a any a\nquorum a\n", 2, "policy-name-taken"),
        ("log {w1}\nquorum none\n", 1, "policy-wrong-key-type"),
        ("witness a {log1}\nquorum none\n", 1, "policy-wrong-key-type"),
        (&format!("log {ml_dsa}\nwitness a {ml_dsa}\nquorum none\n"), 2, "policy-duplicate-key"),
        (&format!("witness a {ml_dsa}\nlog {ml_dsa}\nquorum none\n"), 2, "policy-duplicate-key"),
        ("log x\nquorum none\n", 1, "key-not-a-vkey"),
        ("log \u{e9}\nquorum none\n", 1, "key-not-a-vkey"),
        ("quorum a\nwitness a {w1}\n", 1, "policy-unknown-name"),
        ("group g any a\nwitness a {w1}\nquorum g\n", 1, "policy-unknown-name"),
        ("group g any g\nquorum g\n", 1, "policy-unknown-name"),
        ("group g any none\nquorum g\n", 1, "policy-unknown-name"),
        ("witness a {w1}\ngroup g 1 a a\nquorum g\n", 2, "policy-member-twice"),
        ("witness a {w1}\ngroup g 1 a\ngroup h 1 a\nquorum g\n", 3, "policy-member-twice"),
        ("witness a {w1}\ngroup g 0 a\nquorum g\n", 2, "policy-bad-threshold"),
        ("witness a {w1}\ngroup g 2 a\nquorum g\n", 2, "policy-bad-threshold"),
        ("witness a {w1}\ngroup g 01 a\nquorum g\n", 2, "policy-bad-threshold"),
        ("witness a {w1}\ngroup g +1 a\nquorum g\n", 2, "policy-bad-threshold"),
        ("witness a {w1}\ngroup g some a\nquorum g\n", 2, "policy-bad-threshold"),
        ("group g any\nquorum none\n", 1, "policy-wrong-items"),
        ("quorum\n", 1, "policy-wrong-items"),
        ("quorum none none\n", 1, "policy-wrong-items"),
        ("log {log1} url more\nquorum none\n", 1, "policy-wrong-items"),
        ("quorum none # no\n", 1, "policy-wrong-items"),
        ("Quorum none\n", 1, "policy-unknown-keyword"),
        ("quorum none\r\n", 1, "policy-control-character"),
        ("quorum\u{b}none\n", 1, "policy-control-character"),
        ("# \u{7f}\nquorum none\n", 1, "policy-control-character"),
    ] {
        let error = parse(template).unwrap_err();
        assert_eq!(error.code(), code, "{template}");
        assert!(matches!(error, PolicyError::Text { line: at, .. } if at == line), "{template}: {error}");
    }
}

#[test]
fn names_are_bytes() {
    let text =
        [b"witness K ", &fill("{w1}")[..], b"\nwitness \xe2\x84\xaa\xff ", &fill("{w2}"), b"\nquorum K\n"]
            .concat();
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.witnesses()[1].name, b"\xe2\x84\xaa\xff");
    assert_eq!(policy.quorum(), Quorum::Member(Member::Witness(0)));
}

#[test]
fn as_many_lines_as_the_limit_and_no_more() {
    let key = |i: usize| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(i as u64 + 1).to_be_bytes());
        SeedSigner::ed25519(ORIGIN, &seed).unwrap().key().clone()
    };
    let lines =
        |count: usize| (0..count).map(|i| format!("log {}\n", key(i))).collect::<String>() + "quorum none\n";
    assert!(Policy::parse(lines(limits::POLICY_ITEMS).as_bytes()).is_ok());
    let error = Policy::parse(lines(limits::POLICY_ITEMS + 1).as_bytes()).unwrap_err();
    assert_eq!(error.code(), "policy-too-many");

    let padded = |len: usize| format!("quorum none\n#{}\n", " ".repeat(len - 14));
    assert!(Policy::parse(padded(limits::POLICY_BYTES).as_bytes()).is_ok());
    let error = Policy::parse(padded(limits::POLICY_BYTES + 1).as_bytes()).unwrap_err();
    assert_eq!(error.code(), "policy-too-long");
}

#[test]
fn a_tlog_proof_needs_leaf_log_and_quorum() {
    let leaf = leaf_hash(b"entry");
    let tree: MemoryTree = [leaf_hash(b"a"), leaf, leaf_hash(b"c")].into_iter().collect();
    let checkpoint = Checkpoint::new(ORIGIN, tree.head()).unwrap();
    let signed = |witnesses: &[u8]| {
        let mut lines = vec![sign_note(&checkpoint.to_string(), &log_key(1)).unwrap()];
        lines.extend(
            witnesses.iter().map(|seed| cosign(&checkpoint, PosixSeconds(9), &witness(100 + seed)).unwrap()),
        );
        TlogProof {
            extra: Some(b"hint".to_vec()),
            index: LeafIndex(1),
            inclusion: inclusion::prove(LeafIndex(1), tree.size(), &tree).unwrap(),
            checkpoint: UnverifiedNote::new(checkpoint.to_string(), lines).unwrap(),
        }
    };
    let proof = signed(&[1, 2, 4]);
    assert_eq!(TlogProof::parse(&proof.to_string()).as_ref(), Ok(&proof));

    let policy = parse(EXAMPLE).unwrap();
    let opened = proof.clone().verify(leaf, &policy).unwrap();
    assert_eq!((opened.head(), opened.cosignatures().len()), (tree.head(), 3));
    let code = |result: Result<SignedCheckpoint, TlogProofError>| result.unwrap_err().code();
    assert_eq!(code(proof.clone().verify(leaf_hash(b"other"), &policy)), "proof-root-mismatch");
    assert_eq!(code(signed(&[1, 4]).verify(leaf, &policy)), "policy-quorum-not-reached");
    let stranger = parse("log {log2}\nquorum none\n").unwrap();
    assert_eq!(code(proof.verify(leaf, &stranger)), "note-no-known-signature");
}

/// Each log speaks for its own origin only.
#[test]
fn a_log_of_the_policy_can_t_sign_for_another() {
    let other = SeedSigner::ed25519("example.com/other", &[2; 32]).unwrap();
    let policy =
        [fill("log {log1}\nlog "), other.key().to_string().into_bytes(), b"\nquorum none\n".to_vec()]
            .concat();
    let policy = Policy::parse(&policy).unwrap();
    let checkpoint =
        |origin| Checkpoint::new(origin, TreeHead { size: TreeSize(1), root: leaf_hash(b"a") }).unwrap();
    assert!(policy.open(checkpoint(ORIGIN).sign(&log_key(1)).unwrap()).is_ok());
    assert!(policy.open(checkpoint("example.com/other").sign(&other).unwrap()).is_ok());
    let error = policy.open(checkpoint(ORIGIN).sign(&other).unwrap()).unwrap_err();
    assert_eq!(error.code(), "note-no-known-signature");
}

#[test]
fn tlog_proofs_have_at_most_so_many_hashes_and_so_much_extra() {
    let hash = EMPTY_ROOT.to_base64() + "\n";
    let note = "t\n\n— n AAAAAAA=\n";
    let text = |count| format!("c2sp.org/tlog-proof@v1\nindex 0\n{}\n{note}", hash.repeat(count));
    assert!(TlogProof::parse(&text(limits::PROOF_HASHES)).is_ok());
    assert_eq!(TlogProof::parse(&text(limits::PROOF_HASHES + 1)), Err(TlogProofError::TooManyHashes));
    let proof = TlogProof::parse(&text(0)).unwrap();
    let with = |len| TlogProof { extra: Some(vec![7; len]), ..proof.clone() }.to_string();
    assert!(TlogProof::parse(&with(limits::PROOF_EXTRA_BYTES)).is_ok());
    for len in [0, limits::PROOF_EXTRA_BYTES + 1] {
        assert_eq!(TlogProof::parse(&with(len)), Err(TlogProofError::BadLine { line: 2 }));
    }
}

/// The definition, tried out: who signed until T, and since T.
fn model(policy: &Policy, cosignatures: &[(usize, PosixSeconds)]) -> (QuorumTime, QuorumTime) {
    let enough = |keep: &dyn Fn(PosixSeconds) -> bool| {
        let kept = cosignatures.iter().filter(|(_, time)| keep(*time));
        policy.is_satisfied(&kept.map(|(place, _)| *place).collect::<Vec<_>>())
    };
    let times = || cosignatures.iter().map(|(_, time)| *time);
    let existed_by = times().filter(|t| enough(&|time| time <= *t)).min();
    let fresh_at = times().filter(|t| enough(&|time| time >= *t)).max();
    let named = |time: Option<PosixSeconds>| time.map_or(QuorumTime::NotReached, QuorumTime::At);
    (named(existed_by), named(fresh_at))
}

proptest! {
    #[test]
    fn quorum_times_are_as_defined(cosignatures in proptest::collection::vec((0..7_usize, 1..12_u64), 0..12)) {
        let policy = parse(EXAMPLE).unwrap();
        let cosignatures: Vec<_> = cosignatures.into_iter().map(|(place, time)| (place, PosixSeconds(time))).collect();
        let expected = model(&policy, &cosignatures);
        prop_assert_eq!((policy.existed_by(&cosignatures), policy.fresh_at(&cosignatures)), expected);
    }
}
