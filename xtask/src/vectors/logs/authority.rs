//! Who may speak: keys, and the policy.

use counterfoil_receipt::{PublicKey, Role, UnverifiedRecord, action::Json, body::Policy};
use counterfoil_testkit::{Actor, Ledger, ORIGIN, Scenario, enrolment, policy_document};
use serde_json::{Value, json};

use super::{
    Case, breaks, holds,
    steps::{decision_by, name, proposed, retired, revocation, rotated},
};

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
        breaks(
            "R-KEY-01",
            "key-unknown",
            &["KeyLifecycle"],
            "A decision by a key that nobody enrolled.",
            |s| decision_by(s, &Actor::new("eve", Role::Human)),
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
            "policy-group",
            &["PolicyConfusion", "InvalidValue"],
            "A policy that wants approvers of a group that nobody can be in: its name is none.",
            |s| policy_with(s, |document| document["rule"]["groups"] = json!(["Not A Group"])),
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
    ]
}

fn policy_with(s: &mut Scenario, change: impl FnOnce(&mut Value)) -> UnverifiedRecord {
    let mut document = policy_document(1);
    change(&mut document);
    let body = Policy::Document(Json::from_value(&document).expect("a document"));
    s.ledger.sign(&s.cast.root.clone(), None, body)
}
