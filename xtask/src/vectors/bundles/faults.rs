//! Bundles in which one thing is wrong.

use counterfoil_receipt::{
    Role, RunId, UnverifiedRecord,
    body::{KeyChange, Revocation, RevocationTarget},
    bundle::PayloadLine,
    field::Whole,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, enrolment, label, witness};
use counterfoil_tlog::{Hash, SeedSigner, Signer};
use counterfoil_verify::{Assembly, Dimension};
use serde_json::json;

use super::{Case, Shown, without_execution};

const fn breaks(
    rule: &'static str,
    name: &'static str,
    flags: &'static [&'static str],
    description: &'static str,
    build: fn() -> Shown,
) -> Case {
    Case { name, description, flags, breaks: Some(rule), build }
}

pub fn cases() -> Vec<Case> {
    let mut cases = lines();
    cases.extend(contents());
    cases.extend(log());
    cases.extend(time_and_keys());
    cases
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
            "R-BUN-06",
            "payload-size",
            &["PayloadTampering"],
            "The record states another size than the payload has.",
            || {
                let mut s = Scenario::new();
                let run = s.trigger();
                let mut item = s.ledger.item("log.txt", "text/plain", b"disk full");
                item.size = Whole::new(8).expect("a size");
                let body = counterfoil_receipt::body::Observation {
                    items: Some(counterfoil_receipt::field::List(vec![
                        counterfoil_receipt::body::Evidence::Item(item),
                    ])),
                    kind: counterfoil_receipt::body::ObservationKind::Evidence,
                    summary: None,
                };
                s.ledger.add(&s.cast.scout.clone(), Some(run), body);
                s.ledger.close();
                without_execution(Shown::of(&s, run))
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
                s.set_policy(counterfoil_testkit::policy_document(2));
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
                let body = counterfoil_receipt::body::Observation {
                    items: None,
                    kind: counterfoil_receipt::body::ObservationKind::Note,
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

fn time_and_keys() -> Vec<Case> {
    vec![
        breaks(
            "R-EXEC-08",
            "window-over-by-log-time",
            &["ExpiredApproval"],
            "The runtime says it started in time; the log has it after the window.",
            || {
                let mut s = Scenario::new();
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let decisions = s.approve(run, proposal);
                let body = s.execution(run, proposal, &decisions);
                s.ledger.add(&s.cast.gate.clone(), Some(run), body);
                s.ledger.wait(WINDOW);
                s.ledger.close();
                Shown::of(&s, run)
            },
        ),
        breaks("R-WIT-01", "witness-quorum", &["WitnessQuorum"], "One of two witnesses cosigned.", || {
            let mut s = Scenario::new();
            let run = s.rejected_run();
            let (a, b) = (witness("a.example"), witness("b.example"));
            s.ledger.cosign(&a, s.ledger.now() / 1_000);
            let mut shown = without_execution(Shown::of(&s, run));
            shown.trust.witnesses =
                format!("witness a {}\nwitness b {}\ngroup both all a b\nquorum both\n", a.key(), b.key());
            shown.trust.dimensions.push(Dimension::Witnessed);
            shown
        }),
        breaks(
            "R-FRESH-01",
            "checkpoint-stale",
            &["StaleCheckpoint"],
            "The last checkpoint is a millisecond older than the reader accepts.",
            || {
                let mut shown = untouched();
                shown.trust.max_age = Some("10m".to_owned());
                shown.trust.dimensions.push(Dimension::Freshness);
                shown.now += 600_001;
                shown
            },
        ),
        breaks(
            "R-AUTH-02",
            "authority-not-pinned",
            &["AuthorityForgery", "WrongTrust"],
            "A root of the genesis that the reader does not pin changed a keyring.",
            || {
                let (mut s, run) = approved();
                let mut retirement = enrolment(&s.cast.ana, &[]);
                retirement.change = KeyChange::Retire;
                s.ledger.add(&s.cast.spare_root.clone(), None, retirement);
                s.ledger.close();
                let mut shown = Shown::of(&s, run);
                shown.trust.authority = vec![(0, None, vec![s.cast.root.key()])];
                shown
            },
        ),
        breaks(
            "R-AUTH-02",
            "authority-pinned-before",
            &["AuthorityForgery", "WrongTrust"],
            "A root signs after the range for which the reader pins it.",
            || {
                let (mut s, run) = approved();
                let mut retirement = enrolment(&s.cast.ana, &[]);
                retirement.change = KeyChange::Retire;
                let at = s.ledger.size();
                s.ledger.add(&s.cast.root.clone(), None, retirement);
                s.ledger.close();
                let mut shown = Shown::of(&s, run);
                let (root, spare) = (s.cast.root.key(), s.cast.spare_root.key());
                shown.trust.authority = vec![(0, Some(at - 1), vec![root]), (at, None, vec![spare])];
                shown
            },
        ),
        breaks(
            "R-KEY-09",
            "key-distrusted",
            &["KeyLifecycle"],
            "Bo revokes the key, and disputes what it signed.",
            || {
                let (mut s, run) = approved();
                let body = Revocation {
                    distrust_from: Whole::new(0),
                    reason: None,
                    target: RevocationTarget::Key(s.cast.bo.key()),
                };
                s.ledger.add(&s.cast.root.clone(), None, body);
                s.ledger.close();
                Shown::of(&s, run)
            },
        ),
    ]
}

fn approved() -> (Scenario, RunId) {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    (scenario, run)
}

fn untouched() -> Shown {
    let (scenario, run) = approved();
    Shown::of(&scenario, run)
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
