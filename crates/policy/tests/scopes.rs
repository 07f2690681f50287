//! Scopes against a naive reading: what is in one, and that whatever lies within another allows nothing that the other does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use counterfoil_policy::{Request, Scope};
use counterfoil_receipt::{
    Action, Principal,
    action::Json,
    body::{self, Risk},
    json,
    text::Label,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One entry: tool, target, and tests by pointer.
type Entry = (String, Option<String>, Vec<(&'static str, Value)>);

const POINTERS: [&str; 3] = ["/a", "/b", "/a/c"];

fn glob() -> impl Strategy<Value = String> {
    "[ab*]{1,4}"
}

fn amount() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![json!("0"), json!("1"), json!("1.0"), json!("1.5"), json!("2")])
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

fn tests() -> impl Strategy<Value = Value> {
    let test = prop_oneof![
        literals().prop_map(|values| ("one_of", values)),
        glob().prop_map(|glob| ("glob", json!(glob))),
        amount().prop_map(|amount| ("over", amount)),
        amount().prop_map(|amount| ("at_most", amount)),
        any::<bool>().prop_map(|present| ("present", json!(present))),
    ];
    proptest::collection::vec(test, 1..3)
        .prop_map(|tests| tests.into_iter().map(|(name, test)| (name.to_owned(), test)).collect())
}

fn entry() -> impl Strategy<Value = Entry> {
    let arguments = proptest::sample::subsequence(POINTERS.to_vec(), 0..=2).prop_flat_map(|pointers| {
        let count = pointers.len();
        proptest::collection::vec(tests(), count)
            .prop_map(move |tests| pointers.clone().into_iter().zip(tests).collect())
    });
    (glob(), proptest::option::of(glob()), arguments)
}

fn value() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(1.5),
        json!("0"),
        json!("1.0"),
        json!("1.50"),
        json!("a"),
        json!("ab"),
        json!([1]),
        json!({"c": "a"}),
        json!({"c": 1}),
    ])
}

fn action() -> impl Strategy<Value = Value> {
    let arguments = (proptest::option::of(value()), proptest::option::of(value()));
    let hidden = proptest::option::weighted(0.2, proptest::sample::select(POINTERS.to_vec()));
    ("[ab]{1,4}", proptest::option::of("[ab]{1,4}"), arguments, hidden)
        .prop_map(|(tool, target, (a, b), free)| {
            let mut arguments = json!({});
            for (name, value) in [("a", a), ("b", b)] {
                if let Some(value) = value {
                    arguments[name] = value;
                }
            }
            let mut action = json!({"arguments": arguments, "mode": "apply", "tool": tool});
            if let Some(target) = target {
                action["target"] = json!(target);
            }
            if let Some(path) = free {
                action["free"] = json!([path]);
            }
            action
        })
        .prop_filter("paths overlap", |action| Action::parse(&json::to_canonical(action).unwrap()).is_ok())
}

fn scope(entries: &[Entry]) -> Scope {
    let label = |text: &str| Label::new(text).unwrap();
    let entries: Vec<body::Scope> = entries
        .iter()
        .map(|(tool, target, arguments)| {
            let members: serde_json::Map<String, Value> =
                arguments.iter().map(|(path, tests)| ((*path).to_owned(), tests.clone())).collect();
            body::Scope {
                arguments: (!members.is_empty()).then(|| Json::from_value(&Value::Object(members)).unwrap()),
                target: target.as_deref().map(label),
                tool: label(tool),
            }
        })
        .collect();
    Scope::read(&entries).unwrap()
}

fn holds(scope: &Scope, action: &Value) -> bool {
    let action = Action::parse(&json::to_canonical(action).unwrap()).unwrap();
    let proposer = Principal::new("bot").unwrap();
    scope.holds(&Request::new(&action, Risk::Low, &[], &proposer, &[]))
}

/// The same, read naively.
fn naively(entries: &[Entry], action: &Value) -> bool {
    entries.iter().any(|(tool, target, arguments)| {
        matches(tool, action["tool"].as_str().unwrap())
            && target
                .as_ref()
                .is_none_or(|glob| action["target"].as_str().is_some_and(|text| matches(glob, text)))
            && arguments.iter().all(|(path, tests)| {
                tests.as_object().unwrap().iter().all(|(name, test)| passes(name, test, path, action))
            })
    })
}

fn passes(name: &str, test: &Value, path: &str, action: &Value) -> bool {
    let free = action["free"][0].as_str();
    if free.is_some_and(|free| {
        free == path || free.starts_with(&format!("{path}/")) || path.starts_with(&format!("{free}/"))
    }) {
        return false;
    }
    let Some(found) = action["arguments"].pointer(path) else {
        return name == "present" && *test == json!(false);
    };
    match name {
        "present" => *test == json!(true),
        "one_of" => test.as_array().unwrap().contains(found),
        "glob" => found.as_str().is_some_and(|text| matches(test.as_str().unwrap(), text)),
        _ => thousandths(found).is_some_and(|found| (found > thousandths(test).unwrap()) == (name == "over")),
    }
}

/// The numbers of this test have three digits behind the point at most.
fn thousandths(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().map(|number| number * 1_000),
        Value::String(text)
            if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') =>
        {
            text.parse::<f64>().ok().map(|number| (number * 1_000.0).round() as i64)
        }
        _ => None,
    }
}

fn matches(glob: &str, text: &str) -> bool {
    match glob.strip_prefix('*') {
        Some(rest) => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        None => match (glob.chars().next(), text.chars().next()) {
            (None, None) => true,
            (Some(wanted), Some(found)) if wanted == found => matches(&glob[1..], &text[1..]),
            _ => false,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_action_is_in_a_scope_exactly_if_a_naive_reader_says_so(
        entries in proptest::collection::vec(entry(), 1..4),
        actions in proptest::collection::vec(action(), 1..12),
    ) {
        let scope = scope(&entries);
        for action in &actions {
            prop_assert_eq!(holds(&scope, action), naively(&entries, action), "{} {:?}", action, entries);
        }
    }

    #[test]
    fn what_lies_within_another_scope_allows_nothing_that_the_other_does_not(
        outer in proptest::collection::vec(entry(), 1..3),
        narrower in proptest::collection::vec((0..3usize, proptest::option::of(entry()), tests()), 1..3),
        actions in proptest::collection::vec(action(), 1..24),
    ) {
        // Mostly entries of the other with something more asked, so that many lie within it.
        let inner: Vec<Entry> = narrower
            .into_iter()
            .map(|(at, other, more)| other.unwrap_or_else(|| {
                let (tool, target, mut arguments) = outer[at % outer.len()].clone();
                let path = POINTERS[at];
                match arguments.iter_mut().find(|(known, _)| *known == path) {
                    Some((_, tests)) => tests.as_object_mut().unwrap().extend(more.as_object().unwrap().clone()),
                    None => arguments.push((path, more)),
                }
                (tool.replacen('*', "a*", 1), target, arguments)
            }))
            .collect();
        let (inner_scope, outer_scope) = (scope(&inner), scope(&outer));
        if inner_scope.lies_within(&outer_scope).is_ok() {
            for action in &actions {
                prop_assert!(!holds(&inner_scope, action) || naively(&outer, action), "{} {:?} {:?}", action, inner, outer);
            }
        }
    }

    #[test]
    fn a_scope_lies_within_itself(entries in proptest::collection::vec(entry(), 1..4)) {
        prop_assert!(scope(&entries).lies_within(&scope(&entries)).is_ok());
    }

    #[test]
    fn a_glob_lies_within_another_exactly_if_no_string_tells_them_apart(inner in glob(), outer in glob()) {
        let within = counterfoil_policy::Glob::new(&inner).unwrap().lies_within(&counterfoil_policy::Glob::new(&outer).unwrap());
        // A letter of neither, as long as the other: where a star must have taken it.
        let told_apart = ["", "a", "b", "c", "cc", "ab", "ba", "ccccc"].iter().any(|taken| {
            let text = inner.replace('*', taken);
            matches(&inner, &text) && !matches(&outer, &text)
        });
        prop_assert_eq!(within, !told_apart);
    }
}
