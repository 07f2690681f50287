//! Delegations: who grants, who narrows, who acts under them, what ends them and what is used up.

use counterfoil_receipt::{
    Place, RecordId, Role, RunId, UnverifiedRecord,
    action::{Json, Map},
    body::{Audience, BreakGlass, Cost, Delegation, Revocation, RevocationTarget, Ruling, Scope, Spend},
    field::{List, Millis, Set, Whole},
    text::{Amount, Currency},
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, delegation, label, pointer, text, trigger_body};
use serde_json::{Value, json};

use super::{
    Case, breaks, holds,
    steps::{endorse, executed, name, retired, revocation, rotated, two_roots},
};

const WIDE: &[&str] = &["DelegationWidening"];
const BORROWED: &[&str] = &["BorrowedDelegation"];
const ENDED: &[&str] = &["EndedDelegation"];

pub fn cases() -> Vec<Case> {
    [grants(), narrowing(), proposals(), ends(), executions()].into_iter().flatten().collect()
}

fn grants() -> Vec<Case> {
    vec![
        holds("delegation", "The authority grants a delegation.", |s| {
            let body = databases(s);
            s.ledger.sign(&s.cast.root.clone(), None, body)
        }),
        breaks(
            "R-DEL-02",
            "delegation-granted-by-nobody",
            BORROWED,
            "An agent grants itself everything.",
            |s| {
                let mut body = databases(s);
                body.scope = scope("*", None, None);
                s.ledger.sign(&s.cast.scout.clone(), None, body)
            },
        ),
        breaks(
            "R-DEL-02",
            "delegation-waits",
            &["AuthorityForgery"],
            "A delegation is narrowed that one of two roots granted.",
            |s| {
                let above = granted_by_one_of_two(s);
                narrow(s, above, |_| {})
            },
        ),
        holds("delegation-endorsed", "A delegation is narrowed that two of two roots granted.", |s| {
            let above = granted_by_one_of_two(s);
            endorse(s, above);
            narrow(s, above, |_| {})
        }),
        breaks(
            "R-DEL-01",
            "delegation-scope-unknown-test",
            WIDE,
            "A scope bounds an argument by a test that this version does not know.",
            |s| granted_with(s, json!({"/amount": {"less": "5"}})),
        ),
        breaks(
            "R-DEL-01",
            "delegation-scope-no-pointer",
            WIDE,
            "A scope names an argument and not a pointer to it.",
            |s| granted_with(s, json!({"amount": {"at_most": "5"}})),
        ),
        breaks(
            "R-DEL-01",
            "delegation-scope-without-test",
            WIDE,
            "A scope names an argument and asks nothing of it.",
            |s| granted_with(s, json!({"/amount": {}})),
        ),
    ]
}

fn narrowing() -> Vec<Case> {
    vec![
        holds("delegation-narrowed", "Each bound of a delegation is narrowed.", |s| {
            let above = grant(s, |body| bounded(body, "db.*", "10"));
            narrow(s, above, |body| {
                bounded(body, "db.vacuum", "9");
                body.scope = scope(
                    "db.vacuum",
                    Some("db-1"),
                    Some(json!({"/full": {"one_of": [false]}, "/table": {"glob": "or*s"}})),
                );
            })
        }),
        breaks(
            "R-DEL-02",
            "delegation-narrowed-by-another",
            BORROWED,
            "Somebody narrows a delegation that is another's, to themselves.",
            |s| {
                let above = grant(s, |_| {});
                let mut body = databases(s);
                body.delegate = s.cast.fixer.holder();
                under(s, &s.cast.fixer.clone(), above, body)
            },
        ),
        breaks(
            "R-DEL-02",
            "delegation-narrowed-with-old-key",
            BORROWED,
            "The delegate narrows with a key that the authority enrolled beside the one that is named.",
            |s| {
                let second = s.cast.scout.with_key(1);
                s.enrol(&second, &[]);
                let above = grant(s, |_| {});
                let mut body = databases(s);
                body.delegate = s.cast.fixer.holder();
                body.depth = Whole::new(0).expect("a depth");
                under(s, &second, above, body)
            },
        ),
        holds(
            "delegation-narrowed-after-rotation",
            "The delegate narrows with the key that its own was rotated to.",
            |s| {
                let above = grant(s, |_| {});
                s.ledger.add(&s.cast.root.clone(), None, rotated(&s.cast.scout.clone()));
                let mut body = databases(s);
                body.delegate = s.cast.fixer.holder();
                body.depth = Whole::new(0).expect("a depth");
                under(s, &s.cast.scout.with_key(1), above, body)
            },
        ),
        widened("delegation-widens-tool", "The tools of a delegation are widened.", |body| {
            body.scope = scope("db*", None, None);
        }),
        widened("delegation-widens-by-an-entry", "An entry is added to the scope of a delegation.", |body| {
            body.scope.0.push(scope("fs.read", None, None).0.remove(0));
        }),
        widened(
            "delegation-widens-depth",
            "A delegation may be passed on as often as the one that it narrows.",
            |body| {
                body.depth = Whole::new(2).expect("a depth");
            },
        ),
        widened(
            "delegation-widens-uses",
            "A delegation has more uses than the one that it narrows.",
            |body| {
                body.uses = Whole::new(11);
            },
        ),
        widened(
            "delegation-widens-total",
            "A delegation may spend more than the one that it narrows.",
            |body| {
                body.spend = Some(Spend { per_action: None, total: Some(euro("10.000000000000000001")) });
            },
        ),
        widened(
            "delegation-widens-currency",
            "A delegation may spend the same amount of something else.",
            |body| {
                body.spend = Some(Spend {
                    per_action: Some(Cost {
                        currency: Currency::new("BTC").expect("a currency"),
                        ..euro("1")
                    }),
                    total: None,
                });
            },
        ),
        widened("delegation-widens-end", "A delegation lasts longer than the one that it narrows.", |body| {
            body.not_after = Millis::new(2_000_000_000_001);
        }),
        widened("delegation-widens-start", "A delegation starts before the one that it narrows.", |body| {
            body.not_before = Millis::new(999);
        }),
        widened(
            "delegation-widens-audience",
            "A delegation is for another runtime than the one that it narrows.",
            |body| {
                body.audience = Some(Audience::Principal(name("other")));
            },
        ),
        breaks(
            "R-DEL-03",
            "delegation-widens-target",
            WIDE,
            "A delegation drops the target of the one that it narrows.",
            |s| {
                let above = grant(s, |body| body.scope = scope("db.*", Some("db-*"), None));
                narrow(s, above, |body| body.scope = scope("db.*", None, None))
            },
        ),
        breaks(
            "R-DEL-03",
            "delegation-widens-arguments",
            WIDE,
            "A delegation drops the test of an argument.",
            |s| {
                let tests = json!({"/full": {"one_of": [false]}, "/table": {"glob": "o*"}});
                let above = grant(s, |body| body.scope = scope("db.*", None, Some(tests)));
                narrow(s, above, |body| {
                    body.scope = scope("db.*", None, Some(json!({"/table": {"glob": "orders"}})));
                })
            },
        ),
        breaks(
            "R-DEL-03",
            "delegation-widens-amount",
            WIDE,
            "A delegation bounds an amount by a list, of which one value is too high.",
            |s| {
                let tests = json!({"/amount": {"at_most": "10"}});
                let above = grant(s, |body| body.scope = scope("db.*", None, Some(tests)));
                narrow(s, above, |body| {
                    body.scope = scope("db.*", None, Some(json!({"/amount": {"one_of": ["10", "10.01"]}})));
                })
            },
        ),
        breaks(
            "R-DEL-03",
            "delegation-passed-on-at-depth-0",
            WIDE,
            "A delegation is passed on that may not be.",
            |s| {
                let above = grant(s, |body| body.depth = Whole::new(0).expect("a depth"));
                narrow(s, above, |body| body.depth = Whole::new(0).expect("a depth"))
            },
        ),
    ]
}

fn proposals() -> Vec<Case> {
    vec![
        holds("proposal-under-delegation", "An agent proposes under its delegation.", |s| {
            let id = grant(s, |_| {});
            proposed(s, id)
        }),
        breaks(
            "R-DEL-04",
            "proposal-under-delegation-of-another",
            BORROWED,
            "An agent proposes under a delegation that is another's.",
            |s| {
                let fixer = s.cast.fixer.holder();
                let id = grant(s, |body| body.delegate = fixer);
                proposed(s, id)
            },
        ),
        breaks(
            "R-DEL-04",
            "proposal-under-no-delegation",
            &["DanglingReference"],
            "A proposal names the genesis as its delegation.",
            |s| {
                let genesis = s.ledger.log();
                proposed(s, genesis)
            },
        ),
        breaks(
            "R-DEL-05",
            "proposal-beyond-scope",
            WIDE,
            "An agent proposes what its delegation is not about.",
            |s| {
                let id = grant(s, |body| body.scope = scope("fs.*", None, None));
                proposed(s, id)
            },
        ),
        breaks(
            "R-DEL-05",
            "proposal-beyond-scope-of-arguments",
            WIDE,
            "An agent proposes an amount over that of its delegation.",
            |s| {
                let tests = json!({"/amount": {"at_most": "10"}});
                let id = grant(s, |body| body.scope = scope("db.*", None, Some(tests)));
                let run = s.trigger();
                proposal_of(s, run, id, json!({"amount": "10.01"}))
            },
        ),
        breaks(
            "R-DEL-05",
            "proposal-beyond-scope-committed",
            &["DelegationWidening", "ArgumentSmuggling"],
            "An agent commits to the argument that its delegation bounds, so that nobody can tell.",
            |s| {
                let tests = json!({"/amount": {"at_most": "10"}});
                let id = grant(s, |body| body.scope = scope("db.*", None, Some(tests)));
                let run = s.trigger();
                let mut asked = action("db.vacuum", json!({"full": false}));
                asked.committed = Map::new([(pointer("/amount"), s.ledger.commit("/amount", br#""5""#))]);
                let mut body = s.proposal(asked);
                body.delegation = Some(id);
                s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-DEL-05",
            "proposal-beyond-scope-free",
            &["DelegationWidening", "ArgumentSmuggling"],
            "An agent leaves the argument free that its delegation bounds.",
            |s| {
                let tests = json!({"/amount": {"at_most": "10"}});
                let id = grant(s, |body| body.scope = scope("db.*", None, Some(tests)));
                let run = s.trigger();
                let mut asked = action("db.vacuum", json!({"full": false}));
                asked.free = Set::new([pointer("/amount")]);
                let mut body = s.proposal(asked);
                body.delegation = Some(id);
                s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
            },
        ),
    ]
}

fn ends() -> Vec<Case> {
    vec![
        breaks(
            "R-DEL-06",
            "delegation-narrowed-after-revocation",
            ENDED,
            "A delegation is narrowed that was revoked.",
            |s| {
                let above = grant(s, |_| {});
                end(s, above);
                narrow(s, above, |_| {})
            },
        ),
        breaks(
            "R-DEL-06",
            "proposal-after-revocation-above",
            ENDED,
            "An agent proposes under a delegation after the one above it was revoked.",
            |s| {
                let (above, id) = chain(s);
                end(s, above);
                proposed_by_fixer(s, id)
            },
        ),
        breaks(
            "R-DEL-06",
            "execution-after-revocation",
            ENDED,
            "A delegation is revoked between the approvals and the execution.",
            |s| {
                let id = grant(s, |_| {});
                let (run, proposal, decisions) = approved(s, id);
                end(s, id);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-DEL-06",
            "proposal-after-revocation-of-a-delegates-key",
            ENDED,
            "The key of the delegate who passed a delegation on is revoked.",
            |s| {
                let (_, id) = chain(s);
                s.ledger.add(&s.cast.root.clone(), None, revocation(s.cast.scout.key()));
                proposed_by_fixer(s, id)
            },
        ),
        breaks(
            "R-DEL-06",
            "proposal-after-revocation-of-a-key-between",
            ENDED,
            "The delegate's key is rotated twice, and the one between is revoked: who had it may have proposed and passed on.",
            |s| {
                let id = grant(s, |_| {});
                let root = s.cast.root.clone();
                s.ledger.add(&root, None, rotated(&s.cast.scout.clone()));
                let mut second = rotated(&s.cast.scout.clone());
                second.replaces = Some(second.key);
                second.key = s.cast.scout.with_key(2).key();
                s.ledger.add(&root, None, second);
                s.ledger.add(&root, None, revocation(s.cast.scout.with_key(1).key()));
                let third = s.cast.scout.with_key(2);
                let trigger = s.ledger.add(&s.cast.gate.clone(), None, trigger_body(&third, "of-scout"));
                let mut body = s.proposal(action("db.vacuum", json!({"full": false})));
                body.delegation = Some(id);
                s.ledger.sign(&third, Some(RunId::started_by(trigger)), body)
            },
        ),
        holds(
            "delegation-revoked-by-who-granted-it-as-human",
            "Somebody of the authority revokes, as a human, what they granted.",
            |s| {
                let human = Actor::new(s.cast.root.principal.as_str(), Role::Human);
                s.enrol(&human, &[]);
                let id = grant(s, |_| {});
                s.ledger.sign(&human, None, revoked(id))
            },
        ),
        holds(
            "proposal-after-retirement-of-a-delegates-key",
            "The key of the delegate who passed a delegation on is retired in good order.",
            |s| {
                let (_, id) = chain(s);
                s.ledger.add(&s.cast.root.clone(), None, retired(&s.cast.scout.clone()));
                proposed_by_fixer(s, id)
            },
        ),
        holds("delegation-given-back", "A delegate gives its delegation back.", |s| {
            let id = grant(s, |_| {});
            s.ledger.sign(&s.cast.scout.clone(), None, revoked(id))
        }),
        holds("delegation-taken-back", "A delegate revokes what it passed on.", |s| {
            let (_, id) = chain(s);
            s.ledger.sign(&s.cast.scout.clone(), None, revoked(id))
        }),
        breaks(
            "R-REV-02",
            "delegation-revoked-from-below",
            &["RevocationAbuse"],
            "A delegate revokes the delegation from which its own descends.",
            |s| {
                let (above, _) = chain(s);
                s.ledger.sign(&s.cast.fixer.clone(), None, revoked(above))
            },
        ),
    ]
}

fn executions() -> Vec<Case> {
    vec![
        holds(
            "execution-under-delegation",
            "What was proposed under a delegation is approved and executed.",
            |s| {
                let id = grant(s, |_| {});
                let (run, proposal, decisions) = approved(s, id);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-10",
            "execution-beyond-audience-of-delegation",
            &["AudienceConfusion"],
            "A runtime executes what was proposed under a delegation for another.",
            |s| {
                let id = grant(s, |body| body.audience = Some(Audience::Principal(name("other"))));
                let (run, proposal, decisions) = approved(s, id);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-08",
            "execution-after-delegation",
            &["ExpiredApproval"],
            "An action is executed after the delegation is over.",
            |s| {
                let now = s.ledger.now();
                let id = grant(s, |body| body.not_after = Millis::new(now + 60_000));
                let (run, proposal, decisions) = approved(s, id);
                s.ledger.wait(60_000);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-08",
            "execution-before-delegation-under-break-glass",
            &["ExpiredApproval", "BreakGlass"],
            "An action is executed under break-glass before the delegation starts.",
            |s| {
                let now = s.ledger.now();
                let id = grant(s, |body| body.not_before = Millis::new(now + 3_600_000));
                spending_policy(s, true);
                let run = s.trigger();
                let proposal = proposal_of(s, run, id, json!({"amount": "5"}));
                let proposal = logged(s, &proposal);
                under_break_glass(s, run, proposal)
            },
        ),
        breaks(
            "R-EXEC-07",
            "approval-by-a-delegate-of-the-chain",
            &["SelfApproval"],
            "Somebody approves what is proposed under a delegation that they passed on.",
            |s| {
                let (_, id) = chain(s);
                let human = Actor::new(s.cast.scout.principal.as_str(), Role::Human);
                s.enrol(&human, &["sre"]);
                let proposal = proposed_by_fixer(s, id);
                let run = proposal.run().expect("a run");
                let proposal = logged(s, &proposal);
                let decisions =
                    [s.cast.ana.clone(), human].map(|actor| s.decide(run, proposal, &actor, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-15",
            "policy-wants-a-delegation",
            &["PolicyRules"],
            "The policy denies whatever is proposed under no delegation.",
            |s| {
                wanting(s, json!(true));
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        holds("policy-has-a-delegation", "The policy allows what is proposed under some delegation.", |s| {
            wanting(s, json!(true));
            let id = grant(s, |_| {});
            let proposal = proposed(s, id);
            let run = proposal.run().expect("a run");
            let proposal = logged(s, &proposal);
            executed(s, run, proposal, &[], |_| {})
        }),
        holds(
            "policy-wants-a-link",
            "The policy allows what is proposed under a delegation that descends from one.",
            |s| {
                let (above, id) = chain(s);
                wanting(s, json!([above.to_string()]));
                let proposal = proposed_by_fixer(s, id);
                let run = proposal.run().expect("a run");
                let proposal = logged(s, &proposal);
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        breaks(
            "R-EXEC-15",
            "policy-wants-another-link",
            &["PolicyRules"],
            "The policy allows what descends from one delegation, and the proposal's is beside it.",
            |s| {
                let (_, other) = chain(s);
                wanting(s, json!([other.to_string()]));
                let id = grant(s, |_| {});
                let proposal = proposed(s, id);
                let run = proposal.run().expect("a run");
                let proposal = logged(s, &proposal);
                executed(s, run, proposal, &[], |_| {})
            },
        ),
    ]
}

/// A delegation that widens this one bound of the one that it narrows.
fn widened(name: &'static str, description: &'static str, widen: fn(&mut Delegation)) -> Case {
    breaks("R-DEL-03", name, WIDE, description, move |s| {
        let above = grant(s, |body| {
            body.audience = Some(Audience::Principal(self::name("gate")));
            body.not_before = Millis::new(1_000);
            body.not_after = Millis::new(2_000_000_000_000);
            body.spend = Some(Spend { per_action: Some(euro("10")), total: Some(euro("10")) });
            body.uses = Whole::new(10);
        });
        narrow(s, above, widen)
    })
}

/// A delegation to `scout`, who may pass it on twice.
pub(super) fn databases(s: &Scenario) -> Delegation {
    delegation(&s.cast.scout, "db.*", 2)
}

fn scope(tool: &str, target: Option<&str>, tests: Option<Value>) -> List<Scope, 1, 64> {
    let arguments = tests.map(|tests| Json::from_value(&tests).expect("an object"));
    List(vec![Scope { arguments, target: target.map(label), tool: label(tool) }])
}

pub(super) fn euro(amount: &str) -> Cost {
    Cost {
        amount: Amount::new(amount).expect("an amount"),
        currency: Currency::new("EUR").expect("a currency"),
    }
}

/// Lets a delegation be about these tools, and spend so much in all.
pub(super) fn bounded(body: &mut Delegation, tool: &str, total: &str) {
    body.scope = scope(tool, None, None);
    body.spend = Some(Spend { per_action: None, total: Some(euro(total)) });
}

/// The authority grants a delegation to `scout`, with this change.
pub(super) fn grant(s: &mut Scenario, change: impl FnOnce(&mut Delegation)) -> RecordId {
    let mut body = databases(s);
    change(&mut body);
    s.ledger.add(&s.cast.root.clone(), None, body)
}

fn granted_with(s: &mut Scenario, tests: Value) -> UnverifiedRecord {
    let mut body = databases(s);
    body.scope = scope("db.*", None, Some(tests));
    s.ledger.sign(&s.cast.root.clone(), None, body)
}

/// One of two roots grants a delegation to `scout`.
fn granted_by_one_of_two(s: &mut Scenario) -> RecordId {
    *s = two_roots();
    for actor in [s.cast.scout.clone(), s.cast.fixer.clone()] {
        let candidate = s.enrol(&actor, &[]);
        endorse(s, candidate);
    }
    grant(s, |_| {})
}

/// `scout` passes a delegation on to `fixer`, with this change.
fn narrow(s: &mut Scenario, above: RecordId, change: impl FnOnce(&mut Delegation)) -> UnverifiedRecord {
    let mut body = delegation(&s.cast.fixer, "db.*", 1);
    change(&mut body);
    under(s, &s.cast.scout.clone(), above, body)
}

/// Somebody narrows a delegation.
pub(super) fn under(s: &mut Scenario, by: &Actor, above: RecordId, body: Delegation) -> UnverifiedRecord {
    let mut draft = s.ledger.draft(by, None, body);
    draft.place = Place::Chain { log: s.ledger.log(), prev: above };
    draft.sign(by.signer()).expect("a draft")
}

pub(super) fn logged(s: &mut Scenario, record: &UnverifiedRecord) -> RecordId {
    if let Err(refused) = s.ledger.append(record.bytes()) {
        panic!("{refused:?}");
    }
    s.ledger.close();
    record.id()
}

/// The authority's delegation to `scout`, and what `scout` passed on to `fixer`.
fn chain(s: &mut Scenario) -> (RecordId, RecordId) {
    let above = grant(s, |_| {});
    let below = narrow(s, above, |_| {});
    (above, logged(s, &below))
}

const fn revoked(id: RecordId) -> Revocation {
    Revocation { distrust_from: None, reason: None, target: RevocationTarget::Delegation(id) }
}

/// The authority revokes a delegation.
fn end(s: &mut Scenario, id: RecordId) {
    s.ledger.add(&s.cast.root.clone(), None, revoked(id));
}

/// `scout` proposes under a delegation, in a run of its own.
fn proposed(s: &mut Scenario, id: RecordId) -> UnverifiedRecord {
    let run = s.trigger();
    proposal_of(s, run, id, json!({"full": false}))
}

pub(super) fn proposal_of(s: &mut Scenario, run: RunId, id: RecordId, arguments: Value) -> UnverifiedRecord {
    let mut body = s.proposal(action("db.vacuum", arguments));
    body.delegation = Some(id);
    s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
}

/// `fixer` proposes under a delegation, in a run of its own.
fn proposed_by_fixer(s: &mut Scenario, id: RecordId) -> UnverifiedRecord {
    let fixer = s.cast.fixer.clone();
    let trigger = s.ledger.add(&s.cast.gate.clone(), None, trigger_body(&fixer, "of-fixer"));
    let mut body = s.proposal(action("db.vacuum", json!({"full": false})));
    body.delegation = Some(id);
    s.ledger.sign(&fixer, Some(RunId::started_by(trigger)), body)
}

/// What `scout` proposed under a delegation was approved by two.
pub(super) fn approved(s: &mut Scenario, id: RecordId) -> (RunId, RecordId, Vec<RecordId>) {
    let proposal = proposed(s, id);
    let run = proposal.run().expect("a run");
    let proposal = logged(s, &proposal);
    let decisions = s.approve(run, proposal);
    (run, proposal, decisions)
}

/// A policy that knows what actions cost: everything is allowed, or wants two, or the breaking of glass.
pub(super) fn spending_policy(s: &mut Scenario, is_required: bool) {
    let rule = if is_required {
        json!({"break_glass": true, "effect": "require", "match": {"always": true}, "name": "two",
            "requirements": [{"count": 2}], "segregation": true, "uses": 1, "window": WINDOW})
    } else {
        json!({"effect": "allow", "match": {"always": true}, "name": "all", "uses": 1})
    };
    let costs = json!([{"amount": "/amount", "currency": "EUR", "tool": "db.*"}]);
    s.set_policy(json!({"costs": costs, "language": "counterfoil-policy/1", "rules": [rule]}));
    s.ledger.close();
}

/// A policy that allows what is proposed under such a delegation, and nothing else.
fn wanting(s: &mut Scenario, delegation: Value) {
    let rule =
        json!({"effect": "allow", "match": {"delegation": delegation}, "name": "delegated", "uses": 1});
    s.set_policy(json!({"language": "counterfoil-policy/1", "rules": [rule]}));
    s.ledger.close();
}

pub(super) fn under_break_glass(s: &mut Scenario, run: RunId, proposal: RecordId) -> UnverifiedRecord {
    executed(s, run, proposal, &[], |body| {
        body.break_glass = Some(BreakGlass { reason: text("The site is down.") });
    })
}
