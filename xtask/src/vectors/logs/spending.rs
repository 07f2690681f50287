//! What is used up of delegations, along chains and by all who share them.

use counterfoil_receipt::{
    RecordId, UnverifiedRecord,
    body::{Cost, Spend},
    field::Whole,
    text::Currency,
};
use counterfoil_testkit::Scenario;
use serde_json::{Value, json};

use super::{
    Case, breaks,
    delegations::{
        approved, bounded, databases, euro, grant, logged, proposal_of, spending_policy, under,
        under_break_glass,
    },
    holds,
    steps::executed,
};

const SPENT: &[&str] = &["Overspending"];

pub fn cases() -> Vec<Case> {
    vec![
        holds("delegation-spends-all", "The last cent of a delegation is spent.", |s| {
            let id = grant(s, |body| bounded(body, "db.*", "10"));
            spent(s, id, "9.99");
            spend(s, id, "0.01")
        }),
        breaks(
            "R-DEL-07",
            "delegation-overspent",
            SPENT,
            "A cent more than its total is spent under a delegation.",
            |s| {
                let id = grant(s, |body| bounded(body, "db.*", "10"));
                spent(s, id, "9.99");
                spend(s, id, "0.02")
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-overspent-by-siblings",
            SPENT,
            "Two who hold parts of one delegation each spend less than it grants, and together more.",
            |s| {
                let above = grant(s, |body| bounded(body, "db.*", "10"));
                let mut body = databases(s);
                body.depth = Whole::new(1).expect("a depth");
                let scout = s.cast.scout.clone();
                let own = under(s, &scout, above, body.clone());
                let own = logged(s, &own);
                body.uses = Whole::new(5);
                let sibling = under(s, &scout, above, body);
                let sibling = logged(s, &sibling);
                spent(s, own, "6");
                spend(s, sibling, "6")
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-spends-nothing",
            SPENT,
            "A delegation with a total of 0 spends something.",
            |s| {
                let id =
                    grant(s, |body| body.spend = Some(Spend { per_action: None, total: Some(euro("0")) }));
                spend(s, id, "0.000000000000000001")
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-over-its-action",
            SPENT,
            "One action costs more than a delegation lets one cost.",
            |s| {
                let id = grant(s, |body| {
                    body.spend = Some(Spend { per_action: Some(euro("5")), total: Some(euro("100")) });
                });
                spend(s, id, "5.01")
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-cost-unknown",
            SPENT,
            "A delegation bounds what is spent, and the policy does not know what the action costs.",
            |s| {
                let id = grant(s, |body| bounded(body, "db.*", "10"));
                let (run, proposal, decisions) = approved(s, id);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-cost-omitted",
            SPENT,
            "A delegation bounds what is spent, and the action leaves its amount out.",
            |s| {
                let id = grant(s, |body| bounded(body, "db.*", "10"));
                spend_of(s, id, json!({"full": false}))
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-of-another-currency",
            SPENT,
            "A delegation bounds what is spent in another currency than that of the action.",
            |s| {
                let id = grant(s, |body| {
                    let bound = Cost { currency: Currency::new("BTC").expect("a currency"), ..euro("10") };
                    body.spend = Some(Spend { per_action: None, total: Some(bound) });
                });
                spend(s, id, "1")
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-used-up",
            SPENT,
            "An action more is executed than a delegation has uses.",
            |s| {
                let id = grant(s, |body| body.uses = Whole::new(1));
                spent(s, id, "1");
                spend(s, id, "1")
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-used-up-above",
            SPENT,
            "The uses of a delegation were taken by what descends from it.",
            |s| {
                let above = grant(s, |body| body.uses = Whole::new(1));
                let mut body = databases(s);
                body.depth = Whole::new(1).expect("a depth");
                let own = under(s, &s.cast.scout.clone(), above, body);
                let own = logged(s, &own);
                spent(s, own, "1");
                spend(s, above, "1")
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-overspent-under-break-glass",
            &["Overspending", "BreakGlass"],
            "More than its total is spent under a delegation, under break-glass.",
            |s| {
                let id = grant(s, |body| bounded(body, "db.*", "10"));
                spending_policy(s, true);
                let run = s.trigger();
                let proposal = proposal_of(s, run, id, json!({"amount": "11"}));
                let proposal = logged(s, &proposal);
                under_break_glass(s, run, proposal)
            },
        ),
    ]
}

/// `gate` executes what costs so much and nobody has to approve.
fn spend(s: &mut Scenario, id: RecordId, amount: &str) -> UnverifiedRecord {
    spend_of(s, id, json!({"amount": amount}))
}

fn spend_of(s: &mut Scenario, id: RecordId, arguments: Value) -> UnverifiedRecord {
    spending_policy(s, false);
    let run = s.trigger();
    let proposal = proposal_of(s, run, id, arguments);
    let proposal = logged(s, &proposal);
    executed(s, run, proposal, &[], |_| {})
}

fn spent(s: &mut Scenario, id: RecordId, amount: &str) {
    let execution = spend(s, id, amount);
    logged(s, &execution);
}
