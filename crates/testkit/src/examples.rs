//! One well-formed record of every type, with every optional member that fits.

use counterfoil_receipt::{
    Action, RecordId, Role, RunId, UnverifiedRecord,
    action::{Connector, Json, Map, Mode},
    body::{
        Audience, Cancel, Changes, Cost, Delegation, Effects, Endorsement, Escalation, Evidence, Item,
        ItemSet, KeyChange, Outcome, Proposal, Refusal, Rejection, Revocation, RevocationTarget, Risk,
        Ruling, Scope, Settlement, Spend, Status, Type,
    },
    field::{List, Set, Whole},
    hashes::SchemaDigest,
    text::{Amount, Currency, Principal},
};
use serde_json::json;

use crate::{Actor, Ledger, Scenario, action, label, ledger::count, scenario::pointer, text};

/// The run that [`examples`] belong to.
pub fn example_run() -> (Scenario, RunId) {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    (scenario, run)
}

/// One record of each type, in the order of the specification. They have the form that admission wants, and are
/// signed; that each could stand where it says is not promised.
pub fn examples() -> Vec<UnverifiedRecord> {
    let (mut scenario, run) = example_run();
    Type::ALL.iter().map(|kind| example(&mut scenario, run, *kind)).collect()
}

fn example(scenario: &mut Scenario, run: RunId, kind: Type) -> UnverifiedRecord {
    let cast = scenario.cast.clone();
    let state = scenario.ledger.state().run(&run).expect("the run");
    let (proposal, _) = state.proposals()[0];
    let (execution, _) = state.executions()[0];
    let decisions = state.approvals(&proposal);
    let genesis = scenario.ledger.log();
    let someone = Actor::new("someone", Role::Agent);
    let ledger = &mut scenario.ledger;
    match kind {
        Type::Genesis => UnverifiedRecord::parse(&ledger.entries()[0]).expect("a genesis"),
        Type::Snapshot => {
            let body = ledger.snapshot();
            ledger.sign(&cast.log, None, body)
        }
        Type::Keyring => {
            let mut body = crate::scenario::enrolment(&cast.ana.with_key(1), &["dba", "sre"]);
            body.change = KeyChange::Rotate;
            body.replaces = Some(cast.ana.key());
            body.name = Some(ledger.item("name", "text/plain", "Ana Ŝmit".as_bytes()));
            body.not_before = Some(count(ledger.now()));
            body.not_after = Some(count(ledger.now() + 1));
            ledger.sign(&cast.root, None, body)
        }
        Type::Policy => {
            let digest = ledger.document(Json::from_value(&crate::policy_document(1)).expect("a document"));
            ledger.sign(&cast.root, None, counterfoil_receipt::body::Policy::Digest(digest))
        }
        Type::Endorsement => ledger.sign(&cast.spare_root, None, Endorsement { candidate: genesis }),
        Type::Delegation => ledger.sign(&cast.root, None, delegation(&cast.scout)),
        Type::Revocation => {
            let body = Revocation {
                distrust_from: Some(count(3)),
                reason: Some(text("The laptop was lost.")),
                target: RevocationTarget::Key(cast.bo.key()),
            };
            ledger.sign(&cast.root, None, body)
        }
        Type::Trigger => {
            let mut body = crate::scenario::trigger_body(&cast.scout, "e-1");
            body.content = Some(items(ledger));
            body.summary = Some(text("db-1 is full"));
            ledger.sign(&cast.scout, None, body)
        }
        Type::Observation => {
            let mut body = counterfoil_receipt::body::Observation {
                items: None,
                kind: counterfoil_receipt::body::ObservationKind::Plan,
                summary: Some(text("Vacuum \u{1F600} it.\nThen look again.")),
            };
            body.items = Some(items(ledger));
            ledger.sign(&cast.scout, Some(run), body)
        }
        Type::Proposal => {
            let body = full_proposal(ledger, proposal);
            ledger.sign(&cast.scout, Some(run), body)
        }
        Type::Decision => {
            let mut body = scenario.decision(run, proposal, Ruling::RequestChanges);
            body.changes = Some(Changes { action: Some(full_action(&mut scenario.ledger)), note: None });
            body.reason = Some(text("Too wide."));
            scenario.ledger.sign(&cast.bo, Some(run), body)
        }
        Type::Escalation => {
            let body = Escalation {
                policy: scenario.policy(),
                proposal,
                reason: Some(text("Nobody answered.")),
                rule: name("rule"),
                step: number(1),
                to: List(vec![Audience::Group(name("sre")), Audience::Principal(name("ana"))]),
            };
            scenario.ledger.sign(&cast.engine, Some(run), body)
        }
        Type::Cancel => {
            let body = Cancel { reason: Some(text("No longer needed.")), target: proposal };
            ledger.sign(&cast.scout, Some(run), body)
        }
        Type::Execution => {
            let mut body = scenario.execution(run, proposal, &decisions);
            body.retries = Some(execution);
            scenario.ledger.sign(&cast.gate, Some(run), body)
        }
        Type::Outcome => {
            let body = Outcome {
                attestation: Some(ledger.item("receipt.json", "application/json", b"{}")),
                detail: Some(text("The connection broke.")),
                effects: Effects::Partial,
                execution,
                result: Some(ledger.item("out.txt", "text/plain", b"")),
                status: Status::Unknown,
            };
            ledger.sign(&cast.gate, Some(run), body)
        }
        Type::Refusal => {
            let body = Refusal {
                action: Some(full_action(ledger)),
                basis: Some(ledger.basis()),
                code: label("use-consumed"),
                count: number(3),
                decisions: Set::new(decisions),
                detail: Some(text("Use 1 is held.")),
                proposal: Some(proposal),
                use_number: Some(number(1)),
            };
            ledger.sign(&cast.gate, Some(run), body)
        }
        Type::Settlement => {
            let body = Settlement {
                effects: Effects::None,
                evidence: Some(items(ledger)),
                execution,
                reason: Some(text("Looked at the disk.")),
                status: Status::Failed,
            };
            ledger.sign(&cast.ana, Some(run), body)
        }
        Type::Handoff => {
            let mut body = scenario.handoff(run);
            body.items = Some(items(&mut scenario.ledger));
            body.to = someone.holder();
            scenario.ledger.sign(&cast.fixer, Some(run), body)
        }
        Type::Rejection => {
            let target = RevocationTarget::Delegation(genesis);
            let refused =
                ledger.sign(&cast.ana, None, Revocation { distrust_from: None, reason: None, target });
            let body = Rejection {
                code: label("revocation-target"),
                id: Some(refused.id()),
                rule: label("R-REV-01"),
                size: count(ledger.size()),
                statement: Some(refused.statement()),
            };
            ledger.sign(&cast.log, None, body)
        }
    }
}

fn items(ledger: &mut Ledger) -> List<Evidence, 1, 64> {
    let item: Item = ledger.item("log.txt", "text/plain", b"disk full");
    let set: ItemSet = ledger.item_set("pages", &[("page-1", b"1"), ("page-2", b"2"), ("page-3", b"3")]);
    List(vec![Evidence::Item(item), Evidence::Set(set)])
}

fn full_action(ledger: &mut Ledger) -> Action {
    let mut action =
        action("db.vacuum", json!({"amount": "12.50", "full": true, "list": [1, 2.5, null, "\u{20ac}"]}));
    action.committed = Map::new([(pointer("/token"), ledger.commit("/token", br#""s3cret""#))]);
    action.connector =
        Some(Connector { name: label("db.example"), schema: SchemaDigest::of(br#"{"type":"object"}"#) });
    action.free = Set::new([pointer("/attempt"), pointer("/trace")]);
    action.mode = Mode::Preview;
    action.precondition = Some(Json::from_value(&json!({"etag": "7"})).expect("an object"));
    action
}

fn full_proposal(ledger: &mut Ledger, supersedes: RecordId) -> Proposal {
    Proposal {
        action: full_action(ledger),
        audience: Audience::Group(name("prod")),
        cost: Some(cost("12.50")),
        delegation: Some(supersedes),
        evidence: Some(items(ledger)),
        metadata: Map::new([(label("\u{20ac}"), label("euro")), (label("ticket"), label("T-1"))]),
        risk: Risk::Critical,
        summary: Some(text("Make room.")),
        supersedes: Some(supersedes),
        tags: Set::new([label("database"), label("production")]),
    }
}

fn delegation(delegate: &Actor) -> Delegation {
    Delegation {
        audience: Some(Audience::Group(name("prod"))),
        delegate: delegate.holder(),
        depth: number(2),
        not_after: Some(count(2)),
        not_before: Some(count(1)),
        scope: List(vec![Scope {
            arguments: Some(Json::from_value(&json!({"/full": {"one_of": [false]}})).expect("an object")),
            target: Some(label("db-1")),
            tool: label("db.vacuum"),
        }]),
        spend: Some(Spend { per_action: Some(cost("1")), total: Some(cost("10.5")) }),
        uses: Some(number(5)),
    }
}

fn cost(amount: &str) -> Cost {
    Cost {
        amount: Amount::new(amount).expect("an amount"),
        currency: Currency::new("EUR").expect("a currency"),
    }
}

fn name(text: &str) -> Principal {
    Principal::new(text).expect("a name")
}

fn number<const MIN: u64, const MAX: u64>(value: u64) -> Whole<MIN, MAX> {
    Whole::new(value).expect("a number within its bounds")
}
