//! Who may speak: keys, authority, revocation, policy, ownership.

use counterfoil_receipt::{
    Principal, PublicKey, RecordId, Role, RunId, UnverifiedRecord,
    action::Json,
    body::{Cancel, Endorsement, KeyChange, Keyring, Policy, Revocation, RevocationTarget, Ruling},
    field::Whole,
};
use counterfoil_testkit::{Actor, Ledger, ORIGIN, Scenario, action, enrolment, policy_document};
use serde_json::{Value, json};

use super::{Case, breaks, holds};

pub fn cases() -> Vec<Case> {
    vec![
        holds("valid-rotation", "A key is rotated after it approved; the approval still counts.", |s| {
            let (run, proposal) = proposed(s);
            let decisions = s.approve(run, proposal);
            let rotation = rotated(&s.cast.ana);
            s.ledger.add(&s.cast.root.clone(), None, rotation);
            s.ledger.close();
            let body = s.execution(run, proposal, &decisions);
            s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
        }),
        holds(
            "valid-threshold",
            "Two roots have to agree, and do: the endorsement puts the key into force.",
            |s| {
                *s = two_roots();
                let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
                s.ledger.sign(&s.cast.spare_root.clone(), None, Endorsement { candidate })
            },
        ),
        breaks(
            "R-KEY-01",
            "key-unknown",
            &["KeyLifecycle"],
            "A decision by a key that nobody enrolled.",
            |s| decision_by(s, &Actor::new("eve", Role::Human)),
        ),
        breaks(
            "R-KEY-01",
            "key-unknown-below-threshold",
            &["KeyLifecycle", "AuthorityForgery"],
            "A decision by a key that only one of two roots enrolled.",
            |s| {
                *s = two_roots();
                let (root, scout, gate, ana) = (
                    s.cast.spare_root.clone(),
                    s.cast.scout.clone(),
                    s.cast.gate.clone(),
                    s.cast.ana.clone(),
                );
                for actor in [&scout, &gate] {
                    let candidate = s.enrol(actor, &[]);
                    s.ledger.add(&root, None, Endorsement { candidate });
                }
                s.enrol(&ana, &["sre"]);
                let document = Json::from_value(&policy_document(1)).expect("a document");
                let candidate = s.ledger.add(&s.cast.root.clone(), None, Policy::Document(document));
                s.ledger.add(&root, None, Endorsement { candidate });
                decision_by(s, &ana)
            },
        ),
        breaks(
            "R-KEY-02",
            "key-role",
            &["RoleConfusion"],
            "An agent's key signs a decision and claims to be human.",
            |s| decision_by(s, &s.cast.fixer.claiming_role(Role::Human)),
        ),
        breaks("R-KEY-03", "key-principal", &["QuorumInflation"], "Ana's key signs as Bo.", |s| {
            decision_by(s, &s.cast.ana.claiming_principal(&s.cast.bo.principal))
        }),
        breaks("R-KEY-04", "key-retired", &["KeyLifecycle"], "A decision by a key that was retired.", |s| {
            let retirement = retired(&s.cast.ana);
            s.ledger.add(&s.cast.root.clone(), None, retirement);
            decision_by(s, &s.cast.ana.clone())
        }),
        breaks("R-KEY-04", "key-rotated", &["KeyLifecycle"], "A decision by a key that was rotated.", |s| {
            let rotation = rotated(&s.cast.ana);
            s.ledger.add(&s.cast.root.clone(), None, rotation);
            decision_by(s, &s.cast.ana.clone())
        }),
        breaks("R-KEY-05", "key-revoked", &["KeyLifecycle"], "A decision by a key that was revoked.", |s| {
            let body = revocation(s.cast.ana.key());
            s.ledger.add(&s.cast.root.clone(), None, body);
            decision_by(s, &s.cast.ana.clone())
        }),
        breaks(
            "R-KEY-06",
            "key-expired",
            &["KeyLifecycle"],
            "A decision after the key's validity, by log time.",
            |s| {
                let mut body = enrolment(&s.cast.ana.with_key(1), &["sre"]);
                body.not_after = s.ledger.state().log_time();
                s.ledger.add(&s.cast.root.clone(), None, body);
                decision_by(s, &s.cast.ana.with_key(1))
            },
        ),
        breaks(
            "R-KEY-06",
            "key-too-early",
            &["KeyLifecycle"],
            "A decision before the key's validity.",
            |s| {
                let mut body = enrolment(&s.cast.ana.with_key(1), &["sre"]);
                body.not_before = Whole::new(s.ledger.now() + 1_000_000);
                s.ledger.add(&s.cast.root.clone(), None, body);
                decision_by(s, &s.cast.ana.with_key(1))
            },
        ),
        breaks(
            "R-KEY-07",
            "key-reused",
            &["KeyReuse", "QuorumInflation"],
            "One key is enrolled for a second principal.",
            |s| {
                let body = enrolment(&s.cast.ana.claiming_principal(&name("eve")), &["sre"]);
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-KEY-07",
            "key-of-the-log",
            &["KeyReuse"],
            "The key that signs checkpoints is enrolled.",
            |s| {
                let vkey = counterfoil_tlog::VerifierKey::parse(&Ledger::vkey(ORIGIN)).expect("a vkey");
                let mut body = enrolment(&Actor::new("eve", Role::Human), &["sre"]);
                body.key = PublicKey::ed25519(vkey.public_key().try_into().expect("32 bytes"));
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-KEY-08",
            "key-change-foreign",
            &["KeyLifecycle"],
            "Bo's keyring record retires Ana's key.",
            |s| {
                let mut body = retired(&s.cast.ana);
                body.principal = s.cast.bo.principal.clone();
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-KEY-08",
            "key-change-role",
            &["KeyLifecycle", "RoleConfusion"],
            "A rotation turns an agent's key into a human one.",
            |s| {
                let mut body = rotated(&s.cast.scout);
                body.role = Role::Human;
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks("R-KEY-08", "key-change-ended", &["KeyLifecycle"], "A key is retired twice.", |s| {
            let body = retired(&s.cast.ana);
            s.ledger.add(&s.cast.root.clone(), None, body.clone());
            s.ledger.sign(&s.cast.root.clone(), None, body)
        }),
        breaks(
            "R-AUTH-01",
            "endorsement-of-nothing",
            &["AuthorityForgery"],
            "An endorsement of what took effect long ago.",
            |s| {
                let candidate = s.ledger.state().policy_head().expect("a policy");
                s.ledger.sign(&s.cast.spare_root.clone(), None, Endorsement { candidate })
            },
        ),
        breaks(
            "R-AUTH-01",
            "endorsement-of-own",
            &["AuthorityForgery", "QuorumInflation"],
            "A root endorses what it proposed itself.",
            |s| {
                *s = two_roots();
                let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
                s.ledger.sign(&s.cast.root.clone(), None, Endorsement { candidate })
            },
        ),
        breaks(
            "R-AUTH-03",
            "threshold-unreachable",
            &["AuthorityForgery"],
            "Of two roots that must agree, one is retired.",
            |s| {
                *s = two_roots();
                let body = retired(&s.cast.spare_root);
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-REV-01",
            "revocation-of-nothing",
            &["RevocationAbuse"],
            "The revocation of a key that nobody enrolled.",
            |s| {
                let body = revocation(Actor::new("eve", Role::Human).key());
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks("R-REV-01", "revocation-again", &["RevocationAbuse"], "A key is revoked twice.", |s| {
            let body = revocation(s.cast.ana.key());
            s.ledger.add(&s.cast.root.clone(), None, body.clone());
            s.ledger.sign(&s.cast.root.clone(), None, body)
        }),
        breaks(
            "R-REV-02",
            "revocation-by-another",
            &["RevocationAbuse"],
            "An agent revokes an approver's key.",
            |s| {
                let body = revocation(s.cast.ana.key());
                s.ledger.sign(&s.cast.scout.clone(), None, body)
            },
        ),
        breaks(
            "R-POL-01",
            "policy-language",
            &["PolicyConfusion"],
            "A policy in a language of a later version.",
            |s| policy_with(s, |document| document["language"] = json!("counterfoil-policy/9")),
        ),
        breaks(
            "R-POL-01",
            "policy-member",
            &["PolicyConfusion", "UnknownMember"],
            "A policy with a condition that nobody would apply.",
            |s| policy_with(s, |document| document["rule"]["weekdays_only"] = json!(true)),
        ),
        breaks(
            "R-POL-01",
            "policy-count",
            &["PolicyConfusion", "QuorumInflation"],
            "A policy that wants nobody to approve.",
            |s| policy_with(s, |document| document["rule"]["count"] = json!(0)),
        ),
        breaks(
            "R-POL-01",
            "policy-missing",
            &["PolicyConfusion", "MissingMember"],
            "A policy without a limit on uses.",
            |s| {
                policy_with(s, |document| {
                    drop(document["rule"].as_object_mut().expect("a rule").remove("uses"))
                })
            },
        ),
        breaks(
            "R-OWN-01",
            "not-owner",
            &["OwnershipTheft"],
            "An agent proposes in a run that it does not own.",
            |s| {
                let run = s.trigger();
                let body = s.proposal(action("db.drop", json!({})));
                s.ledger.sign(&s.cast.fixer.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-OWN-01",
            "former-owner",
            &["OwnershipTheft"],
            "An agent proposes in a run that it has handed on.",
            |s| {
                let run = s.trigger();
                s.ledger.close();
                s.hand_over(run);
                let body = s.proposal(action("db.drop", json!({})));
                s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
            },
        ),
        breaks("R-CAN-01", "cancel-signer", &["CancelAbuse"], "Bo withdraws Ana's approval.", |s| {
            let (run, proposal) = proposed(s);
            let target = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
            s.ledger.sign(&s.cast.bo.clone(), Some(run), Cancel { reason: None, target })
        }),
        breaks(
            "R-CAN-01",
            "cancel-of-a-rejection",
            &["CancelAbuse", "EndedProposal"],
            "The agent withdraws a person's rejection.",
            |s| {
                let (run, proposal) = proposed(s);
                let target = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Reject);
                s.ledger.sign(&s.cast.scout.clone(), Some(run), Cancel { reason: None, target })
            },
        ),
        breaks("R-HAND-01", "handoff-to-human", &["OwnershipTheft"], "A run is given to a human key.", |s| {
            handoff_to(s, |s, _| s.cast.ana.clone())
        }),
        breaks(
            "R-HAND-01",
            "handoff-to-retired",
            &["OwnershipTheft", "KeyLifecycle"],
            "A run is given to a retired key.",
            |s| {
                handoff_to(s, |s, _| {
                    let body = retired(&s.cast.fixer);
                    s.ledger.add(&s.cast.root.clone(), None, body);
                    s.cast.fixer.clone()
                })
            },
        ),
        breaks(
            "R-HAND-01",
            "handoff-to-misnamed",
            &["OwnershipTheft"],
            "A run is given to an agent's key under another principal.",
            |s| handoff_to(s, |s, _| s.cast.fixer.claiming_principal(&name("eve"))),
        ),
    ]
}

fn two_roots() -> Scenario {
    Scenario::founded(|genesis| genesis.authority.threshold = Whole::new(2).expect("a threshold"))
}

fn proposed(s: &mut Scenario) -> (RunId, RecordId) {
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    (run, proposal)
}

fn decision_by(s: &mut Scenario, by: &Actor) -> UnverifiedRecord {
    let (run, proposal) = proposed(s);
    let body = s.decision(run, proposal, Ruling::Approve);
    s.ledger.sign(by, Some(run), body)
}

fn rotated(actor: &Actor) -> Keyring {
    let groups: &[&str] = if actor.role == Role::Human { &["sre"] } else { &[] };
    let mut body = enrolment(&actor.with_key(1), groups);
    body.change = KeyChange::Rotate;
    body.replaces = Some(actor.key());
    body
}

fn retired(actor: &Actor) -> Keyring {
    let mut body = enrolment(actor, &[]);
    body.change = KeyChange::Retire;
    body
}

fn revocation(key: PublicKey) -> Revocation {
    Revocation { distrust_from: None, reason: None, target: RevocationTarget::Key(key) }
}

fn policy_with(s: &mut Scenario, change: impl FnOnce(&mut Value)) -> UnverifiedRecord {
    let mut document = policy_document(1);
    change(&mut document);
    let body = Policy::Document(Json::from_value(&document).expect("a document"));
    s.ledger.sign(&s.cast.root.clone(), None, body)
}

fn handoff_to(s: &mut Scenario, to: impl FnOnce(&mut Scenario, RunId) -> Actor) -> UnverifiedRecord {
    let run = s.trigger();
    s.ledger.close();
    let to = to(s, run);
    let mut body = s.handoff(run);
    body.to = to.holder();
    s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
}

fn name(text: &str) -> Principal {
    Principal::new(text).expect("a name")
}
