//! The policy against a naive interpreter, and what never makes anything easier.
//!
//! The interpreter reads the document as JSON and takes other ways: recursive globs, decimals as padded strings, every
//! assignment of approvers to places.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod naive;

use counterfoil_policy::{Approval, Approver, Assessment, Denial, Glob, Policy, Request, Shortfall, Voice};
use counterfoil_receipt::{
    Action, Principal, RecordId,
    body::{Risk, Surface},
    json,
    text::{Group, Label, RuleName},
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What is asked, owned.
#[derive(Clone, Debug)]
struct Asked {
    action: Value,
    risk: &'static str,
    tags: Vec<&'static str>,
    chain: Vec<&'static str>,
    proposer: &'static str,
    groups: Vec<&'static str>,
}

/// An approval, owned.
#[derive(Clone, Debug)]
struct Given {
    principal: &'static str,
    voice: Spoken,
    groups: Vec<&'static str>,
    /// Steps of escalation that stood before.
    escalated: Vec<(&'static str, u64)>,
    surface: &'static str,
    uses: u64,
    window: u64,
}

/// By what right an approval is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spoken {
    Own,
    Link,
    TimeOut(&'static str),
    Other,
}

/// What generated rules are called, in their order.
const RULES: [&str; 6] = ["rule-0", "rule-1", "rule-2", "rule-3", "rule-4", "rule-5"];
const NAMES: [&str; 4] = ["ana", "bo", "cy", "dot"];
const GROUPS: [&str; 3] = ["ops", "risk", "sre"];
const SURFACES: [&str; 5] = ["independent_page", "link", "none", "operator_page", "terminal"];
const RISKS: [&str; 4] = ["low", "medium", "high", "critical"];
/// Ids of delegations, and digests of definitions.
const LINKS: [&str; 2] = [
    "sha256:0000000000000000000000000000000000000000000000000000000000000001",
    "sha256:0000000000000000000000000000000000000000000000000000000000000002",
];
const INVOLVED: [&str; 1] = ["dot"];

fn some_of(from: &'static [&'static str], least: usize) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(from, least..=from.len())
}

fn glob() -> impl Strategy<Value = String> {
    "[ab.*]{1,5}"
}

fn pointer() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["/a", "/b", "/a/b", "/a/0", "/a~1b", "/c"][..])
}

fn amount() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["0", "1", "1.0", "1.5", "10", "2"][..])
}

fn leaf_value() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(1.5),
        json!(10),
        json!("0"),
        json!("1.0"),
        json!("1.50"),
        json!("a"),
        json!("ab"),
        json!("01"),
        json!("EUR"),
        json!("USD"),
        json!([1, "a"]),
    ])
}

fn arguments() -> impl Strategy<Value = Value> {
    let inner = prop_oneof![
        3 => leaf_value(),
        1 => leaf_value().prop_map(|value| json!({"b": value})),
        1 => leaf_value().prop_map(|value| json!([value])),
    ];
    proptest::collection::btree_map(proptest::sample::select(&["a", "b", "a/b", "c"][..]), inner, 0..4)
        .prop_map(|members| json!(members))
}

fn literals() -> impl Strategy<Value = Value> {
    let all = vec![
        json!(null),
        json!(false),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!("1.0"),
        json!("a"),
        json!("ab"),
    ];
    proptest::sample::subsequence(all, 1..4).prop_map(Value::Array)
}

fn matcher() -> impl Strategy<Value = Value> {
    let test = prop_oneof![
        literals().prop_map(|values| ("one_of", values)),
        glob().prop_map(|glob| ("glob", json!(glob))),
        amount().prop_map(|amount| ("over", json!(amount))),
        amount().prop_map(|amount| ("at_most", json!(amount))),
        any::<bool>().prop_map(|present| ("present", json!(present))),
    ];
    let leaf = prop_oneof![
        1 => Just(json!({"always": true})),
        2 => glob().prop_map(|glob| json!({"tool": glob})),
        1 => glob().prop_map(|glob| json!({"target": glob})),
        1 => proptest::sample::select(&["apply", "preview"][..]).prop_map(|mode| json!({"mode": mode})),
        1 => some_of(&LINKS, 1).prop_map(|digests| json!({"definition": digests})),
        6 => (pointer(), test).prop_map(|(path, (name, test))| {
            let mut members = json!({"path": path});
            members[name] = test;
            json!({"argument": members})
        }),
        3 => (any::<bool>(), amount(), any::<bool>()).prop_map(|(over, amount, euro)| {
            let cost = json!({"amount": amount, "currency": if euro { "EUR" } else { "USD" }});
            json!({"cost": {if over { "over" } else { "at_most" }: cost}})
        }),
        1 => proptest::sample::select(&RISKS[..]).prop_map(|risk| json!({"risk": {"at_least": risk}})),
        1 => (0..3usize, some_of(&["x", "y", "z"], 1)).prop_map(|(share, tags)| json!({"tags": {["all", "any", "none"][share]: tags}})),
        1 => some_of(&NAMES, 1).prop_map(|names| json!({"principal": names})),
        1 => some_of(&GROUPS, 1).prop_map(|groups| json!({"group": groups})),
        1 => any::<bool>().prop_map(|wanted| json!({"delegation": wanted})),
        1 => some_of(&LINKS, 1).prop_map(|links| json!({"delegation": links})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|all| json!({"all": all})),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|any| json!({"any": any})),
            inner.prop_map(|not| json!({"not": not})),
        ]
    })
}

fn requirement() -> impl Strategy<Value = Value> {
    let optional = |list: &'static [&'static str]| proptest::option::of(some_of(list, 1));
    (1..3u64, optional(&NAMES), optional(&GROUPS), optional(&SURFACES)).prop_map(
        |(count, principals, groups, surfaces)| {
            let mut requirement = json!({"count": count});
            for (name, list) in [("principals", principals), ("groups", groups), ("surfaces", surfaces)] {
                if let Some(list) = list {
                    requirement[name] = json!(list);
                }
            }
            requirement
        },
    )
}

fn require() -> impl Strategy<Value = Value> {
    let terms = (1..4u64, 1..4u64, proptest::bool::weighted(0.2), any::<bool>());
    (matcher(), proptest::collection::vec(requirement(), 1..4), terms, timers()).prop_map(
        |(matcher, requirements, (uses, window, segregation, break_glass), timers)| {
            let mut rule = json!({"effect": "require", "match": matcher, "requirements": requirements, "uses": uses,
                "window": window, "segregation": segregation, "break_glass": break_glass});
            timers.into_iter().for_each(|(name, timer)| rule[name] = timer);
            rule
        },
    )
    .prop_flat_map(with_conduct)
}

/// The rule, which may say how an action is executed.
fn with_conduct(rule: Value) -> impl Strategy<Value = Value> {
    let evidence = some_of(&["completeness", "freshness", "witnessed"], 0);
    let preview = proptest::option::of(any::<bool>());
    (proptest::option::of(1..4u64), evidence, preview).prop_map(move |(retries, evidence, preview)| {
        let mut rule = rule.clone();
        if let Some(preview) = preview {
            rule["preview"] = json!(preview);
        }
        if !evidence.is_empty() {
            rule["evidence"] = json!(evidence);
        }
        if let Some(retries) = retries {
            rule["retries"] = json!(retries);
        }
        rule
    })
}

/// Escalation and time-out of a rule, if it has them.
fn timers() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let to = (some_of(&NAMES, 0), some_of(&GROUPS, 1)).prop_map(|(principals, groups)| {
        let mut to = json!({"groups": groups});
        if !principals.is_empty() {
            to["principals"] = json!(principals);
        }
        to
    });
    let then = proptest::sample::select(&["approve", "reject"][..]);
    (proptest::collection::vec(to, 0..3), proptest::option::of(then)).prop_map(|(steps, then)| {
        let mut timers = Vec::new();
        if !steps.is_empty() {
            let steps: Vec<Value> =
                (1..).zip(steps).map(|(after, to)| json!({"after": after, "to": to})).collect();
            timers.push(("escalation", json!(steps)));
        }
        timers.extend(then.map(|then| ("timeout", json!({"after": 9, "then": then}))));
        timers
    })
}

fn deny() -> impl Strategy<Value = Value> {
    matcher().prop_map(|matcher| json!({"effect": "deny", "match": matcher}))
}

fn rule() -> impl Strategy<Value = Value> {
    let allow = (matcher(), 1..4u64)
        .prop_map(|(matcher, uses)| json!({"effect": "allow", "match": matcher, "uses": uses}));
    prop_oneof![
        3 => allow.prop_flat_map(with_conduct),
        1 => deny(),
        3 => require(),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let cost = (glob(), pointer(), pointer(), any::<bool>()).prop_map(|(tool, amount, at, fixed)| {
        let (name, value) = if fixed { ("currency", "EUR") } else { ("currency_at", at) };
        json!({"tool": tool, "amount": amount, name: value})
    });
    let free = (glob(), pointer()).prop_map(|(tool, path)| json!({"tool": tool, "paths": [path]}));
    let lists = (proptest::collection::vec(cost, 0..4), proptest::collection::vec(free, 0..3));
    (proptest::collection::vec(rule(), 1..5), lists).prop_map(|(rules, (costs, free))| {
        let mut document =
            json!({"language": "counterfoil-policy/1", "rules": [], "costs": costs, "free": free});
        rules.into_iter().for_each(|rule| add_rule(&mut document, rule));
        document
    })
}

/// Rules that are about everything and want several people: what matters is who counts for what.
fn quorums() -> impl Strategy<Value = Value> {
    let requirement =
        (1..3u64, some_of(&NAMES, 0), some_of(&GROUPS, 1)).prop_map(|(count, principals, groups)| {
            let mut requirement = json!({"count": count, "groups": groups, "surfaces": SURFACES});
            if !principals.is_empty() {
                requirement["principals"] = json!(principals);
            }
            requirement
        });
    let rule = (proptest::collection::vec(requirement, 2..4), timers()).prop_map(|(requirements, timers)| {
        let mut rule = json!({"effect": "require", "match": {"always": true}, "requirements": requirements,
            "uses": 9, "window": 9, "segregation": false});
        timers.into_iter().for_each(|(name, timer)| rule[name] = timer);
        rule
    });
    proptest::collection::vec(rule, 1..3).prop_map(|rules| {
        let mut document = json!({"language": "counterfoil-policy/1", "rules": []});
        rules.into_iter().for_each(|rule| add_rule(&mut document, rule));
        document
    })
}

fn add_rule(document: &mut Value, mut rule: Value) {
    let rules = document["rules"].as_array_mut().unwrap();
    rule["name"] = json!(format!("rule-{}", rules.len()));
    rules.push(rule);
}

fn asked() -> impl Strategy<Value = Asked> {
    let commitment = format!("sha256:{}", "0".repeat(64));
    let names = ("[ab.]{1,4}", proptest::option::of("[ab.]{1,4}"), any::<bool>());
    let hidden = (proptest::option::weighted(0.3, pointer()), proptest::option::weighted(0.3, pointer()));
    let claims =
        (0..4usize, some_of(&["x", "y", "z"], 0), 0..4usize, some_of(&GROUPS, 0), some_of(&LINKS, 0));
    let definition = proptest::option::of(proptest::sample::select(&LINKS[..]));
    (arguments(), names, hidden, claims, definition)
        .prop_map(move |(arguments, (tool, target, preview), (committed, free), (risk, tags, proposer, groups, chain), definition)| {
            let mut action = json!({"arguments": arguments, "tool": tool, "mode": if preview { "preview" } else { "apply" }});
            if let Some(target) = target {
                action["target"] = json!(target);
            }
            if let Some(schema) = definition {
                action["connector"] = json!({"name": "server", "schema": schema});
            }
            if let Some(path) = committed {
                action["committed"] = json!({path: commitment});
            }
            if let Some(path) = free {
                action["free"] = json!([path]);
            }
            Asked { action, risk: RISKS[risk], tags, chain, proposer: NAMES[proposer], groups }
        })
        .prop_filter("paths overlap", |asked| Action::parse(&json::to_canonical(&asked.action).unwrap()).is_ok())
}

/// What leaves nothing open.
fn bound() -> impl Strategy<Value = Asked> {
    asked().prop_filter("a free path", |asked| asked.action.get("free").is_none())
}

fn given() -> impl Strategy<Value = Vec<Given>> {
    let rule = || proptest::sample::select(&RULES[..]);
    let voice = prop_oneof![
        12 => Just(Spoken::Own),
        3 => Just(Spoken::Link),
        2 => rule().prop_map(Spoken::TimeOut),
        1 => Just(Spoken::Other),
    ];
    let escalated = proptest::collection::vec((rule(), 0..4u64), 0..3);
    let one = (0..4usize, voice, some_of(&GROUPS, 0), escalated, 0..5usize, 1..4u64, 1..4u64).prop_map(
        |(principal, voice, groups, escalated, surface, uses, window)| Given {
            principal: NAMES[principal],
            voice,
            groups,
            escalated,
            surface: SURFACES[surface],
            uses,
            window,
        },
    );
    proptest::collection::vec(one, 0..6)
}

fn policy(document: &Value) -> Policy {
    Policy::parse(&json::to_canonical(document).unwrap()).unwrap()
}

/// What the policy says, in the interpreter's words.
fn ours(policy: &Policy, asked: &Asked, given: &[Given]) -> naive::Answer {
    with(asked, given, |request, approvals| {
        let assessment = policy.assess(request);
        let names = |rules: Vec<&str>| rules.into_iter().map(str::to_owned).collect();
        let result = match assessment.evaluate(&INVOLVED, approvals) {
            Ok(terms) => naive::Result::Stands(terms.uses),
            Err(Shortfall::Denied(_)) => naive::Result::Denied,
            Err(Shortfall::Segregation(_) | Shortfall::Terms { .. }) => naive::Result::Unfit,
            Err(Shortfall::Quorum { .. }) => naive::Result::Short,
        };
        if result == naive::Result::Short || matches!(result, naive::Result::Stands(_)) {
            let selected = assessment.select(approvals);
            assert_eq!(selected.is_some(), matches!(result, naive::Result::Stands(_)));
            if let Some(selected) = selected {
                let named: Vec<Approval<'_>> = selected.iter().map(|at| approvals[*at]).collect();
                assert!(assessment.evaluate(&INVOLVED, &named).is_ok(), "what is selected suffices");
            }
        }
        let (says, rules) = match &assessment {
            Assessment::Allowed(rules) => {
                ("allowed", names(rules.iter().map(|one| one.rule.as_str()).collect()))
            }
            Assessment::Required(rules) => {
                ("required", names(rules.iter().map(|one| one.rule.as_str()).collect()))
            }
            Assessment::Denied(Denial::FreePath(_)) => ("free-path", Vec::new()),
            Assessment::Denied(Denial::Rules(rules)) => ("denied", rules.clone()),
            Assessment::Denied(Denial::NoRule) => ("denied", Vec::new()),
        };
        let explained = policy.explain(request);
        let applying: Vec<String> =
            explained.rules.iter().filter(|one| one.applies).map(|one| one.rule.clone()).collect();
        assert_eq!(applying, rules, "the explanation names the rules that apply");
        let entitled = approvals.iter().map(|one| assessment.entitles(&one.approver)).collect();
        let against = approvals.iter().map(|one| assessment.entitles_against(&one.approver)).collect();
        let (break_glass, retries) = (assessment.allows_break_glass(), assessment.retries());
        let evidence = assessment.evidence().into_iter().map(|one| one.as_str().to_owned()).collect();
        let preview = assessment.wants_preview();
        naive::Answer { says, rules, result, break_glass, retries, preview, evidence, entitled, against }
    })
}

fn with<T>(asked: &Asked, given: &[Given], ask: impl FnOnce(&Request<'_>, &[Approval<'_>]) -> T) -> T {
    let action = Action::parse(&json::to_canonical(&asked.action).unwrap()).unwrap();
    let tags: Vec<Label> = asked.tags.iter().map(|tag| Label::new(*tag).unwrap()).collect();
    let group = |group: &&str| Group::new(*group).unwrap();
    let groups: Vec<Group> = asked.groups.iter().map(group).collect();
    let proposer = Principal::new(asked.proposer).unwrap();
    let chain: Vec<RecordId> = asked.chain.iter().map(|id| RecordId::parse(id).unwrap()).collect();
    let request =
        Request::new(&action, Risk::parse(asked.risk).unwrap(), &tags, &proposer, &groups).under(&chain);
    let rules = RULES.map(|rule| RuleName::new(rule).unwrap());
    let rule = |name: &str| rules.iter().find(|rule| rule.as_str() == name).unwrap();
    type Names = (Principal, Vec<Group>, Vec<(RuleName, u64)>);
    let approvers: Vec<Names> = given
        .iter()
        .map(|one| {
            let escalated = one.escalated.iter().map(|(name, step)| (rule(name).clone(), *step));
            let groups = one.groups.iter().map(group).collect();
            (Principal::new(one.principal).unwrap(), groups, escalated.collect())
        })
        .collect();
    let approvals: Vec<Approval<'_>> = given
        .iter()
        .zip(&approvers)
        .map(|(one, (principal, groups, escalated))| Approval {
            approver: Approver {
                principal,
                signer: principal,
                voice: match one.voice {
                    Spoken::Own => Voice::Own,
                    Spoken::Link => Voice::Link,
                    Spoken::TimeOut(name) => Voice::Timeout(rule(name)),
                    Spoken::Other => Voice::None,
                },
                groups,
                surface: Surface::parse(one.surface).unwrap(),
                scheme: "ed25519",
                escalated,
            },
            uses: one.uses,
            window: one.window,
        })
        .collect();
    ask(&request, &approvals)
}

fn stands(document: &Value, asked: &Asked, given: &[Given]) -> bool {
    matches!(ours(&policy(document), asked, given).result, naive::Result::Stands(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_policy_says_what_the_naive_interpreter_says(document in document(), asked in asked(), given in given()) {
        prop_assert_eq!(ours(&policy(&document), &asked, &given), naive::answer(&document, &asked, &given));
    }

    #[test]
    fn what_could_pass_with_no_arguments_at_all_is_denied_with_every(document in document(), asked in asked()) {
        let policy = policy(&document);
        let (could, alone, is_denied, is_allowed, is_looked_at) = with(&asked, &[], |request, _| {
            let Request { action, risk, tags, proposer, groups, chain, .. } = *request;
            let any = Request::new(action, risk, tags, proposer, groups).under(chain).with_any_arguments();
            let said = policy.assess(request);
            let (is_denied, is_allowed) = (matches!(said, Assessment::Denied(_)), matches!(said, Assessment::Allowed(_)));
            let is_looked_at = !policy.always_wants_preview(&any) || is_denied || said.wants_preview();
            (policy.could_pass(&any), policy.could_be_allowed(&any), is_denied, is_allowed, is_looked_at)
        });
        prop_assert!(is_looked_at);
        prop_assert!(could || is_denied);
        prop_assert!(alone || !is_allowed);
        prop_assert!(could || !alone);
    }

    #[test]
    fn globs_match_what_trying_every_length_matches(glob in "[ab*]{1,10}", text in "[ab]{0,12}") {
        prop_assume!(glob.matches('*').count() <= 8);
        prop_assert_eq!(Glob::new(&glob).unwrap().matches(&text), naive::matches(&glob, &text));
    }

    #[test]
    fn approvers_count_where_any_assignment_has_a_place_for_them(document in quorums(), asked in bound(), given in given()) {
        prop_assert_eq!(ours(&policy(&document), &asked, &given), naive::answer(&document, &asked, &given));
    }

    #[test]
    fn a_further_requirement_makes_nothing_easier(
        document in document(), asked in asked(), given in given(), more in requirement(), at in any::<proptest::sample::Index>(),
    ) {
        let mut harder = document.clone();
        let rules = harder["rules"].as_array_mut().unwrap();
        let at = at.index(rules.len());
        if let Some(requirements) = rules[at].get_mut("requirements") {
            requirements.as_array_mut().unwrap().push(more);
        }
        prop_assert!(stands(&document, &asked, &given) || !stands(&harder, &asked, &given));
    }

    #[test]
    fn a_further_deny_rule_makes_nothing_easier(document in document(), asked in asked(), given in given(), more in deny()) {
        let mut harder = document.clone();
        add_rule(&mut harder, more);
        prop_assert!(stands(&document, &asked, &given) || !stands(&harder, &asked, &given));
    }

    #[test]
    fn a_further_require_rule_makes_nothing_easier_that_a_rule_is_about(
        document in document(), asked in asked(), given in given(), more in require(),
    ) {
        let before = with(&asked, &[], |request, _| policy(&document).assess(request) == Assessment::Denied(Denial::NoRule));
        let mut harder = document.clone();
        add_rule(&mut harder, more);
        prop_assert!(before || stands(&document, &asked, &given) || !stands(&harder, &asked, &given));
    }

    #[test]
    fn a_further_require_rule_beside_another_makes_no_execution_easier(
        document in document(), asked in asked(), more in require(),
    ) {
        let before = ours(&policy(&document), &asked, &[]);
        let mut harder = document.clone();
        add_rule(&mut harder, more);
        let after = ours(&policy(&harder), &asked, &[]);
        if before.says == "required" {
            prop_assert!(after.retries <= before.retries && after.preview >= before.preview);
            prop_assert!(before.evidence.iter().all(|one| after.evidence.contains(one)));
        }
    }

    #[test]
    fn an_approval_less_makes_no_quorum(document in document(), asked in asked(), given in given(), at in any::<proptest::sample::Index>()) {
        let whole = ours(&policy(&document), &asked, &given).result;
        let mut fewer = given.clone();
        if !fewer.is_empty() {
            fewer.remove(at.index(given.len()));
        }
        // Who may not approve, or grants too much, spoils what they take part in: without them it can stand.
        prop_assert!(whole != naive::Result::Short || !stands(&document, &asked, &fewer));
    }
}
