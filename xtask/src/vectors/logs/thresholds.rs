//! What the authority has to agree on: endorsements, and revocations.

use counterfoil_receipt::{
    RecordId, Role, UnverifiedRecord,
    action::Json,
    body::{Endorsement, Policy, Revocation, RevocationTarget},
    field::Whole,
};
use counterfoil_testkit::{Actor, Scenario, delegation, enrolment, policy_document};
use serde_json::{Value, json};

use super::{
    Case, breaks, holds,
    policies::allowed_on,
    steps::{approved, basis_now, endorse, executed, name, retired, revocation, three_roots, two_roots},
};

pub fn cases() -> Vec<Case> {
    [endorsements(), thresholds(), revocations()].into_iter().flatten().collect()
}

fn endorsements() -> Vec<Case> {
    vec![
        holds(
            "valid-threshold",
            "Two roots have to agree, and do: the endorsement puts the key into force.",
            |s| {
                *s = two_roots();
                let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
                s.ledger.sign(&s.cast.spare_root.clone(), None, Endorsement { candidate })
            },
        ),
        holds("valid-key-at-threshold", "A record by a key that two of two roots enrolled.", |s| {
            *s = two_roots();
            let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
            endorse(s, candidate);
            own_revocation(s, &s.cast.ana.clone())
        }),
        breaks(
            "R-KEY-01",
            "key-unknown-below-threshold",
            &["KeyLifecycle", "AuthorityForgery"],
            "A record by a key that only one of two roots enrolled.",
            |s| {
                *s = two_roots();
                s.enrol(&s.cast.ana.clone(), &["sre"]);
                own_revocation(s, &s.cast.ana.clone())
            },
        ),
        breaks(
            "R-KEY-01",
            "key-unknown-below-raised-threshold",
            &["KeyLifecycle", "AuthorityForgery"],
            "A record by a key that two roots enrolled; while the first of them waited, three became needed.",
            |s| {
                *s = two_roots();
                let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
                let mut body = enrolment(&Actor::new("third-root", Role::Authority), &[]);
                body.threshold = Whole::new(3);
                let third = s.ledger.add(&s.cast.root.clone(), None, body);
                endorse(s, third);
                endorse(s, candidate);
                own_revocation(s, &s.cast.ana.clone())
            },
        ),
        holds(
            "valid-endorsement-after-retirement",
            "A record by a key that two roots enrolled: one of them was retired before the other endorsed.",
            |s| {
                let (scenario, third) = three_roots(2);
                *s = scenario;
                let candidate = s.ledger.add(&third, None, enrolment(&s.cast.ana.clone(), &["sre"]));
                let retirement = s.ledger.add(&s.cast.root.clone(), None, retired(&third));
                endorse(s, retirement);
                endorse(s, candidate);
                own_revocation(s, &s.cast.ana.clone())
            },
        ),
        breaks(
            "R-KEY-03",
            "key-principal-of-a-void-enrolment",
            &["KeyReuse", "QuorumInflation", "AuthorityForgery"],
            "One key waits to be enrolled for two principals. The second enrolment has no effect where its threshold is met, and the record claims it.",
            |s| {
                *s = two_roots();
                let ana = s.cast.ana.clone();
                let eve = ana.claiming_principal(&name("eve"));
                let candidates = [s.enrol(&ana, &["sre"]), s.enrol(&eve, &["sre"])];
                for candidate in candidates {
                    endorse(s, candidate);
                }
                own_revocation(s, &eve)
            },
        ),
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
            "R-AUTH-01",
            "endorsement-again",
            &["AuthorityForgery", "QuorumInflation"],
            "One key endorses twice, where three have to agree.",
            |s| {
                let (scenario, _) = three_roots(3);
                *s = scenario;
                let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
                endorse(s, candidate);
                s.ledger.sign(&s.cast.spare_root.clone(), None, Endorsement { candidate })
            },
        ),
        breaks(
            "R-AUTH-01",
            "endorsement-by-second-key",
            &["AuthorityForgery", "QuorumInflation", "KeyReuse"],
            "A root endorses what it proposed itself, with another key of its own.",
            |s| {
                *s = two_roots();
                let second = s.cast.root.with_key(1);
                let enrolment = s.enrol(&second, &[]);
                endorse(s, enrolment);
                let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
                s.ledger.sign(&second, None, Endorsement { candidate })
            },
        ),
        breaks(
            "R-AUTH-01",
            "endorsement-beyond-threshold",
            &["AuthorityForgery"],
            "A third root endorses what two of two put into force.",
            |s| {
                let (scenario, third) = three_roots(2);
                *s = scenario;
                let candidate = s.enrol(&s.cast.ana.clone(), &["sre"]);
                endorse(s, candidate);
                s.ledger.sign(&third, None, Endorsement { candidate })
            },
        ),
        breaks(
            "R-EXEC-09",
            "policy-below-threshold",
            &["PolicyConfusion", "AuthorityForgery"],
            "An execution under a policy that only one of two roots set.",
            |s| {
                *s = agreed();
                let (run, proposal, decisions) = approved(s);
                let document = Json::from_value(&policy_document(1)).expect("a document");
                s.ledger.add(&s.cast.root.clone(), None, Policy::Document(document.clone()));
                let policy = counterfoil_receipt::PolicyDigest::of(document.as_str().as_bytes());
                executed(s, run, proposal, &decisions, |body| body.policy = policy)
            },
        ),
        holds(
            "allowed-on-the-endorsement-of-the-policy",
            "The last entry that the basis covers is the endorsement by which the policy took effect.",
            |s| {
                *s = agreed();
                let candidate = s.set_policy(allowing());
                endorse(s, candidate);
                let basis = basis_now(s);
                allowed_on(s, basis)
            },
        ),
        breaks(
            "R-BASIS-01",
            "allowed-before-the-endorsement-of-the-policy",
            &["Fork", "PolicyConfusion"],
            "The basis covers the policy, and not the endorsement by which it took effect.",
            |s| {
                *s = agreed();
                let candidate = s.set_policy(allowing());
                let basis = basis_now(s);
                endorse(s, candidate);
                allowed_on(s, basis)
            },
        ),
    ]
}

fn thresholds() -> Vec<Case> {
    vec![
        holds(
            "valid-threshold-raised",
            "A third root is enrolled, and all three have to agree from then on.",
            |s| {
                let mut body = enrolment(&Actor::new("third-root", Role::Authority), &[]);
                body.threshold = Whole::new(3);
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-AUTH-03",
            "threshold-unreachable-raised",
            &["AuthorityForgery"],
            "A third root is enrolled, and four would have to agree from then on.",
            |s| {
                let mut body = enrolment(&Actor::new("third-root", Role::Authority), &[]);
                body.threshold = Whole::new(4);
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-AUTH-03",
            "threshold-unreachable-by-second-key",
            &["AuthorityForgery", "QuorumInflation"],
            "A root gets a second key, and three would have to agree: there are three keys, and two principals.",
            |s| {
                let mut body = enrolment(&s.cast.root.with_key(1), &[]);
                body.threshold = Whole::new(3);
                s.ledger.sign(&s.cast.root.clone(), None, body)
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
            "R-AUTH-03",
            "threshold-unreachable-by-revocation",
            &["AuthorityForgery", "RevocationAbuse"],
            "Of two roots that must agree, one revokes the other's key.",
            |s| {
                *s = two_roots();
                let body = revocation(s.cast.spare_root.key());
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        holds(
            "valid-authority-key-revoked",
            "Of two roots, either of whom may act alone, one revokes the other's key.",
            |s| {
                let body = revocation(s.cast.spare_root.key());
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-AUTH-03",
            "threshold-unreachable-last-key",
            &["AuthorityForgery", "RevocationAbuse"],
            "The last root revokes its own key.",
            |s| {
                let body = revocation(s.cast.spare_root.key());
                s.ledger.add(&s.cast.root.clone(), None, body);
                let body = revocation(s.cast.root.key());
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        holds(
            "valid-revocation-below-threshold",
            "A root signs whose key only one of the two others has revoked, where two have to agree.",
            |s| {
                let third = revoked_third(s, false);
                s.ledger.sign(&third, None, enrolment(&s.cast.ana.clone(), &["sre"]))
            },
        ),
        breaks(
            "R-KEY-05",
            "key-revoked-at-threshold",
            &["KeyLifecycle", "AuthorityForgery"],
            "A root signs whose key both of the others have revoked.",
            |s| {
                let third = revoked_third(s, true);
                s.ledger.sign(&third, None, enrolment(&s.cast.ana.clone(), &["sre"]))
            },
        ),
    ]
}

fn revocations() -> Vec<Case> {
    vec![
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
        holds(
            "valid-dispute-after-revocation",
            "A key that was revoked is revoked again, with the first `distrust_from`.",
            |s| {
                let body = revocation(s.cast.ana.key());
                s.ledger.add(&s.cast.root.clone(), None, body.clone());
                s.ledger.sign(&s.cast.root.clone(), None, disputing(body, 3))
            },
        ),
        breaks(
            "R-REV-01",
            "revocation-disputes-again",
            &["RevocationAbuse"],
            "A key is revoked again, with a second `distrust_from`.",
            |s| {
                let body = revocation(s.cast.ana.key());
                s.ledger.add(&s.cast.root.clone(), None, disputing(body.clone(), 3));
                s.ledger.sign(&s.cast.root.clone(), None, disputing(body, 2))
            },
        ),
        holds("valid-revocation-of-own", "Bo revokes Bo's key.", |s| own_revocation(s, &s.cast.bo.clone())),
        breaks(
            "R-REV-02",
            "revocation-disputes-own",
            &["RevocationAbuse"],
            "Bo revokes Bo's key and disputes what it signed, to take back what was done.",
            |s| {
                let body = disputing(revocation(s.cast.bo.key()), 3);
                s.ledger.sign(&s.cast.bo.clone(), None, body)
            },
        ),
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
        holds("valid-revocation-of-delegation", "The authority revokes a delegation.", |s| {
            let body = revocation_of_delegation(s);
            s.ledger.sign(&s.cast.root.clone(), None, body)
        }),
        breaks(
            "R-REV-01",
            "revocation-of-delegation-again",
            &["RevocationAbuse"],
            "A delegation is revoked twice.",
            |s| {
                let body = revocation_of_delegation(s);
                s.ledger.add(&s.cast.root.clone(), None, body.clone());
                s.ledger.sign(&s.cast.root.clone(), None, body)
            },
        ),
        breaks(
            "R-REV-02",
            "revocation-of-delegation-by-another",
            &["RevocationAbuse"],
            "Ana revokes a delegation that she neither signed nor holds.",
            |s| {
                let body = revocation_of_delegation(s);
                s.ledger.sign(&s.cast.ana.clone(), None, body)
            },
        ),
    ]
}

/// Something that nobody but the holder of an enrolled key may sign, and that needs nothing else.
fn own_revocation(s: &mut Scenario, actor: &Actor) -> UnverifiedRecord {
    s.ledger.sign(actor, None, revocation(actor.key()))
}

fn disputing(revocation: Revocation, from: u64) -> Revocation {
    Revocation { distrust_from: Whole::new(from), ..revocation }
}

/// The first of three roots revokes the key of the third, which it gives, and the second agrees or not.
fn revoked_third(s: &mut Scenario, is_endorsed: bool) -> Actor {
    let (scenario, third) = three_roots(2);
    *s = scenario;
    let candidate = s.ledger.add(&s.cast.root.clone(), None, revocation(third.key()));
    if is_endorsed {
        endorse(s, candidate);
    }
    third
}

/// Two roots agreed on the whole cast and on a policy.
fn agreed() -> Scenario {
    let mut s = two_roots();
    let mut candidates: Vec<RecordId> = Vec::new();
    let (ana, bo, scout, gate) =
        (s.cast.ana.clone(), s.cast.bo.clone(), s.cast.scout.clone(), s.cast.gate.clone());
    for (actor, groups) in [(&ana, &["sre"][..]), (&bo, &["sre"]), (&scout, &[]), (&gate, &["prod"])] {
        candidates.push(s.enrol(actor, groups));
    }
    candidates.push(s.set_policy(policy_document(2)));
    for candidate in candidates {
        endorse(&mut s, candidate);
    }
    s.ledger.close();
    s
}

/// A policy that allows everything.
fn allowing() -> Value {
    let rule = json!({"effect": "allow", "match": {"always": true}, "name": "all", "uses": 1});
    json!({"language": "counterfoil-policy/1", "rules": [rule]})
}

/// The revocation of a delegation that the authority has just granted.
fn revocation_of_delegation(s: &mut Scenario) -> Revocation {
    let body = delegation(&s.cast.scout, "db.vacuum", 0);
    let delegation = s.ledger.add(&s.cast.root.clone(), None, body);
    Revocation { distrust_from: None, reason: None, target: RevocationTarget::Delegation(delegation) }
}
