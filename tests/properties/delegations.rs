//! Delegations in a log, against the naive reading: an execution stands exactly if every link of its chain, looked at by itself, lets
//! it, with all that was executed under that link before.

use counterfoil_receipt::{
    Place, RecordId, RunId,
    body::{Cost, Delegation, Revocation, RevocationTarget, Spend},
    field::Whole,
    text::{Amount, Currency},
};
use counterfoil_testkit::{Actor, Scenario, action, delegation, label};
use proptest::prelude::*;
use serde_json::json;

/// What one link grants, in cents.
#[derive(Clone, Debug)]
struct Link {
    /// Which one it narrows; itself, if the authority grants it.
    above: usize,
    tools: &'static str,
    per_action: Option<u64>,
    total: Option<u64>,
    uses: Option<u64>,
}

/// What happens, in order.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody executes a tool under a link, for so many cents.
    Execute {
        link: usize,
        tool: &'static str,
        cents: u64,
    },
    Revoke {
        link: usize,
    },
}

fn link() -> impl Strategy<Value = Link> {
    let cents = || proptest::option::weighted(0.5, 0..12u64);
    (
        0..6usize,
        proptest::sample::select(vec!["*", "a*", "ab", "*b"]),
        cents(),
        cents(),
        proptest::option::weighted(0.4, 1..4u64),
    )
        .prop_map(|(above, tools, per_action, total, uses)| Link {
            above,
            tools,
            per_action,
            total,
            uses,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6usize, proptest::sample::select(vec!["a", "ab", "b"]), 0..6u64)
            .prop_map(|(link, tool, cents)| Step::Execute { link, tool, cents }),
        1 => (0..6usize).prop_map(|link| Step::Revoke { link }),
    ]
}

fn euro(cents: u64) -> Cost {
    Cost {
        amount: Amount::new(format!("{}.{:02}", cents / 100, cents % 100)).unwrap(),
        currency: Currency::new("EUR").unwrap(),
    }
}

fn body(link: &Link, to: &Actor, depth: u64) -> Delegation {
    let mut body = delegation(to, link.tools, depth);
    let spend = Spend { per_action: link.per_action.map(euro), total: link.total.map(euro) };
    body.spend = (link.per_action.is_some() || link.total.is_some()).then_some(spend);
    body.uses = link.uses.and_then(Whole::new);
    body
}

/// A link that the log took.
struct Held {
    id: RecordId,
    /// From itself up.
    chain: Vec<usize>,
    link: Link,
}

/// Whether a link lies within the one above it: the tools of this test, one by one.
fn narrows(inner: &Link, outer: &Link) -> bool {
    const WITHIN: [(&str, &str); 9] = [
        ("*", "*"),
        ("a*", "*"),
        ("ab", "*"),
        ("*b", "*"),
        ("a*", "a*"),
        ("ab", "a*"),
        ("ab", "ab"),
        ("ab", "*b"),
        ("*b", "*b"),
    ];
    let at_most =
        |inner: Option<u64>, outer: Option<u64>| inner.zip(outer).is_none_or(|(inner, outer)| inner <= outer);
    WITHIN.contains(&(inner.tools, outer.tools))
        && at_most(inner.per_action, outer.per_action)
        && at_most(inner.total, outer.total)
        && at_most(inner.uses, outer.uses)
}

fn is_about(tools: &str, tool: &str) -> bool {
    match tools {
        "*" => true,
        "a*" => tool.starts_with('a'),
        "*b" => tool.ends_with('b'),
        exact => tool == exact,
    }
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn no_chain_allows_what_a_link_does_not_and_siblings_never_overspend(
        links in proptest::collection::vec(link(), 1..6),
        steps in proptest::collection::vec(step(), 1..14),
    ) {
        let mut s = Scenario::under(json!({
            "costs": [{"amount": "/amount", "currency": "EUR", "tool": "*"}],
            "language": "counterfoil-policy/1",
            "rules": [{"effect": "allow", "match": {"delegation": true}, "name": "delegated", "uses": 1}],
        }));
        let scout = s.cast.scout.clone();
        let mut held: Vec<Option<Held>> = Vec::new();
        for (at, link) in links.iter().enumerate() {
            // What is above is what was granted before, or the authority.
            let above = Some(link.above).filter(|above| *above < at);
            let outer = above.map(|above| held[above].as_ref());
            let by = if above.is_some() { scout.clone() } else { s.cast.root.clone() };
            let depth = outer.flatten().map_or(6, |outer| 6 - outer.chain.len() as u64);
            let mut draft = s.ledger.draft(&by, None, body(link, &scout, depth));
            let expected = match outer {
                None => true,
                Some(None) => { held.push(None); continue }
                Some(Some(outer)) => {
                    draft.place = Place::Chain { log: s.ledger.log(), prev: outer.id };
                    narrows(link, &outer.link)
                }
            };
            let record = draft.sign(by.signer()).unwrap();
            let taken = s.ledger.append(record.bytes());
            prop_assert_eq!(taken.is_ok(), expected, "{:?} under {:?}: {:?}", link, above, taken);
            held.push(taken.is_ok().then(|| Held {
                id: record.id(),
                chain: [at].into_iter().chain(outer.flatten().map_or(&[][..], |outer| &outer.chain).iter().copied()).collect(),
                link: link.clone(),
            }));
        }
        let mut revoked = vec![false; links.len()];
        let mut done: Vec<(Vec<usize>, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Revoke { link } => {
                    let Some(Some(it)) = held.get(link) else { continue };
                    if !std::mem::replace(&mut revoked[link], true) {
                        let body = Revocation { distrust_from: None, reason: None, target: RevocationTarget::Delegation(it.id) };
                        s.ledger.add(&scout, None, body);
                    }
                }
                Step::Execute { link, tool, cents } => {
                    let Some(Some(it)) = held.get(link) else { continue };
                    let lets = |at: &usize| {
                        let Some(link) = held[*at].as_ref().map(|held| &held.link) else { return false };
                        let before = done.iter().filter(|(chain, _)| chain.contains(at));
                        let (count, sum) = before.fold((0, 0), |(count, sum), (_, cents)| (count + 1, sum + cents));
                        !revoked[*at]
                            && is_about(link.tools, tool)
                            && link.per_action.is_none_or(|most| cents <= most)
                            && link.total.is_none_or(|most| sum + cents <= most)
                            && link.uses.is_none_or(|most| count < most)
                    };
                    let expected = it.chain.iter().all(lets);
                    let stands = executes(&mut s, it.id, tool, cents);
                    prop_assert_eq!(stands, expected, "{} for {} under {:?}, after {:?}", tool, cents, it.chain, done);
                    if stands {
                        done.push((it.chain.clone(), cents));
                    }
                }
            }
        }
    }
}

/// Whether the log takes what is proposed under a delegation, and its execution.
fn executes(s: &mut Scenario, delegation: RecordId, tool: &str, cents: u64) -> bool {
    let run: RunId = s.trigger();
    let mut body = s.proposal(action("x", json!({"amount": euro(cents).amount.as_str()})));
    body.action.tool = label(tool);
    body.delegation = Some(delegation);
    let scout = s.cast.scout.clone();
    let proposal = s.ledger.sign(&scout, Some(run), body);
    if s.ledger.append(proposal.bytes()).is_err() {
        return false;
    }
    s.ledger.close();
    let execution = s.execution(run, proposal.id(), &[]);
    let gate = s.cast.gate.clone();
    let execution = s.ledger.sign(&gate, Some(run), execution);
    let stands = s.ledger.append(execution.bytes()).is_ok();
    s.ledger.close();
    stands
}
