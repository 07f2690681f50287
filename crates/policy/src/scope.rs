//! The scope of a delegation: which actions it is about, and whether it lies within another (`spec/delegation.md`).

use counterfoil_receipt::body;
use thiserror::Error;

use crate::{
    document::{glob, path, tests},
    glob::Glob,
    limits::SCOPE_ARGUMENTS,
    matcher::{Answer, Test},
    read::{Node, Unreadable},
    request::{Path, Request},
};

/// What a delegation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    tool: Glob,
    target: Option<Glob>,
    arguments: Vec<(Path, Vec<Test>)>,
}

/// Why one scope does not lie within another: the first of its entries that lies within none of the other's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("scope.{entry}, tool {tool}, lies within no entry of the scope that it narrows")]
pub struct Beyond {
    /// Its place.
    pub entry: usize,
    /// Its glob for tools.
    pub tool: String,
}

impl Scope {
    /// Reads the scope of a delegation record.
    ///
    /// # Errors
    /// [`Unreadable`], with the place; whoever gets it has no scope, and nothing is in it.
    pub fn read(scope: &[body::Scope]) -> Result<Self, Unreadable> {
        scope.iter().enumerate().map(|(at, entry)| Entry::read(entry, at)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the action is in it. What the action commits to or leaves free shows nothing.
    pub fn holds(&self, request: &Request<'_>) -> bool {
        self.0.iter().any(|entry| entry.holds(request))
    }

    /// Whether every entry lies within one of the other's.
    ///
    /// # Errors
    /// [`Beyond`], the first that does not.
    pub fn lies_within(&self, other: &Self) -> Result<(), Beyond> {
        let is_beyond = |entry: &Entry| !other.0.iter().any(|outer| entry.lies_within(outer));
        match self.0.iter().enumerate().find(|(_, entry)| is_beyond(entry)) {
            None => Ok(()),
            Some((at, entry)) => Err(Beyond { entry: at, tool: entry.tool.to_string() }),
        }
    }
}

impl Entry {
    fn read(entry: &body::Scope, at: usize) -> Result<Self, Unreadable> {
        let text = |name: &str, text: &str| glob(&Node::at(&text.into(), &format!("scope.{at}.{name}")));
        let mut arguments = Vec::new();
        if let Some(json) = &entry.arguments {
            let value = json.to_value();
            let here = format!("scope.{at}.arguments");
            let node = Node::at(&value, &here);
            for (name, node) in node.entries(1, SCOPE_ARGUMENTS)? {
                let pointer = path(&Node::at(&name.into(), &format!("a name in {here}")))?;
                let tests = tests(&node.members(&["at_most", "glob", "one_of", "over", "present"])?)?;
                if tests.is_empty() {
                    return Err(
                        node.wrong("an object with one of at_most, glob, one_of, over, present or more")
                    );
                }
                arguments.push((pointer, tests));
            }
        }
        Ok(Self {
            tool: text("tool", entry.tool.as_str())?,
            target: entry.target.as_ref().map(|target| text("target", target.as_str())).transpose()?,
            arguments,
        })
    }

    fn holds(&self, request: &Request<'_>) -> bool {
        let target =
            |glob: &Glob| request.action.target.as_ref().is_some_and(|target| glob.matches(target.as_str()));
        self.tool.matches(request.action.tool.as_str())
            && self.target.as_ref().is_none_or(target)
            && self.arguments.iter().all(|(path, tests)| {
                let found = request.find(path);
                tests.iter().all(|test| test.of(found) == Answer::Yes)
            })
    }

    fn lies_within(&self, other: &Self) -> bool {
        let target = |outer: &Glob| self.target.as_ref().is_some_and(|inner| inner.lies_within(outer));
        let meets = |(path, outer): &(Path, Vec<Test>)| {
            // The members of a canonical object ascend by their names, and there are few.
            let inner = self.arguments.iter().find(|(inner, _)| inner == path);
            inner.is_some_and(|(_, inner)| {
                outer.iter().all(|outer| inner.iter().any(|inner| inner.lies_within(outer)))
            })
        };
        self.tool.lies_within(&other.tool)
            && other.target.as_ref().is_none_or(target)
            && other.arguments.iter().all(meets)
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_receipt::{
        Action, Principal,
        action::Mode,
        body::Risk,
        text::{Label, Pointer},
    };
    use serde_json::{Value, json};

    use super::*;

    fn scope(entries: &[(&str, Option<&str>, Value)]) -> Result<Scope, Unreadable> {
        let label = |text: &str| Label::new(text).unwrap();
        let entries: Vec<body::Scope> = entries
            .iter()
            .map(|(tool, target, arguments)| body::Scope {
                tool: label(tool),
                target: target.map(label),
                arguments: (!arguments.is_null())
                    .then(|| counterfoil_receipt::action::Json::from_value(arguments).unwrap()),
            })
            .collect();
        Scope::read(&entries)
    }

    fn is_in(scope: &Scope, target: Option<&str>, arguments: Value) -> bool {
        let action = Action {
            arguments: counterfoil_receipt::action::Json::from_value(&arguments).unwrap(),
            committed: None,
            connector: None,
            free: None,
            mode: Mode::Apply,
            precondition: None,
            target: target.map(|target| Label::new(target).unwrap()),
            tool: Label::new("pay.refund").unwrap(),
        };
        let hidden = Action {
            arguments: counterfoil_receipt::action::Json::from_value(&json!({})).unwrap(),
            free: Some(counterfoil_receipt::field::Set::new(vec![Pointer::new("/amount").unwrap()]).unwrap()),
            ..action.clone()
        };
        let proposer = Principal::new("bot").unwrap();
        let request = |action| Request::new(action, Risk::Low, &[], &proposer, &[]);
        let in_hidden = scope.holds(&request(&hidden));
        assert!(
            !in_hidden || scope.0.iter().any(|entry| entry.arguments.is_empty()),
            "a free path shows nothing"
        );
        scope.holds(&request(&action))
    }

    #[test]
    fn an_action_is_in_a_scope_if_one_entry_holds_for_all_of_it() {
        let shop = scope(&[
            (
                "pay.*",
                Some("shop-*"),
                json!({"/amount": {"at_most": "20", "over": "0"}, "/why": {"one_of": ["late"]}}),
            ),
            ("pay.refund", Some("test"), Value::Null),
        ])
        .unwrap();
        let late = |amount: &str| json!({"amount": amount, "why": "late"});
        assert!(is_in(&shop, Some("shop-1"), late("20")) && is_in(&shop, Some("test"), json!({})));
        assert!(!is_in(&shop, Some("shop-1"), late("20.01")) && !is_in(&shop, Some("shop-1"), late("0")));
        assert!(!is_in(&shop, Some("shop-1"), json!({"amount": "20"})) && !is_in(&shop, None, late("20")));
        assert!(!is_in(&shop, Some("other"), late("20")));
    }

    #[test]
    fn a_scope_lies_within_another_only_if_each_entry_and_each_test_does() {
        let outer = [("pay.*", Some("shop-*"), json!({"/amount": {"at_most": "20"}}))];
        for (inner, lies) in [
            (("pay.refund", Some("shop-1"), json!({"/amount": {"at_most": "20"}})), true),
            (
                (
                    "pay.*",
                    Some("shop-*"),
                    json!({"/amount": {"one_of": [1, "20.0"]}, "/why": {"present": true}}),
                ),
                true,
            ),
            (("pay.*", Some("shop-*"), json!({"/amount": {"at_most": "21"}})), false),
            (("pay.*", Some("shop-*"), json!({"/amount": {"over": "1"}})), false),
            (("pay.*", Some("shop-*"), json!({"/amount": {"one_of": ["x"]}})), false),
            (("pay.*", Some("shop-*"), json!({"/amounts": {"at_most": "20"}})), false),
            (("pay.*", Some("shop-*"), Value::Null), false),
            (("pay.*", None, json!({"/amount": {"at_most": "20"}})), false),
            (("*", Some("shop-*"), json!({"/amount": {"at_most": "20"}})), false),
        ] {
            let within = scope(std::slice::from_ref(&inner)).unwrap().lies_within(&scope(&outer).unwrap());
            assert_eq!(within.is_ok(), lies, "{inner:?}");
        }
        let two = scope(&[outer[0].clone(), ("db.drop", None, Value::Null)]).unwrap();
        let beyond = two.lies_within(&scope(&outer).unwrap()).unwrap_err();
        assert_eq!(
            beyond.to_string(),
            "scope.1, tool db.drop, lies within no entry of the scope that it narrows"
        );
    }

    #[test]
    fn what_is_not_in_the_grammar_is_no_scope() {
        for (tool, arguments) in [
            ("*********", Value::Null),
            ("a", json!({})),
            ("a", json!({"amount": {"present": true}})),
            ("a", json!({"/amount": {}})),
            ("a", json!({"/amount": {"less": "1"}})),
            ("a", json!({"/amount": {"at_most": 1}})),
            ("a", json!({"/amount": "1"})),
        ] {
            assert!(scope(&[(tool, None, arguments.clone())]).is_err(), "{tool} {arguments}");
        }
    }
}
