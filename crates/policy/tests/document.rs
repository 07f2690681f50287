//! Which documents are policies: every limit at and over it, every member that is wrong, and what is said of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use counterfoil_policy::{Policy, Unreadable, limits};
use counterfoil_receipt::json;
use serde_json::{Value, json};

fn parse(document: &Value) -> Result<Policy, Unreadable> {
    Policy::parse(&json::to_canonical(document).unwrap())
}

fn document(rules: Value) -> Value {
    json!({"language": "counterfoil-policy/1", "rules": rules})
}

fn deny(matcher: Value) -> Value {
    document(json!([{"effect": "deny", "match": matcher, "name": "r"}]))
}

fn require(requirements: Value) -> Value {
    document(
        json!([{"effect": "require", "match": {"always": true}, "name": "r", "requirements": requirements,
        "segregation": true, "uses": 1, "window": 1000}]),
    )
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(json!({"always": true}), |inner, _| json!({"not": inner}))
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("n{at:04}")).collect()
}

#[test]
fn the_examples_of_the_specification_are_policies() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/policy.md")).unwrap();
    let mut found = 0;
    for block in page.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let value: Value = serde_json::from_str(text).unwrap();
        parse(&value).unwrap();
        found += 1;
    }
    assert_eq!(found, 2, "examples in spec/policy.md");
}

#[test]
fn every_limit_holds_at_the_limit_and_not_over_it() {
    let rules = |count: usize| {
        let rules: Vec<Value> = (0..count)
            .map(|at| json!({"effect": "deny", "match": {"always": true}, "name": format!("r{at}")}))
            .collect();
        document(rules.into())
    };
    let matchers = |counts: &[usize]| {
        let rule = |(at, count): (usize, &usize)| {
            // `any` of rows of `any`: 1 and then rows of at most 64.
            let mut left = count - 1;
            let mut rows = Vec::new();
            while left > 0 {
                let row = left.min(64);
                rows.push(if row == 1 {
                    json!({"always": true})
                } else {
                    json!({"any": vec![json!({"always": true}); row - 1]})
                });
                left -= row;
            }
            json!({"effect": "deny", "match": {"any": rows}, "name": format!("r{at}")})
        };
        document(counts.iter().enumerate().map(rule).collect())
    };
    let sources = |name: &str, count: usize, one: Value| {
        let mut document = rules(1);
        document[name] = vec![one; count].into();
        document
    };
    let cost = json!({"amount": "/a", "currency": "EUR", "tool": "*"});
    let free = json!({"paths": ["/a"], "tool": "*"});
    let pointers = |count| json!({"paths": names(count).iter().map(|name| format!("/{name}")).collect::<Vec<_>>(), "tool": "*"});
    let of = |member: &str, count| {
        let mut requirement = json!({"count": 1});
        requirement[member] = names(count).into();
        require(json!([requirement]))
    };
    let counts = |counts: &[usize]| require(counts.iter().map(|count| json!({"count": count})).collect());
    let argument = |test: Value| deny(json!({"argument": {"path": "/a", "one_of": test}}));
    let term = |member: &str, value: u64| {
        let mut document = require(json!([{"count": 1}]));
        document["rules"][0][member] = value.into();
        document
    };
    let cases: [(&str, Value, Value); 21] = [
        ("rules", rules(limits::RULES), rules(limits::RULES + 1)),
        ("matchers of a rule", matchers(&[limits::RULE_MATCHERS]), matchers(&[limits::RULE_MATCHERS + 1])),
        ("matchers", matchers(&[limits::RULE_MATCHERS; 64]), {
            let mut counts = vec![limits::RULE_MATCHERS; 64];
            counts.push(2);
            matchers(&counts)
        }),
        ("depth", deny(nested(limits::MATCHER_DEPTH)), deny(nested(limits::MATCHER_DEPTH + 1))),
        (
            "branches",
            deny(json!({"all": vec![json!({"always": true}); 64]})),
            deny(json!({"all": vec![json!({"always": true}); 65]})),
        ),
        (
            "costs",
            sources("costs", limits::SOURCES, cost.clone()),
            sources("costs", limits::SOURCES + 1, cost),
        ),
        ("free", sources("free", limits::SOURCES, free.clone()), sources("free", limits::SOURCES + 1, free)),
        ("paths", sources("free", 1, pointers(32)), sources("free", 1, pointers(33))),
        ("values", argument(names(64).into()), argument(names(65).into())),
        ("proposers", deny(json!({"principal": names(64)})), deny(json!({"principal": names(65)}))),
        ("proposers' groups", deny(json!({"group": names(32)})), deny(json!({"group": names(33)}))),
        ("tags", deny(json!({"tags": {"all": names(32)}})), deny(json!({"tags": {"all": names(33)}}))),
        ("principals", of("principals", 64), of("principals", 65)),
        ("groups", of("groups", 32), of("groups", 33)),
        ("requirements", counts(&[2; 8]), counts(&[1; 9])),
        ("approvers", counts(&[8, 8]), counts(&[8, 9])),
        ("count", counts(&[16]), counts(&[17])),
        ("uses", term("uses", 1_000), term("uses", 1_001)),
        ("retries", term("retries", 16), term("retries", 17)),
        ("window", term("window", 31_622_400_000), term("window", 31_622_400_001)),
        ("glob", deny(json!({"tool": "a".repeat(256)})), deny(json!({"tool": "a".repeat(257)}))),
    ];
    for (name, at, over) in cases {
        assert_eq!(parse(&at).map(|_| ()), Ok(()), "{name}");
        assert!(matches!(parse(&over), Err(Unreadable::Member { .. })), "{name}: {:?}", parse(&over));
    }
}

#[test]
fn a_document_over_a_mebibyte_is_refused_unread() {
    let tag = |at: usize| format!("{at:04}{}", "x".repeat(250));
    let tags: Vec<String> = (0..32).map(tag).collect();
    let rules = |count: usize| {
        let rules: Vec<Value> = (0..count)
            .map(
                |at| json!({"effect": "deny", "match": {"tags": {"any": tags}}, "name": format!("r{at:04}")}),
            )
            .collect();
        json::to_canonical(&document(rules.into())).unwrap()
    };
    let most = limits::DOCUMENT_BYTES / (rules(3).len() - rules(2).len());
    assert!(Policy::parse(&rules(most - 1)).is_ok());
    assert!(matches!(
        Policy::parse(&rules(most + 1)),
        Err(Unreadable::Json(json::JsonError::TooLarge { .. }))
    ));
}

#[test]
fn what_the_language_does_not_say_is_refused_with_its_place() {
    let all: [(Value, &str); 35] = [
        (json!({"language": "counterfoil-policy/2"}), "language"),
        (json!({}), "language"),
        (json!({"language": "counterfoil-policy/1"}), "rules"),
        (json!({"language": "counterfoil-policy/1", "rules": [], "x": 1}), "x"),
        (document(json!([])), "rules"),
        (document(json!([{"effect": "permit", "match": {"always": true}, "name": "r"}])), "rules.0.effect"),
        (
            document(json!([{"effect": "deny", "match": {"always": true}, "name": "r", "uses": 1}])),
            "rules.0.uses",
        ),
        (document(json!([{"effect": "allow", "match": {"always": true}, "name": "r"}])), "rules.0.uses"),
        (
            document(json!([{"effect": "allow", "match": {"always": true}, "name": "r", "uses": 0}])),
            "rules.0.uses",
        ),
        (
            document(
                json!([{"effect": "allow", "match": {"always": true}, "name": "r", "uses": 1, "break_glass": true}]),
            ),
            "rules.0.break_glass",
        ),
        (document(json!([{"effect": "deny", "match": {"always": true}, "name": "R"}])), "rules.0.name"),
        (
            document(
                json!([{"effect": "deny", "match": {"always": true}, "name": "r"}, {"effect": "deny", "match": {"always": true}, "name": "r"}]),
            ),
            "rules.1",
        ),
        (
            document(json!([{"effect": "deny", "match": {"always": true}, "name": "r", "retries": 1}])),
            "rules.0.retries",
        ),
        (
            document(
                json!([{"effect": "allow", "match": {"always": true}, "name": "r", "retries": 0, "uses": 1}]),
            ),
            "rules.0.retries",
        ),
        (
            document(
                json!([{"effect": "allow", "match": {"always": true}, "name": "r", "retries": "1", "uses": 1}]),
            ),
            "rules.0.retries",
        ),
        (
            document(
                json!([{"effect": "deny", "evidence": ["freshness"], "match": {"always": true}, "name": "r"}]),
            ),
            "rules.0.evidence",
        ),
        (
            document(
                json!([{"effect": "allow", "evidence": ["freshness", "inclusion"], "match": {"always": true}, "name": "r", "uses": 1}]),
            ),
            "rules.0.evidence.1",
        ),
        (
            document(json!([{"effect": "deny", "match": {"always": true}, "name": "r", "preview": true}])),
            "rules.0.preview",
        ),
        (
            document(
                json!([{"effect": "allow", "match": {"always": true}, "name": "r", "preview": 1, "uses": 1}]),
            ),
            "rules.0.preview",
        ),
        (deny(json!({"always": false})), "rules.0.match.always"),
        (deny(json!({})), "rules.0.match"),
        (deny(json!({"all": []})), "rules.0.match.all"),
        (deny(json!({"all": [{"tool": "a", "target": "b"}]})), "rules.0.match.all.0"),
        (deny(json!({"expression": "1"})), "rules.0.match"),
        (deny(json!({"argument": {"path": "/a"}})), "rules.0.match.argument"),
        (deny(json!({"argument": {"path": "a", "present": true}})), "rules.0.match.argument.path"),
        (deny(json!({"argument": {"path": "/a", "over": "1", "at_most": "2"}})), "rules.0.match.argument"),
        (deny(json!({"argument": {"path": "/a", "over": 1}})), "rules.0.match.argument.over"),
        (deny(json!({"argument": {"path": "/a", "one_of": ["b", "a"]}})), "rules.0.match.argument.one_of.1"),
        (deny(json!({"argument": {"path": "/a", "one_of": [1.5]}})), "rules.0.match.argument.one_of.0"),
        (deny(json!({"cost": {"over": {"amount": "1"}}})), "rules.0.match.cost.over.currency"),
        (deny(json!({"risk": {"at_least": "huge"}})), "rules.0.match.risk.at_least"),
        (require(json!([{"count": 1, "schemes": ["rot13"]}])), "rules.0.requirements.0.schemes.0"),
        (
            require(json!([{"count": 1, "surfaces": ["terminal", "link"]}])),
            "rules.0.requirements.0.surfaces.1",
        ),
        (require(json!([{"count": 1, "groups": []}])), "rules.0.requirements.0.groups"),
    ];
    for (document, place) in all {
        match parse(&document) {
            Err(Unreadable::Member { member, .. }) => assert_eq!(member, place, "{document}"),
            Err(Unreadable::Language(_)) => assert_eq!(place, "language"),
            other => panic!("{document}: {other:?}"),
        }
    }
    let fault = parse(&deny(json!({"all": [{"tool": ""}]}))).unwrap_err();
    let message =
        "rules.0.match.all.0.tool (rule r) is \"\"; it must be a glob of 1–256 bytes with 8 stars at most";
    assert_eq!(fault.to_string(), message);
    assert!(matches!(
        Policy::parse(br#"{"language":"counterfoil-policy/1", "rules":[]}"#),
        Err(Unreadable::Json(_))
    ));
}

#[test]
fn the_language_before_is_read_as_strictly_as_before() {
    let text = r#"{"break_glass":false,"language":"counterfoil-policy/0","rule":{"count":2,"groups":["sre"],"role":"human","segregation":true,"uses":3,"window":1000}}"#;
    assert!(Policy::parse(text.as_bytes()).is_ok());
    for (from, to) in [
        ("\"count\":2", "\"count\":0"),
        ("\"count\":2", "\"count\":17"),
        ("\"count\":2,", ""),
        ("\"uses\":3", "\"uses\":0"),
        ("\"window\":1000", "\"window\":0"),
        ("\"human\"", "\"agent\""),
        ("counterfoil-policy/0", "counterfoil-policy/9"),
        ("\"break_glass\":false", "\"break_glass\":false,\"extra\":1"),
        ("[\"sre\"]", "[\"sre\",\"sre\"]"),
        ("[\"sre\"]", "[\"\"]"),
        ("[\"sre\"]", "[\"Not A Group\"]"),
        ("[\"sre\"]", "[\"-sre\"]"),
    ] {
        assert!(text.contains(from));
        assert!(Policy::parse(text.replace(from, to).as_bytes()).is_err(), "{to}");
    }
}
