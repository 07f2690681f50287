//! `policy/`: what policies say of actions and of approvals for them, without any log.

use counterfoil_testkit::{Asked, Given};
use serde_json::{Value, json};

use super::{Files, heading, insert};

/// A policy, what is asked of it, and the part of the answer that the case is about.
struct Case {
    name: &'static str,
    description: &'static str,
    flags: &'static [&'static str],
    policy: Value,
    request: Value,
    approvals: Vec<Value>,
    expect: Expect,
}

/// What is to come out.
enum Expect {
    Unreadable,
    Uses(u64),
    Breaks(&'static str),
}

/// Who requested the action, and who executes it.
const INVOLVED: [&str; 2] = ["gate", "scout"];

pub fn generate(files: &mut Files) {
    for case in [matchers(), costs(), documents(), quorums(), timers(), timed_documents(), conducts()]
        .into_iter()
        .flatten()
    {
        let asked: Asked = serde_json::from_value(case.request.clone()).expect("a request");
        let given: Vec<Given> = case
            .approvals
            .iter()
            .map(|one| serde_json::from_value(one.clone()).expect("an approval"))
            .collect();
        let said = asked.judge(&case.policy, &INVOLVED.map(str::to_owned), &given);
        let fails = match case.expect {
            Expect::Unreadable => said["readable"] == false,
            Expect::Uses(uses) => said["uses"] == uses,
            Expect::Breaks(rule) => said["rule"] == rule,
        };
        assert!(fails, "{}: {said}", case.name);
        let mut vector =
            heading(case.name, case.description, case.flags, !matches!(case.expect, Expect::Uses(_)));
        for (name, value) in [
            ("policy", case.policy),
            ("request", case.request),
            ("involved", json!(INVOLVED)),
            ("approvals", Value::Array(case.approvals)),
            ("expect", said),
        ] {
            vector.insert(name.to_owned(), value);
        }
        insert(files, &format!("policy/{}.json", case.name), &Value::Object(vector));
    }
}

/// Rules that allow, one for each matcher; which of them match is the answer, and is spelled out here.
fn answers(
    name: &'static str,
    description: &'static str,
    request: &Value,
    costs: Value,
    expected: &[(&str, Value)],
) -> Case {
    let rule = |(at, (_, matcher)): (usize, &(&str, Value))| json!({"effect": "allow", "match": matcher, "name": format!("m{at:02}"), "uses": 1});
    let rules: Vec<Value> = expected.iter().enumerate().map(rule).collect();
    let policy = json!({"costs": costs, "free": [{"paths": ["/open"], "tool": "*"}], "language": "counterfoil-policy/1", "rules": rules});
    let asked: Asked = serde_json::from_value(request.clone()).expect("a request");
    let said = asked.judge(&policy, &[], &[]);
    for (at, (answer, matcher)) in expected.iter().enumerate() {
        assert_eq!(said["matches"][format!("m{at:02}")], *answer, "{name}: {matcher}");
    }
    let request = request.clone();
    Case { name, description, flags: &[], policy, request, approvals: Vec::new(), expect: Expect::Uses(1) }
}

fn request(arguments: Value) -> Value {
    json!({
        "action": {"arguments": arguments, "mode": "apply", "target": "db-1", "tool": "payments.refund"},
        "groups": ["agents", "night"], "proposer": "scout", "risk": "high", "tags": ["eu", "routine"],
    })
}

fn argument(path: &str, test: &str, value: Value) -> Value {
    json!({"argument": {"path": path, test: value}})
}

fn matchers() -> Vec<Case> {
    let values = request(json!({
        "big": "999999999999999999.999999999999999999", "flag": true, "list": [{"n": "x"}, 2], "n": 1, "none": null,
        "o": {"a/b": {"~": "deep"}}, "real": 1.5, "text": "a*b\n", "zero": "0.00", "negative": -3, "unit": "01",
    }));
    let mut hidden = request(json!({"card": {"last": "42"}, "cards": "7"}));
    hidden["action"]["committed"] = json!({"/card/number": format!("sha256:{}", "0".repeat(64))});
    hidden["action"]["free"] = json!(["/open"]);
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let mut defined = request(json!({}));
    defined["action"]["connector"] = json!({"name": "payments", "schema": digest("1")});
    let (yes, no, unresolved) = ("yes", "no", "unresolved");
    let (always, never, unknown) =
        (json!({"always": true}), json!({"mode": "preview"}), argument("/gone", "glob", json!("*")));
    vec![
        answers(
            "globs",
            "A star is any string, and everything else is itself, byte by byte.",
            &values,
            json!([]),
            &[
                (yes, json!({"tool": "payments.refund"})),
                (yes, json!({"tool": "payments.*"})),
                (yes, json!({"tool": "*"})),
                (yes, json!({"tool": "p*s.*fund"})),
                (yes, json!({"tool": "**payments.refund**"})),
                (no, json!({"tool": "payments"})),
                (no, json!({"tool": "payments?refund"})),
                (no, json!({"tool": "[p]ayments.refund"})),
                (no, json!({"tool": "*.refund.*"})),
                (no, json!({"tool": "payments.refund*refund"})),
                (no, json!({"tool": "Payments.*"})),
                (yes, json!({"target": "db-*"})),
                (no, json!({"target": "*-2"})),
                (yes, argument("/text", "glob", json!("a*"))),
                (no, argument("/text", "glob", json!("a*b"))),
                (no, argument("/n", "glob", json!("*"))),
            ],
        ),
        answers(
            "arguments",
            "Values of arguments by their paths: kinds are never converted, and what is no number is not compared.",
            &values,
            json!([]),
            &[
                (yes, argument("/n", "one_of", json!([1]))),
                (no, argument("/n", "one_of", json!([true, "1"]))),
                (no, argument("/flag", "one_of", json!([1, "true"]))),
                (yes, argument("/none", "one_of", json!([null]))),
                (no, argument("/real", "one_of", json!([1, 2]))),
                (unresolved, argument("/gone", "one_of", json!([null]))),
                (unresolved, argument("/gone", "glob", json!("*"))),
                (unresolved, argument("/gone", "over", json!("0"))),
                (yes, argument("/gone", "present", json!(false))),
                (yes, argument("/none", "present", json!(true))),
                (yes, argument("/list/0/n", "glob", json!("x"))),
                (yes, argument("/list/1", "one_of", json!([2]))),
                (no, argument("/list/00", "present", json!(true))),
                (no, argument("/list/2", "present", json!(true))),
                (no, argument("/list/-", "present", json!(true))),
                (no, argument("/n/x", "present", json!(true))),
                (yes, argument("/o/a~1b/~0", "one_of", json!(["deep"]))),
                (no, argument("/n", "over", json!("1.0"))),
                (yes, argument("/n", "over", json!("0.999999999999999999"))),
                (yes, argument("/zero", "at_most", json!("0"))),
                (no, argument("/big", "at_most", json!("999999999999999999.999999999999999998"))),
                (yes, argument("/negative", "at_most", json!("0"))),
                (unresolved, argument("/real", "over", json!("1"))),
                (unresolved, argument("/unit", "over", json!("0"))),
                (unresolved, argument("/flag", "at_most", json!("1"))),
            ],
        ),
        answers(
            "hidden",
            "What lies at, within or above a committed or free path is not known.",
            &hidden,
            json!([]),
            &[
                (unresolved, argument("/card/number", "present", json!(true))),
                (unresolved, argument("/card/number/0", "glob", json!("4*"))),
                (unresolved, argument("/card", "present", json!(true))),
                (unresolved, argument("/open", "present", json!(false))),
                (unresolved, argument("/open/x", "one_of", json!(["y"]))),
                (yes, argument("/card/last", "one_of", json!(["42"]))),
                (no, argument("/card/numb", "present", json!(true))),
                (yes, argument("/cards", "over", json!("6"))),
            ],
        ),
        answers(
            "claims",
            "Risk, tags, and who proposed it.",
            &values,
            json!([]),
            &[
                (yes, json!({"risk": {"at_least": "high"}})),
                (yes, json!({"risk": {"at_least": "low"}})),
                (no, json!({"risk": {"at_least": "critical"}})),
                (yes, json!({"tags": {"any": ["eu", "us"]}})),
                (no, json!({"tags": {"all": ["eu", "us"]}})),
                (yes, json!({"tags": {"all": ["eu", "routine"]}})),
                (no, json!({"tags": {"none": ["eu", "us"]}})),
                (yes, json!({"tags": {"none": ["us"]}})),
                (yes, json!({"principal": ["fixer", "scout"]})),
                (no, json!({"principal": ["agents"]})),
                (yes, json!({"group": ["night"]})),
                (no, json!({"group": ["scout"]})),
                (yes, json!({"mode": "apply"})),
            ],
        ),
        answers(
            "definitions",
            "How the tool of a server is defined: one of these digests, of all of it.",
            &defined,
            json!([]),
            &[
                (yes, json!({"definition": [digest("1")]})),
                (yes, json!({"definition": [digest("0"), digest("1")]})),
                (no, json!({"definition": [digest("0"), digest("2")]})),
                (yes, json!({"not": {"definition": [digest("0")]}})),
            ],
        ),
        answers(
            "definitions-of-nothing",
            "An action without a connector has no definition, and none of these.",
            &values,
            json!([]),
            &[
                (yes, json!({"not": {"definition": [digest("1")]}})),
                (no, json!({"definition": [digest("1")]})),
            ],
        ),
        answers(
            "logic",
            "all, any and not, of yes, no and unresolved.",
            &values,
            json!([]),
            &[
                (yes, json!({"all": [always, always]})),
                (no, json!({"all": [unknown, never, always]})),
                (unresolved, json!({"all": [always, unknown]})),
                (yes, json!({"any": [unknown, never, always]})),
                (unresolved, json!({"any": [never, unknown]})),
                (no, json!({"any": [never]})),
                (no, json!({"not": always})),
                (yes, json!({"not": never})),
                (unresolved, json!({"not": unknown})),
                (yes, json!({"not": {"all": [unknown, never]}})),
                (no, json!({"not": {"any": [unknown, {"not": never}]}})),
            ],
        ),
    ]
}

fn costs() -> Vec<Case> {
    let source = |tool: &str, amount: &str, (name, currency): (&str, &str)| json!({"tool": tool, "amount": amount, name: currency});
    let fixed = |tool: &str, amount: &str| source(tool, amount, ("currency", "EUR"));
    let at = |amount: &str, path: &str| source("payments.*", amount, ("currency_at", path));
    let over =
        |amount: &str, currency: &str| json!({"cost": {"over": {"amount": amount, "currency": currency}}});
    let at_most =
        |amount: &str, currency: &str| json!({"cost": {"at_most": {"amount": amount, "currency": currency}}});
    let values = request(
        json!({"amount": "50.00", "cents": 5000, "currency": "USD", "minus": -50, "same": 50, "word": "euro"}),
    );
    let always = || ("yes", json!({"always": true}));
    let unknown = |name, description, costs| {
        let (over, at_most) = (over("0", "EUR"), at_most("1000000", "EUR"));
        answers(name, description, &values, costs, &[always(), ("unresolved", over), ("unresolved", at_most)])
    };
    vec![
        answers(
            "cost",
            "The cost stands in the arguments; two places that agree are one.",
            &values,
            json!([fixed("payments.*", "/amount"), fixed("*.refund", "/same"), fixed("fs.*", "/cents")]),
            &[
                ("yes", at_most("50", "EUR")),
                ("no", over("50.000", "EUR")),
                ("yes", over("49.999999999999999999", "EUR")),
                ("unresolved", over("0", "USD")),
                ("unresolved", json!({"not": at_most("0", "USD")})),
            ],
        ),
        answers(
            "cost-currency-at",
            "The currency stands in the arguments too.",
            &values,
            json!([at("/amount", "/currency")]),
            &[("yes", at_most("50", "USD")), ("unresolved", at_most("50", "EUR"))],
        ),
        unknown(
            "cost-of-another-tool",
            "The policy does not say where the cost of this tool stands.",
            json!([fixed("fs.*", "/amount")]),
        ),
        unknown(
            "cost-twice",
            "Two places give two costs.",
            json!([fixed("*", "/amount"), fixed("*", "/cents")]),
        ),
        unknown(
            "cost-once-of-two",
            "One of two places gives nothing.",
            json!([fixed("*", "/amount"), fixed("*", "/gone")]),
        ),
        unknown("cost-negative", "Money that flows back is under no bound.", json!([fixed("*", "/minus")])),
        unknown("cost-no-amount", "What stands there is no number.", json!([fixed("*", "/word")])),
        unknown("cost-no-currency", "What stands there is no currency.", json!([at("/amount", "/word")])),
        unknown("cost-without-currency", "No currency stands there.", json!([at("/amount", "/gone")])),
    ]
}

fn documents() -> Vec<Case> {
    let with = |name, description, policy| Case {
        name,
        description,
        flags: &["PolicyRules"],
        policy,
        request: request(json!({})),
        approvals: Vec::new(),
        expect: Expect::Unreadable,
    };
    let rules = |rules: Value| json!({"language": "counterfoil-policy/1", "rules": rules});
    let deny = |matcher: Value| rules(json!([{"effect": "deny", "match": matcher, "name": "r"}]));
    let nested = |depth| (1..depth).fold(json!({"always": true}), |inner, _| json!({"not": inner}));
    let require = |requirements: Value| {
        rules(
            json!([{"effect": "require", "match": {"always": true}, "name": "r", "requirements": requirements,
            "segregation": true, "uses": 1, "window": 1}]),
        )
    };
    vec![
        with(
            "document-member",
            "A member that the language does not have.",
            json!({"default": "allow", "language": "counterfoil-policy/1", "rules": [{"effect": "deny", "match": {"always": true}, "name": "r"}]}),
        ),
        with("document-without-rules", "No rule.", rules(json!([]))),
        with(
            "document-two-of-a-name",
            "Two rules of one name.",
            rules(
                json!([{"effect": "deny", "match": {"always": true}, "name": "r"}, {"effect": "allow", "match": {"always": true}, "name": "r", "uses": 1}]),
            ),
        ),
        with(
            "document-allow-with-requirements",
            "A rule that allows, and names approvers.",
            rules(
                json!([{"effect": "allow", "match": {"always": true}, "name": "r", "uses": 1, "requirements": [{"count": 1}]}]),
            ),
        ),
        with(
            "document-matcher-of-two",
            "A matcher with two members.",
            deny(json!({"target": "a", "tool": "b"})),
        ),
        with(
            "document-unknown-matcher",
            "A matcher that the language does not have.",
            deny(json!({"expression": "true"})),
        ),
        with(
            "document-definition-order",
            "Definitions that do not ascend.",
            deny(
                json!({"definition": [format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "0".repeat(64))]}),
            ),
        ),
        with(
            "document-definition-alone",
            "A definition that stands in no list.",
            deny(json!({"definition": format!("sha256:{}", "1".repeat(64))})),
        ),
        with("document-always-false", "`always` that is not true.", deny(json!({"always": false}))),
        with(
            "document-two-tests",
            "An argument with two tests.",
            deny(json!({"argument": {"at_most": "2", "over": "1", "path": "/a"}})),
        ),
        with(
            "document-mixed-order",
            "Values that do not ascend: a string before an integer.",
            deny(argument("/a", "one_of", json!(["1", 1]))),
        ),
        with("document-nine-stars", "A glob with nine stars.", deny(json!({"tool": "*********"}))),
        with("document-nine-levels", "Matchers nine deep.", deny(nested(9))),
        with(
            "document-129-matchers",
            "129 matchers of one rule.",
            deny(
                json!({"any": [{"any": vec![json!({"always": true}); 64]}, {"all": vec![json!({"always": true}); 62]}]}),
            ),
        ),
        with(
            "document-17-approvers",
            "Requirements that want 17 approvers.",
            require(json!([{"count": 16}, {"count": 1}])),
        ),
        with(
            "document-empty-groups",
            "A requirement of no group.",
            require(json!([{"count": 1, "groups": []}])),
        ),
        with(
            "document-unknown-surface",
            "A surface that records don't have.",
            require(json!([{"count": 1, "surfaces": ["telepathy"]}])),
        ),
        with(
            "document-two-currencies",
            "A cost in the currency that is spelled out, and in the one at a path.",
            json!({"costs": [{"amount": "/a", "currency": "EUR", "currency_at": "/b", "tool": "*"}], "language": "counterfoil-policy/1", "rules": [{"effect": "deny", "match": {"always": true}, "name": "r"}]}),
        ),
    ]
}

/// One of group `a`; then `cy` and group `c` are asked too; then the time is out and the rule met.
fn timed() -> Value {
    json!({"effect": "require", "escalation": [{"after": 5, "to": {"principals": ["cy"]}}, {"after": 6, "to": {"groups": ["c"]}}],
        "match": {"always": true}, "name": "r", "requirements": [{"count": 1, "groups": ["a"], "schemes": ["ed25519"], "surfaces": ["link", "terminal"]}],
        "segregation": true, "timeout": {"after": 7, "then": "approve"}, "uses": 3, "window": 1000})
}

fn timed_documents() -> Vec<Case> {
    let with = |name, description, change: fn(&mut Value)| {
        let mut rule = timed();
        change(&mut rule);
        let policy = json!({"language": "counterfoil-policy/1", "rules": [rule]});
        let (request, approvals) = (request(json!({})), Vec::new());
        Case {
            name,
            description,
            flags: &["PolicyRules"],
            policy,
            request,
            approvals,
            expect: Expect::Unreadable,
        }
    };
    vec![
        with("document-timeout-of-nothing", "A time-out after no time.", |rule| {
            rule["timeout"]["after"] = json!(0)
        }),
        with("document-timeout-holds", "A time-out that neither approves nor rejects.", |rule| {
            rule["timeout"]["then"] = json!("hold");
        }),
        with("document-steps-at-once", "Two steps at one time.", |rule| {
            rule["escalation"][1]["after"] = json!(5)
        }),
        with("document-step-at-the-timeout", "A step when the time is out.", |rule| {
            rule["escalation"][1]["after"] = json!(7);
        }),
        with("document-step-to-nobody", "A step that asks nobody.", |rule| {
            rule["escalation"][0]["to"] = json!({})
        }),
        with("document-17-steps", "Seventeen steps.", |rule| {
            let steps: Vec<Value> =
                (1..18).map(|after| json!({"after": after, "to": {"principals": ["cy"]}})).collect();
            rule["escalation"] = json!(steps);
            rule["timeout"]["after"] = json!(18);
        }),
        with("document-timeout-of-a-denial", "A rule that denies, and has a time-out.", |rule| {
            *rule = json!({"effect": "deny", "match": {"always": true}, "name": "r", "timeout": rule["timeout"].clone()});
        }),
    ]
}

/// What rules say of executions, whoever approves them.
fn conducts() -> Vec<Case> {
    let allow = |name: &str, member: &str, value: Value| json!({"effect": "allow", "match": {"always": true}, "name": name, "uses": 2, member: value});
    let case = |name, description, rules: Value, expect| Case {
        name,
        description,
        flags: if matches!(expect, Expect::Unreadable) { &["PolicyRules"] } else { &[] },
        policy: json!({"language": "counterfoil-policy/1", "rules": rules}),
        request: request(json!({})),
        approvals: Vec::new(),
        expect,
    };
    vec![
        case(
            "retries-smallest",
            "Two rules let a use be tried again: as often as the smaller says.",
            json!([allow("a", "retries", json!(16)), allow("b", "retries", json!(2))]),
            Expect::Uses(2),
        ),
        case(
            "retries-of-one-rule",
            "One of two rules says nothing of retries: then there are none.",
            json!([allow("a", "retries", json!(3)), allow("b", "uses", json!(2))]),
            Expect::Uses(2),
        ),
        case(
            "evidence-of-every-rule",
            "Two rules demand evidence: a runtime needs what either does.",
            json!([
                allow("a", "evidence", json!(["witnessed"])),
                allow("b", "evidence", json!(["freshness", "witnessed"]))
            ]),
            Expect::Uses(2),
        ),
        case(
            "preview-of-one-rule",
            "One of two rules wants a preview: then it is wanted.",
            json!([allow("a", "preview", json!(false)), allow("b", "preview", json!(true))]),
            Expect::Uses(2),
        ),
        case(
            "document-preview-once",
            "A preview that is no yes or no.",
            json!([allow("a", "preview", json!("once"))]),
            Expect::Unreadable,
        ),
        case(
            "document-no-evidence",
            "Evidence of nothing.",
            json!([allow("a", "evidence", json!([]))]),
            Expect::Unreadable,
        ),
        case(
            "document-evidence-of-authority",
            "Evidence of a dimension that every gate demands anyway.",
            json!([allow("a", "evidence", json!(["authority"]))]),
            Expect::Unreadable,
        ),
        case(
            "document-evidence-order",
            "Evidence that does not ascend.",
            json!([allow("a", "evidence", json!(["witnessed", "freshness"]))]),
            Expect::Unreadable,
        ),
        case(
            "document-no-retries",
            "No retries, spelled out.",
            json!([allow("a", "retries", json!(0))]),
            Expect::Unreadable,
        ),
        case(
            "document-17-retries",
            "Seventeen retries.",
            json!([allow("a", "retries", json!(17))]),
            Expect::Unreadable,
        ),
        case(
            "document-retries-of-a-denial",
            "A rule that denies, and lets it be tried again.",
            json!([{"effect": "deny", "match": {"always": true}, "name": "a", "retries": 1}]),
            Expect::Unreadable,
        ),
    ]
}

fn timers() -> Vec<Case> {
    let case = |name, description, flags, approval: Value, expect| Case {
        name,
        description,
        flags,
        policy: json!({"language": "counterfoil-policy/1", "rules": [timed()]}),
        request: request(json!({})),
        approvals: vec![approval],
        expect,
    };
    let by = |principal: &str, groups: &[&str], surface: &str| {
        json!({"groups": groups, "principal": principal, "role": if surface == "terminal" { "human" } else { "policy" },
            "scheme": "ed25519", "surface": surface, "uses": 2, "window": 1000})
    };
    let after = |mut approval: Value, rule: &str, step: u64| {
        approval["escalated"] = json!([[rule, step]]);
        approval
    };
    let out = |principal: &str, rule: &str| {
        let mut approval = by(principal, &[], "none");
        approval["rule"] = json!(rule);
        approval
    };
    let (short, timer, link): (_, &[&str], &[&str]) =
        (|| Expect::Breaks("R-EXEC-06"), &["InventedTimer"], &["LinkForgery"]);
    vec![
        case("timer-out", "The rule's time is out.", &[], out("engine", "r"), Expect::Uses(2)),
        case("timer-out-of-another-rule", "Another rule's time is out.", timer, out("engine", "s"), short()),
        case(
            "timer-out-by-the-runtime",
            "The rule's time is out, says a key of the principal who executes: nobody approved.",
            &[],
            out("gate", "r"),
            Expect::Uses(2),
        ),
        case(
            "link-signed-by-the-runtime",
            "By link, signed by the principal who executes.",
            link,
            {
                let mut approval = by("ana", &["a"], "link");
                approval["signer"] = json!("gate");
                approval
            },
            Expect::Breaks("R-EXEC-07"),
        ),
        case(
            "link-by-another-scheme",
            "By link, by a key of a scheme that the requirement does not name.",
            link,
            {
                let mut approval = by("ana", &["a"], "link");
                approval["scheme"] = json!("p256");
                approval
            },
            short(),
        ),
        case(
            "escalation-by-name",
            "Whom the first step names.",
            &[],
            after(by("cy", &[], "terminal"), "r", 1),
            Expect::Uses(2),
        ),
        case(
            "escalation-by-group",
            "A member of the group of the second step.",
            &[],
            after(by("dot", &["c"], "terminal"), "r", 2),
            Expect::Uses(2),
        ),
        case(
            "escalation-of-another-step",
            "Whom the first step names, after the second.",
            timer,
            after(by("cy", &[], "terminal"), "r", 2),
            short(),
        ),
        case(
            "escalation-of-another-rule",
            "Whom the step names, after that step of another rule.",
            timer,
            after(by("cy", &[], "terminal"), "s", 1),
            short(),
        ),
        case(
            "escalation-elsewhere",
            "Whom the step names, at a place that the requirement does not.",
            timer,
            {
                let mut approval = after(by("cy", &[], "terminal"), "r", 1);
                approval["surface"] = json!("operator_page");
                approval
            },
            short(),
        ),
        case(
            "link-of-the-group",
            "By link, where the requirement names that surface.",
            &[],
            by("ana", &["a"], "link"),
            Expect::Uses(2),
        ),
        case(
            "link-of-a-stranger",
            "By link, of somebody whom the requirement does not entitle.",
            link,
            by("eve", &[], "link"),
            short(),
        ),
        case(
            "link-of-the-runtime",
            "By link, of the principal who executes.",
            link,
            by("gate", &["a"], "link"),
            Expect::Breaks("R-EXEC-07"),
        ),
    ]
}

fn quorums() -> Vec<Case> {
    let policy = |requirements: Value| {
        json!({"language": "counterfoil-policy/1", "rules": [{"effect": "require", "match": {"always": true}, "name": "r",
            "requirements": requirements, "segregation": true, "uses": 3, "window": 1000}]})
    };
    let case = |name, description, requirements, approvals: &[Value], expect| Case {
        name,
        description,
        flags: if matches!(expect, Expect::Uses(_)) { &[] } else { &["QuorumInflation"] },
        policy: policy(requirements),
        request: request(json!({})),
        approvals: approvals.to_vec(),
        expect,
    };
    let by = |principal: &str, groups: &[&str]| json!({"groups": groups, "principal": principal, "role": "human", "scheme": "ed25519", "surface": "terminal", "uses": 2, "window": 1000});
    let but = |mut approval: Value, name: &str, value: Value| {
        approval[name] = value;
        approval
    };
    let chain = || json!([{"count": 1, "groups": ["a", "b"]}, {"count": 1, "groups": ["b", "c"]}, {"count": 1, "groups": ["c", "d"]}]);
    let short = || Expect::Breaks("R-EXEC-06");
    vec![
        case(
            "matching-chain",
            "Each approver could take an earlier place; only one assignment fills all.",
            chain(),
            &[by("ana", &["b", "c"]), by("bo", &["a", "b"]), by("cy", &["c", "d"])],
            Expect::Uses(2),
        ),
        case(
            "matching-shift",
            "The last place is filled only if those before it shift.",
            chain(),
            &[by("cy", &["c"]), by("bo", &["b"]), by("ana", &["a"])],
            Expect::Uses(2),
        ),
        case(
            "matching-none",
            "Three approvers for three places, and no assignment fills all.",
            chain(),
            &[by("ana", &["b"]), by("bo", &["a", "b"]), by("cy", &["a"])],
            short(),
        ),
        case(
            "matching-one-for-two",
            "One person with two decisions, each entitled by another requirement.",
            json!([{"count": 1, "groups": ["a"]}, {"count": 1, "surfaces": ["link"]}]),
            &[by("ana", &["a"]), but(by("ana", &["a"]), "surface", json!("link"))],
            short(),
        ),
        case(
            "matching-either-decision",
            "Of one person's two decisions, the second is the one that is entitled.",
            json!([{"count": 1, "surfaces": ["link"]}]),
            &[by("ana", &[]), but(by("ana", &[]), "surface", json!("link"))],
            Expect::Uses(2),
        ),
        case(
            "approver-by-name-or-group",
            "With both members either will do.",
            json!([{"count": 2, "groups": ["a"], "principals": ["bo"]}]),
            &[by("ana", &["a"]), by("bo", &[])],
            Expect::Uses(2),
        ),
        case(
            "approver-no-human",
            "A policy engine belongs to the group.",
            json!([{"count": 1, "groups": ["a"]}]),
            &[but(by("engine", &["a"]), "role", json!("policy"))],
            short(),
        ),
        case(
            "approver-usual-surfaces",
            "Without the member, a decision on no surface counts for nothing.",
            json!([{"count": 1}]),
            &[but(by("ana", &[]), "surface", json!("none"))],
            short(),
        ),
        case(
            "approver-operator-page",
            "Without the member, a decision on the operator's page counts.",
            json!([{"count": 1}]),
            &[but(by("ana", &[]), "surface", json!("operator_page"))],
            Expect::Uses(2),
        ),
        case(
            "approver-reserved-scheme",
            "A scheme that is reserved entitles whoever has such a key.",
            json!([{"count": 1, "schemes": ["webauthn-p256"]}]),
            &[but(by("ana", &[]), "scheme", json!("webauthn-p256"))],
            Expect::Uses(2),
        ),
        case(
            "approval-of-a-stranger",
            "Whoever is named limits the uses, also if nobody needs them.",
            json!([{"count": 1, "groups": ["a"]}]),
            &[by("ana", &["a"]), but(by("eve", &[]), "uses", json!(1))],
            Expect::Uses(1),
        ),
        case(
            "approval-of-the-proposer",
            "The proposer approves beside enough others.",
            json!([{"count": 1}]),
            &[by("ana", &[]), by("scout", &[])],
            Expect::Breaks("R-EXEC-07"),
        ),
        case(
            "approval-too-wide",
            "An approval grants a millisecond too many.",
            json!([{"count": 1}]),
            &[but(by("ana", &[]), "window", json!(1001))],
            Expect::Breaks("R-EXEC-12"),
        ),
    ]
}
