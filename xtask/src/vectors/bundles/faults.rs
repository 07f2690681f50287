//! Bundles in which one thing is wrong.

use counterfoil_receipt::{
    PolicyDigest, Role, UnverifiedRecord,
    action::Json,
    body::{Endorsement, Observation, ObservationKind, Policy},
    bundle::{DocumentLine, PayloadLine},
    field::Whole,
};
use counterfoil_testkit::{Actor, Scenario, action, label, policy_document};
use counterfoil_tlog::{Hash, SeedSigner, Signer, leaf_hash};
use counterfoil_verify::Assembly;
use serde_json::json;

use super::{Case, Shown, approved, approved_under_digest, breaks, second_key, signature_line, untouched};

pub fn cases() -> Vec<Case> {
    [lines(), contents(), documents(), log()].into_iter().flatten().collect()
}

fn lines() -> Vec<Case> {
    vec![
        breaks("R-BUN-01", "header-format", &["UnknownVersion"], "The header names a later format.", || {
            text(|text| text.replacen("counterfoil-bundle/1", "counterfoil-bundle/2", 1))
        }),
        breaks("R-BUN-01", "header-spelling", &["CanonicalForm"], "The header is not canonical.", || {
            text(|text| text.replacen("{\"checkpoints\":", "{ \"checkpoints\":", 1))
        }),
        breaks(
            "R-BUN-02",
            "line-spelling",
            &["CanonicalForm", "BundleTampering"],
            "The end line is not canonical.",
            || text(|text| text.replacen("\n{\"right\":[", "\n{\"right\": [", 1)),
        ),
        breaks(
            "R-BUN-02",
            "line-member",
            &["UnknownMember", "BundleTampering"],
            "The end line has a member more.",
            || text(|text| text.replacen("\n{\"right\":[", "\n{\"note\":1,\"right\":[", 1)),
        ),
        breaks("R-BUN-02", "line-unfinished", &["TailTruncated"], "The last line feed is missing.", || {
            text(|text| text.trim_end().to_owned())
        }),
        breaks("R-BUN-02", "line-order", &["BundleTampering"], "Two payloads change places.", || {
            text(|text| {
                let mut lines: Vec<&str> = text.lines().collect();
                let last = lines.len() - 1;
                lines.swap(last, last - 1);
                lines.join("\n") + "\n"
            })
        }),
        breaks("R-BUN-02", "line-entry-order", &["BundleTampering"], "Two entries change places.", || {
            assembly(|assembly| {
                // The one that comes too early has the part of the proof that belongs before it.
                assembly.segments[1].push(leaf_hash(&assembly.entries[1].1));
                assembly.entries.swap(1, 2);
            })
        }),
        breaks(
            "R-BUN-02",
            "line-checkpoint-order",
            &["BundleTampering"],
            "Two checkpoints change places.",
            || {
                assembly(|assembly| {
                    let [(first, _), (second, _)] = &mut assembly.checkpoints[..] else { panic!("two") };
                    std::mem::swap(first, second);
                })
            },
        ),
        breaks(
            "R-BUN-02",
            "line-checkpoint-twice",
            &["BundleTampering"],
            "One checkpoint stands twice, and the header counts both.",
            || assembly(|assembly| assembly.checkpoints.insert(0, assembly.checkpoints[0].clone())),
        ),
        breaks(
            "R-BUN-02",
            "line-payload-twice",
            &["BundleTampering"],
            "One payload stands twice, and the header counts both.",
            || assembly(|assembly| assembly.payloads.insert(0, assembly.payloads[0].clone())),
        ),
        breaks("R-BUN-03", "count-too-few", &["TailTruncated"], "The last line is missing.", || {
            text(|text| {
                let lines: Vec<&str> = text.lines().collect();
                lines[..lines.len() - 1].join("\n") + "\n"
            })
        }),
        breaks(
            "R-BUN-03",
            "count-too-many",
            &["BundleTampering", "TrailingBytes"],
            "A line stands after the last.",
            || text(|text| text + "{}\n"),
        ),
        breaks("R-BUN-03", "count-empty", &["TailTruncated"], "An empty file.", || text(|_| String::new())),
        breaks(
            "R-BUN-04",
            "limit-count",
            &["BundleTampering"],
            "The header counts 4,097 checkpoints.",
            || text(|text| text.replacen("{\"checkpoints\":2,", "{\"checkpoints\":4097,", 1)),
        ),
    ]
}

fn contents() -> Vec<Case> {
    vec![
        breaks(
            "R-BUN-05",
            "payload-unnamed",
            &["SmuggledRecord", "PayloadTampering"],
            "A payload that no record names.",
            || {
                let (mut s, run) = approved();
                let mut assembly = s.ledger.assembly(run);
                let salt = counterfoil_receipt::Salt::from_bytes([7; 32]);
                let opening = counterfoil_receipt::Opening {
                    salt,
                    label: label("extra"),
                    content: b"Believe me.".to_vec(),
                };
                s.ledger.wait(1);
                assembly.payloads.push(PayloadLine::disclosing(opening, None));
                assembly.payloads.sort_by_key(|line| line.commitment);
                Shown::assembled(&s, &assembly)
            },
        ),
        breaks(
            "R-BUN-05",
            "payload-of-no-set",
            &["SmuggledRecord", "PayloadTampering"],
            "A payload claims to belong to a set that no record names.",
            || {
                assembly(|assembly| {
                    let line = assembly.payloads.iter_mut().find(|line| line.set.is_some()).expect("a set");
                    line.set.as_mut().expect("a set").root = counterfoil_receipt::Root::from_bytes([7; 32]);
                })
            },
        ),
        breaks(
            "R-BUN-06",
            "payload-content",
            &["PayloadTampering"],
            "Other content than was committed to.",
            || assembly(|assembly| assembly.payloads[0].content.0.push(b'!')),
        ),
        breaks(
            "R-BUN-06",
            "payload-salt",
            &["PayloadTampering"],
            "Another salt than was committed to.",
            || {
                assembly(|assembly| {
                    assembly.payloads[0].salt = counterfoil_receipt::Salt::from_bytes([7; 32])
                })
            },
        ),
        breaks(
            "R-BUN-06",
            "payload-set-index",
            &["PayloadTampering", "ProofForgery"],
            "A payload at another place of its set.",
            || {
                assembly(|assembly| {
                    let line = assembly.payloads.iter_mut().find(|line| line.set.is_some()).expect("a set");
                    let set = line.set.as_mut().expect("a set");
                    set.index = Whole::new(1 - set.index.get()).expect("an index");
                })
            },
        ),
        breaks(
            "R-BUN-07",
            "record-of-a-stranger",
            &["SmuggledRecord"],
            "The enrolment of somebody who has no part in the run.",
            || {
                let mut s = Scenario::new();
                let stranger = s.enrol(&Actor::new("eve", Role::Human), &["guests"]);
                let run = s.approved_run();
                let at = s.ledger.state().index_of(&stranger).expect("an entry");
                Shown::assembled(&s, &s.ledger.assembly_with(run, &[at]))
            },
        ),
        breaks(
            "R-BUN-07",
            "record-endorsement-alone",
            &["SmuggledRecord"],
            "An endorsement without its candidate, which concerns nobody in the run.",
            || {
                let mut s = Scenario::new();
                let candidate = s.enrol(&Actor::new("eve", Role::Human), &["guests"]);
                let body = Endorsement { candidate };
                let endorsement = s.ledger.sign(&s.cast.spare_root.clone(), None, body);
                let at = s.ledger.size();
                s.ledger.force(endorsement.bytes()).expect_err("the candidate waits for nobody");
                let run = s.approved_run();
                Shown::assembled(&s, &s.ledger.assembly_with(run, &[at]))
            },
        ),
        breaks(
            "R-BUN-07",
            "record-of-another-run",
            &["SmuggledRecord"],
            "The trigger of another run.",
            || {
                let mut s = Scenario::new();
                let other = s.trigger();
                let run = s.approved_run();
                let at = s.ledger.state().index_of(&other.trigger()).expect("an entry");
                Shown::assembled(&s, &s.ledger.assembly_with(run, &[at]))
            },
        ),
        breaks(
            "R-BUN-07",
            "record-of-a-run-not-shown",
            &["SmuggledRecord"],
            "An observation of another run, without its trigger: it has no place here, and is not judged.",
            || {
                let mut s = Scenario::new();
                let other = s.trigger();
                let observation = s.observe(other);
                let run = s.approved_run();
                let at = s.ledger.state().index_of(&observation).expect("an entry");
                Shown::assembled(&s, &s.ledger.assembly_with(run, &[at]))
            },
        ),
        breaks(
            "R-BUN-07",
            "record-needless-snapshot",
            &["SmuggledRecord"],
            "A snapshot beside no execution.",
            || {
                let (s, run) = approved();
                Shown::assembled(&s, &s.ledger.assembly_with(run, &[1]))
            },
        ),
    ]
}

fn documents() -> Vec<Case> {
    vec![
        breaks(
            "R-BUN-06",
            "document-content",
            &["PayloadTampering", "PolicyConfusion"],
            "A policy document gives another digest than its line claims. Whether the policy record that names the digest holds is then not shown.",
            || {
                with_documents(|lines| {
                    let line = lines.iter_mut().find(|line| line.policy == document_line(1).policy);
                    line.expect("the later policy").document = document_line(3).document;
                })
            },
        ),
        breaks(
            "R-BUN-07",
            "document-unused",
            &["SmuggledRecord", "PolicyConfusion"],
            "A policy document that no policy record names.",
            || {
                with_documents(|lines| {
                    lines.push(document_line(3));
                    lines.sort_by_key(|line| line.policy);
                })
            },
        ),
        breaks(
            "R-BUN-02",
            "document-twice",
            &["BundleTampering"],
            "One policy document stands twice, and the header counts both.",
            || with_documents(|lines| lines.insert(0, lines[0].clone())),
        ),
        breaks(
            "R-BUN-02",
            "document-order",
            &["BundleTampering"],
            "Two policy documents change places.",
            || with_documents(|lines| lines.swap(0, 1)),
        ),
        breaks(
            "R-POL-01",
            "document-missing",
            &["PolicyConfusion", "MissingMember"],
            "The document of a policy that was set after the execution is not in the bundle: whether it can be read is not shown.",
            || with_documents(|lines| lines.retain(|line| line.policy != document_line(1).policy)),
        ),
    ]
}

fn log() -> Vec<Case> {
    vec![
        breaks(
            "R-TRUST-01",
            "genesis-of-another-log",
            &["WrongTrust", "LogReplay"],
            "The reader pins another log.",
            || {
                let mut shown = untouched();
                shown.trust.genesis = counterfoil_receipt::RecordId::from_bytes([7; 32]);
                shown
            },
        ),
        breaks(
            "R-TRUST-01",
            "genesis-behind-a-header",
            &["WrongTrust", "LogReplay"],
            "The header names the pinned genesis; entry 0 is another.",
            || {
                let mut s = Scenario::founded(|genesis| {
                    genesis.limits.run_records = Whole::new(999).expect("a limit")
                });
                s.enrol_cast();
                s.set_policy(policy_document(2));
                s.ledger.close();
                let run = s.approved_run();
                let mut assembly = s.ledger.assembly(run);
                let trust = Scenario::new().ledger.trust();
                assembly.log = trust.genesis;
                Shown { trust, ..Shown::assembled(&s, &assembly) }
            },
        ),
        breaks(
            "R-CP-01",
            "checkpoint-unpinned-key",
            &["CheckpointForgery", "WrongTrust"],
            "The log's key is not the one that the reader pins.",
            || {
                let mut shown = untouched();
                let other = SeedSigner::ed25519(&shown.trust.origin, &[7; 32]).expect("a key name");
                shown.trust.log_keys = vec![other.key().to_string()];
                shown.trust.witnesses = "quorum none\n".to_owned();
                shown
            },
        ),
        breaks(
            "R-CP-01",
            "checkpoint-forged",
            &["CheckpointForgery", "ForgedSignature"],
            "A checkpoint with the signature of another.",
            || {
                assembly(|assembly| {
                    let split = |note: &str| {
                        note.split_once("\n\n").map(|(text, lines)| (text.to_owned(), lines.to_owned()))
                    };
                    let (_, lines) = split(&assembly.checkpoints[0].0).expect("a note");
                    let (text, _) = split(&assembly.checkpoints[1].0).expect("a note");
                    assembly.checkpoints[1].0 = format!("{text}\n\n{lines}");
                })
            },
        ),
        breaks(
            "R-CP-02",
            "checkpoint-origin",
            &["CheckpointForgery"],
            "The log's key signed a checkpoint of another origin.",
            || resigned(|note| note.replacen("counterfoil.example/log", "counterfoil.example/gol", 1)),
        ),
        breaks(
            "R-CP-01",
            "checkpoint-second-signature-forged",
            &["CheckpointForgery", "ForgedSignature"],
            "The reader pins two keys. One signed the checkpoint; the other's signature is of another.",
            || {
                let line = signature_line("another text\n", &second_key());
                let mut shown = assembly(|assembly| assembly.checkpoints[1].0 += &line);
                shown.trust.log_keys.push(second_key().key().to_string());
                shown
            },
        ),
        breaks(
            "R-CP-02",
            "genesis-of-another-origin",
            &["CheckpointForgery", "WrongTrust"],
            "The pinned genesis names another origin than the checkpoints and the reader do.",
            || {
                let mut s = Scenario::founded(|genesis| genesis.origin = label("counterfoil.example/gol"));
                s.enrol_cast();
                s.set_policy(policy_document(2));
                s.ledger.close();
                let run = s.approved_run();
                Shown::of(&s, run)
            },
        ),
        breaks(
            "R-CP-03",
            "checkpoint-signature-repeated",
            &["CheckpointForgery"],
            "The log's signature line stands twice.",
            || {
                assembly(|assembly| {
                    let note = &mut assembly.checkpoints[1].0;
                    let lines = note.find("\n\n").expect("a note") + 2;
                    note.extend_from_within(lines..);
                })
            },
        ),
        breaks(
            "R-CP-03",
            "checkpoint-extension",
            &["CheckpointForgery"],
            "A checkpoint with a line more.",
            || resigned(|note| note.to_owned() + "more\n"),
        ),
        breaks(
            "R-CP-03",
            "checkpoint-size-spelling",
            &["CheckpointForgery", "CanonicalForm"],
            "A tree size with a leading zero.",
            || resigned(|note| note.replacen('\n', "\n0", 1)),
        ),
        breaks(
            "R-CP-04",
            "checkpoint-without-snapshot",
            &["SnapshotForgery"],
            "The log signed a tree that does not end with a snapshot.",
            || {
                let (mut s, run) = approved();
                let body = Observation {
                    items: None,
                    kind: ObservationKind::Note,
                    summary: Some(counterfoil_testkit::text("Taken over.")),
                };
                s.ledger.add(&s.cast.fixer.clone(), Some(run), body);
                s.ledger.sign_checkpoint();
                Shown::of(&s, run)
            },
        ),
        breaks(
            "R-INC-01",
            "inclusion-proof-hash",
            &["ProofForgery"],
            "One hash of the proof is another.",
            || {
                assembly(|assembly| {
                    let segment =
                        assembly.segments.iter_mut().find(|segment| !segment.is_empty()).expect("a gap");
                    segment[0] = Hash::from([7; 32]);
                })
            },
        ),
        breaks(
            "R-INC-01",
            "inclusion-hash-before-entry",
            &["ProofForgery"],
            "One hash stands before an entry that follows the last without a gap.",
            || {
                assembly(|assembly| {
                    let at = assembly.entries.windows(2).position(|two| two[0].0 + 1 == two[1].0);
                    assembly.segments[at.expect("neighbours") + 1].push(Hash::from([7; 32]));
                })
            },
        ),
        breaks(
            "R-INC-01",
            "inclusion-leftover-hash",
            &["ProofForgery"],
            "One hash of the proof is too many.",
            || {
                assembly(|assembly| {
                    assembly.segments.last_mut().expect("a segment").push(Hash::from([7; 32]))
                })
            },
        ),
        breaks(
            "R-INC-01",
            "inclusion-unlogged-record",
            &["ProofForgery", "SignatureMalleability"],
            "A decision that says the same under another signature, in place of the logged one.",
            || {
                let (s, run) = approved();
                let mut assembly = s.ledger.assembly(run);
                let (_, bytes) = assembly.entries.iter_mut().rev().nth(1).expect("the handoff");
                let handoff = UnverifiedRecord::parse(bytes).expect("a record");
                *bytes = s.cast.scout.sign_differently(&handoff).bytes().to_vec();
                Shown::assembled(&s, &assembly)
            },
        ),
        breaks(
            "R-CONS-01",
            "consistency-hash",
            &["Fork", "ProofForgery"],
            "One hash of a consistency proof is another.",
            || assembly(|assembly| assembly.checkpoints[0].1[0] = Hash::from([7; 32])),
        ),
        breaks(
            "R-CONS-01",
            "consistency-of-the-last",
            &["ProofForgery"],
            "The last checkpoint has a consistency proof, which must be empty.",
            || assembly(|assembly| assembly.checkpoints[1].1.push(Hash::from([7; 32]))),
        ),
        breaks(
            "R-CONS-01",
            "consistency-fork",
            &["Fork"],
            "The log signed another tree of the earlier size.",
            || {
                let mut s = Scenario::new();
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let decisions = s.approve(run, proposal);
                let mut fork = s.clone();
                fork.enrol(&Actor::new("eve", Role::Human), &["sre"]);
                fork.ledger.close();
                let execution = s.execute(run, proposal, &decisions);
                s.report(run, execution, counterfoil_receipt::body::Status::Succeeded);
                s.ledger.close();
                let mut assembly = s.ledger.assembly(run);
                let size = s.ledger.state().index_of(&execution).expect("an entry") + 2;
                assembly.checkpoints[0].0 = fork.ledger.checkpoint(size).expect("a checkpoint").to_owned();
                Shown::assembled(&s, &assembly)
            },
        ),
    ]
}

/// The approved run under a policy that is named by digest, as is the one that is set later, with the documents changed.
fn with_documents(change: impl FnOnce(&mut Vec<DocumentLine>)) -> Shown {
    let (mut s, run) = approved_under_digest();
    let digest = s.ledger.document(document_line(1).document);
    s.ledger.add(&s.cast.root.clone(), None, Policy::Digest(digest));
    s.ledger.close();
    let mut assembly = s.ledger.assembly(run);
    change(&mut assembly.documents);
    Shown::assembled(&s, &assembly)
}

fn document_line(count: u64) -> DocumentLine {
    let document = Json::from_value(&policy_document(count)).expect("a document");
    DocumentLine { policy: PolicyDigest::of(document.as_str().as_bytes()), document }
}

/// The approved run, with its bundle changed as text.
fn text(change: impl FnOnce(String) -> String) -> Shown {
    let mut shown = untouched();
    let before = String::from_utf8(shown.bundle).expect("UTF-8");
    shown.bundle = change(before.clone()).into_bytes();
    assert_ne!(shown.bundle, before.as_bytes());
    shown
}

/// The approved run, with its bundle made of other parts.
fn assembly(change: impl FnOnce(&mut Assembly)) -> Shown {
    let (scenario, run) = approved();
    let mut assembly = scenario.ledger.assembly(run);
    change(&mut assembly);
    Shown::assembled(&scenario, &assembly)
}

/// The approved run, whose last checkpoint says something else and is signed by the log all the same.
fn resigned(change: impl FnOnce(&str) -> String) -> Shown {
    let (scenario, run) = approved();
    let mut assembly = scenario.ledger.assembly(run);
    let last = assembly.checkpoints.last_mut().expect("a checkpoint");
    let (note, _) = last.0.split_once("\n\n").expect("a note");
    last.0 = scenario.ledger.sign_note(&change(&format!("{note}\n")));
    Shown::assembled(&scenario, &assembly)
}
