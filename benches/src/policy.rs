//! What a policy says of one action whose arguments are parsed.

use std::{hint::black_box, time::Instant};

use counterfoil_policy::{Assessment, Policy, Request};
use counterfoil_receipt::{Principal, body::Risk, json};
use counterfoil_testkit::{action, label};
use serde_json::{Value, json};

use crate::report::{Bar, Figure, median};

/// Evaluations that are timed together: one alone is near the resolution of the clock.
const BATCH: usize = 20;
/// Batches.
const ROUNDS: usize = 500;

/// Twenty rules.
pub fn few_rules() -> Figure {
    assess("a policy of 20 rules, what it says of one action, µs", 20, 5.0)
}

/// As many rules as a policy can have.
pub fn many_rules() -> Figure {
    assess("a policy of 1,000 rules, what it says of one action, µs", 1_000, 100.0)
}

fn assess(figure: &'static str, rules: usize, bar: f64) -> Figure {
    let document = json!({
        "costs": [{"amount": "/order/amount", "currency_at": "/order/currency", "tool": "payments.*"}],
        "language": "counterfoil-policy/1",
        "rules": (0..rules).map(rule).collect::<Vec<Value>>(),
    });
    let policy = Policy::parse(&json::to_canonical(&document).expect("JSON")).expect("a policy");
    let arguments = json!({"account": "acme", "lines": [{"price": "12.50", "sku": "a-1"}], "note": "as agreed by mail",
        "order": {"amount": "80.00", "currency": "EUR"}});
    let (action, proposer) =
        (action("payments.refund.7", arguments), Principal::new("scout").expect("a name"));
    let (tags, groups) = ([label("eu"), label("routine")], [Principal::new("agents").expect("a name")]);
    let request = Request::new(&action, Risk::High, &tags, &proposer, &groups);
    request.arguments();
    assert!(
        matches!(policy.assess(&request), Assessment::Required(_)),
        "the measured action needs approvals"
    );
    let time = |_| {
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(policy.assess(black_box(&request)));
        }
        start.elapsed().as_secs_f64() / BATCH as f64
    };
    let value = median((0..ROUNDS).map(time).collect()) * 1e6;
    Figure { figure, value, bar: Bar::AtMost(bar), how: format!("p50 of {ROUNDS} rounds of {BATCH}") }
}

/// Rules as people write them: of each five, one looks at tool and cost, one at an argument and its tool, one at who proposes,
/// one at claims, one at the target.
pub fn rule(at: usize) -> Value {
    let tool = format!("payments.*.{}", at % 10);
    let matcher = match at % 5 {
        0 => json!({"all": [{"tool": tool}, {"cost": {"over": {"amount": "1000", "currency": "EUR"}}}]}),
        1 => json!({"all": [{"argument": {"at_most": "20", "path": "/order/amount"}}, {"tool": tool}]}),
        2 => json!({"all": [{"tool": tool}, {"group": ["agents"]}, {"not": {"principal": ["fixer"]}}]}),
        3 => json!({"any": [{"risk": {"at_least": "critical"}}, {"tags": {"any": ["frozen", "us"]}}]}),
        _ => json!({"all": [{"target": "prod-*"}, {"mode": "apply"}]}),
    };
    let name = format!("rule-{at}");
    if at % 5 == 1 {
        return json!({"effect": "allow", "match": matcher, "name": name, "uses": 1});
    }
    json!({"effect": "require", "match": matcher, "name": name, "requirements": [{"count": 1, "groups": ["finance"]}],
        "segregation": true, "uses": 1, "window": 3_600_000})
}
