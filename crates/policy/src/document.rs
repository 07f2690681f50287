//! The policy document: reading it, whole and strictly (`spec/policy.md`).

use std::collections::BTreeSet;

use counterfoil_receipt::{
    Principal, RecordId,
    action::{Json, Mode},
    body::{Risk, Surface},
    hashes::SchemaDigest,
    json,
    text::{Amount, Currency, Label, Pointer, RuleName},
};
use serde_json::Value;

use crate::{
    amount::Threshold,
    cost::{CostSource, Unit},
    glob::Glob,
    limits,
    matcher::{Bound, Literal, Matcher, Share, Test},
    read::{Members, Node, Unreadable},
    request::Path,
    rule::{Approvers, Conduct, Effect, Evidence, Quorum, Requirement, Rule, SCHEMES, Step, Then, Timeout},
};

/// The language of this version.
pub const LANGUAGE: &str = "counterfoil-policy/1";
/// The language before, of one rule.
pub const LANGUAGE_0: &str = "counterfoil-policy/0";

/// Surfaces on which decisions count where a requirement names none: those that show the approver the action itself.
const SURFACES: [Surface; 3] = [Surface::Terminal, Surface::IndependentPage, Surface::OperatorPage];

/// A policy document that was read and lies within its limits.
///
/// ```
/// use counterfoil_policy::Policy;
/// let document = br#"{"language":"counterfoil-policy/1","rules":[{"effect":"deny","match":{"always":true},"name":"frozen"}]}"#;
/// assert_eq!(Policy::parse(document)?.rules().len(), 1);
/// # Ok::<(), counterfoil_policy::Unreadable>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(crate) rules: Vec<Rule>,
    pub(crate) costs: Vec<CostSource>,
    pub(crate) free: FreePaths,
}

/// Which paths of its arguments an action may leave unbound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FreePaths {
    /// Every one.
    Any,
    /// Those that stand here for its tool.
    Listed(Vec<(Glob, Vec<Pointer>)>),
}

impl Policy {
    /// Reads a policy document from its canonical bytes.
    ///
    /// # Errors
    /// [`Unreadable`]; whoever gets it has no policy, and nothing is authorized.
    pub fn parse(document: &[u8]) -> Result<Self, Unreadable> {
        let depth = counterfoil_receipt::limits::DEPTH;
        let value = json::parse_value(document, &json::Limits { bytes: limits::DOCUMENT_BYTES, depth })?;
        Self::from_value(&value)
    }

    /// Reads a policy document that stands in a record, and was found canonical with it.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn of(document: &Json) -> Result<Self, Unreadable> {
        if document.as_str().len() > limits::DOCUMENT_BYTES {
            return Self::parse(document.as_str().as_bytes());
        }
        Self::from_value(&document.to_value())
    }

    fn from_value(value: &Value) -> Result<Self, Unreadable> {
        let document = Node::document(value);
        match value.get("language").and_then(Value::as_str) {
            Some(LANGUAGE) => read(&document),
            Some(LANGUAGE_0) => read_0(&document),
            other => Err(Unreadable::Language(other.unwrap_or_default().to_owned())),
        }
    }

    /// The rules, in the order of the document.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// `counterfoil-policy/1`.
fn read(document: &Node<'_>) -> Result<Policy, Unreadable> {
    let members = document.members(&["costs", "free", "language", "rules"])?;
    let nodes = members.required("rules")?.elements(1, limits::RULES)?;
    let mut budget = Budget { of_policy: limits::MATCHERS, of_rule: 0 };
    let mut rules = Vec::with_capacity(nodes.len());
    let mut names = BTreeSet::new();
    for node in &nodes {
        let rule = rule(node, &mut budget).map_err(|fault| {
            match node.value["name"].as_str().and_then(Principal::new) {
                Some(name) => fault.in_rule(name.as_str()),
                None => fault,
            }
        })?;
        if !names.insert(rule.name.clone()) {
            return Err(node.fault(format!("a second rule named {}", rule.name), "one of another name"));
        }
        rules.push(rule);
    }
    let list = |name| members.optional(name).map_or(Ok(Vec::new()), |node| node.elements(0, limits::SOURCES));
    let costs = list("costs")?.iter().map(cost_source).collect::<Result<_, _>>()?;
    let free = list("free")?.iter().map(free_paths).collect::<Result<_, _>>()?;
    Ok(Policy { rules, costs, free: FreePaths::Listed(free) })
}

/// `counterfoil-policy/0`: one rule that is always about the action.
fn read_0(document: &Node<'_>) -> Result<Policy, Unreadable> {
    let members = document.members(&["break_glass", "language", "rule"])?;
    let break_glass = members.required("break_glass")?.boolean()?;
    let rule = members.required("rule")?;
    let rule = rule.members(&["count", "groups", "role", "segregation", "uses", "window"])?;
    rule.required("role")?.text(|role| (role == "human").then_some(()), "human")?;
    let groups = rule.required("groups")?.ascending(0, limits::NAMES, name)?;
    let requirement = Requirement {
        count: count(&rule)?,
        approvers: if groups.is_empty() {
            Approvers::Anybody
        } else {
            Approvers::Among { principals: Vec::new(), groups }
        },
        schemes: None,
        surfaces: Surface::ALL.to_vec(),
        by_link: false,
    };
    let effect = Effect::Require(Quorum {
        requirements: vec![requirement],
        window: window(&rule)?,
        segregation: rule.required("segregation")?.boolean()?,
        break_glass,
        uses: uses(&rule)?,
        escalation: Vec::new(),
        timeout: None,
        conduct: Conduct::default(),
    });
    let name = RuleName::new("rule").ok_or_else(|| document.wrong("a rule"))?;
    Ok(Policy {
        rules: vec![Rule { name, matcher: Matcher::Always, effect }],
        costs: Vec::new(),
        free: FreePaths::Any,
    })
}

fn rule(node: &Node<'_>, budget: &mut Budget) -> Result<Rule, Unreadable> {
    let effect = node.members(&RULE)?.required("effect")?;
    let known = match effect.value.as_str() {
        Some("allow") => &["effect", "evidence", "match", "name", "preview", "retries", "uses"][..],
        Some("deny") => &["effect", "match", "name"],
        Some("require") => &RULE,
        _ => return Err(effect.wrong("one of allow, deny, require")),
    };
    let members = node.members(known)?;
    budget.of_rule = limits::RULE_MATCHERS;
    let rule_name = name(&members.required("name")?)?;
    let matcher = matcher(&members.required("match")?, 1, budget)?;
    let effect = match effect.value.as_str() {
        Some("allow") => Effect::Allow { uses: uses(&members)?, conduct: conduct(&members)? },
        Some("deny") => Effect::Deny,
        _ => Effect::Require(quorum(&members)?),
    };
    Ok(Rule { name: rule_name, matcher, effect })
}

/// Every member that a rule can have.
const RULE: [&str; 13] = [
    "break_glass",
    "effect",
    "escalation",
    "evidence",
    "match",
    "name",
    "preview",
    "requirements",
    "retries",
    "segregation",
    "timeout",
    "uses",
    "window",
];

fn quorum(members: &Members<'_>) -> Result<Quorum, Unreadable> {
    let list = members.required("requirements")?;
    let requirements: Vec<Requirement> =
        list.elements(1, limits::REQUIREMENTS)?.iter().map(requirement).collect::<Result<_, _>>()?;
    let sum: usize = requirements.iter().map(|requirement| requirement.count).sum();
    if sum > limits::APPROVERS {
        return Err(
            list.fault(format!("a want of {sum} approvers"), format!("one of {} at most", limits::APPROVERS))
        );
    }
    let timeout = members.optional("timeout").map(|node| timeout(&node)).transpose()?;
    Ok(Quorum {
        requirements,
        window: window(members)?,
        segregation: members.required("segregation")?.boolean()?,
        break_glass: members.optional("break_glass").map_or(Ok(false), |node| node.boolean())?,
        uses: uses(members)?,
        escalation: members
            .optional("escalation")
            .map_or(Ok(Vec::new()), |node| escalation(&node, timeout))?,
        timeout,
        conduct: conduct(members)?,
    })
}

/// What `allow` and `require` have in common.
fn conduct(members: &Members<'_>) -> Result<Conduct, Unreadable> {
    let retries = members.optional("retries").map(|node| node.integer(1, limits::RETRIES)).transpose()?;
    let dimension = |node: &Node<'_>| node.text(Evidence::parse, "one of completeness, freshness, witnessed");
    let evidence = members.optional("evidence");
    let evidence = evidence.map(|node| node.ascending(1, Evidence::ALL.len(), dimension)).transpose()?;
    Ok(Conduct {
        retries: retries.unwrap_or(0),
        evidence: evidence.unwrap_or_default(),
        preview: members.optional("preview").map_or(Ok(false), |node| node.boolean())?,
    })
}

fn timeout(node: &Node<'_>) -> Result<Timeout, Unreadable> {
    let members = node.members(&["after", "then"])?;
    let then = |text: &str| [Then::Approve, Then::Reject].into_iter().find(|then| then.as_str() == text);
    Ok(Timeout {
        after: after(&members)?,
        then: members.required("then")?.text(then, "one of approve, reject")?,
    })
}

/// Steps that ascend, and come before the time is out.
fn escalation(node: &Node<'_>, timeout: Option<Timeout>) -> Result<Vec<Step>, Unreadable> {
    let mut steps: Vec<Step> = Vec::new();
    for node in node.elements(1, limits::STEPS)? {
        let members = node.members(&["after", "to"])?;
        let to = members.required("to")?;
        let among = to.members(&["groups", "principals"])?;
        let names = |member| {
            let list = among.optional(member);
            list.map_or(Ok(Vec::new()), |node| node.ascending(1, limits::ASKED, name))
        };
        let (principals, groups) = (names("principals")?, names("groups")?);
        if principals.is_empty() && groups.is_empty() {
            return Err(to.wrong("an object with groups, principals or both"));
        }
        let after = after(&members)?;
        if steps.last().is_some_and(|before| before.after >= after) {
            return Err(node.fault(format!("a step after {after} ms"), "one later than the step before"));
        }
        if timeout.is_some_and(|timeout| timeout.after <= after) {
            return Err(node.fault(format!("a step after {after} ms"), "one before the time is out"));
        }
        steps.push(Step { after, to: Approvers::Among { principals, groups } });
    }
    Ok(steps)
}

fn after(members: &Members<'_>) -> Result<u64, Unreadable> {
    members.required("after")?.integer(1, limits::WINDOW_MILLIS)
}

fn requirement(node: &Node<'_>) -> Result<Requirement, Unreadable> {
    let members = node.members(&["count", "groups", "principals", "schemes", "surfaces"])?;
    let names = |member, most| members.optional(member).map(|node| node.ascending(1, most, name)).transpose();
    let (principals, groups) = (names("principals", limits::ELEMENTS)?, names("groups", limits::NAMES)?);
    let approvers = match (principals, groups) {
        (None, None) => Approvers::Anybody,
        (principals, groups) => Approvers::Among {
            principals: principals.unwrap_or_default(),
            groups: groups.unwrap_or_default(),
        },
    };
    let scheme = |node: &Node<'_>| {
        node.text(|text| SCHEMES.into_iter().find(|scheme| *scheme == text), "a scheme of spec/records.md")
    };
    let schemes =
        members.optional("schemes").map(|node| node.ascending(1, SCHEMES.len(), scheme)).transpose()?;
    let surfaces = match members.optional("surfaces") {
        None => SURFACES.to_vec(),
        Some(node) => {
            let words = node.ascending(1, Surface::ALL.len(), |node| {
                node.text(|text| Surface::parse(text).map(|_| text), "a surface of spec/records.md")
            })?;
            words.into_iter().filter_map(Surface::parse).collect()
        }
    };
    let by_link = surfaces.contains(&Surface::Link);
    Ok(Requirement { count: count(&members)?, approvers, schemes, surfaces, by_link })
}

fn count(members: &Members<'_>) -> Result<usize, Unreadable> {
    let count = members.required("count")?.integer(1, limits::APPROVERS as u64)?;
    Ok(usize::try_from(count).unwrap_or(limits::APPROVERS))
}

fn uses(members: &Members<'_>) -> Result<u64, Unreadable> {
    members.required("uses")?.integer(1, limits::USES)
}

fn window(members: &Members<'_>) -> Result<u64, Unreadable> {
    members.required("window")?.integer(1, limits::WINDOW_MILLIS)
}

fn cost_source(node: &Node<'_>) -> Result<CostSource, Unreadable> {
    let members = node.members(&["amount", "currency", "currency_at", "tool"])?;
    let currency = match (members.optional("currency"), members.optional("currency_at")) {
        (Some(spelled), None) => Unit::Fixed(spelled.text(Currency::new, Currency::SYNTAX)?),
        (None, Some(at)) => Unit::At(path(&at)?),
        _ => return Err(node.wrong("an object with exactly one of currency and currency_at")),
    };
    Ok(CostSource {
        tool: glob(&members.required("tool")?)?,
        amount: path(&members.required("amount")?)?,
        currency,
    })
}

fn free_paths(node: &Node<'_>) -> Result<(Glob, Vec<Pointer>), Unreadable> {
    let members = node.members(&["paths", "tool"])?;
    let pointer = |node: &Node<'_>| node.text(Pointer::new, Pointer::SYNTAX);
    Ok((glob(&members.required("tool")?)?, members.required("paths")?.ascending(1, limits::NAMES, pointer)?))
}

/// How many more matchers may stand.
struct Budget {
    of_policy: usize,
    of_rule: usize,
}

/// One matcher, `depth` levels deep. The nesting of the document was limited before, so this ends.
fn matcher(node: &Node<'_>, depth: usize, budget: &mut Budget) -> Result<Matcher, Unreadable> {
    if depth > limits::MATCHER_DEPTH {
        return Err(node.fault(
            format!("a matcher on level {depth}"),
            format!("on level {} at most", limits::MATCHER_DEPTH),
        ));
    }
    for (left, whose, most) in [
        (&mut budget.of_rule, "rule", limits::RULE_MATCHERS),
        (&mut budget.of_policy, "policy", limits::MATCHERS),
    ] {
        *left = left.checked_sub(1).ok_or_else(|| {
            node.fault(format!("one matcher more of its {whose}"), format!("among {most} at most"))
        })?;
    }
    let (name, inner) = node.only_member()?;
    let branches = |budget: &mut Budget| {
        let elements = inner.elements(1, limits::ELEMENTS)?;
        elements.iter().map(|node| matcher(node, depth + 1, budget)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match name {
        "all" => Matcher::All(branches(budget)?),
        "any" => Matcher::Any(branches(budget)?),
        "not" => Matcher::Not(Box::new(matcher(&inner, depth + 1, budget)?)),
        "always" if inner.value == &Value::Bool(true) => Matcher::Always,
        "always" => return Err(inner.wrong("true")),
        "tool" => Matcher::Tool(glob(&inner)?),
        "target" => Matcher::Target(glob(&inner)?),
        "mode" => Matcher::Mode(inner.text(Mode::parse, "one of apply, preview")?),
        "definition" => Matcher::Definition(inner.ascending(1, limits::ELEMENTS, definition)?),
        "argument" => argument(&inner)?,
        "cost" => cost(&inner)?,
        "risk" => {
            let least = inner.members(&["at_least"])?.required("at_least")?;
            Matcher::RiskAtLeast(least.text(Risk::parse, "one of low, medium, high, critical")?)
        }
        "tags" => tags(&inner)?,
        "principal" => Matcher::Principal(inner.ascending(1, limits::ELEMENTS, self::name)?),
        "group" => Matcher::Group(inner.ascending(1, limits::NAMES, self::name)?),
        "delegation" => match inner.value {
            Value::Bool(wanted) => Matcher::Delegated(*wanted),
            _ => Matcher::Delegation(inner.ascending(1, limits::NAMES, delegation)?),
        },
        _ => return Err(node.wrong(format!("an object with one of {MATCHERS}"))),
    })
}

const MATCHERS: &str = "all, always, any, argument, cost, definition, delegation, group, mode, not, principal, risk, tags, target, tool";

fn argument(node: &Node<'_>) -> Result<Matcher, Unreadable> {
    let members = node.members(&["at_most", "glob", "one_of", "over", "path", "present"])?;
    let mut tests = tests(&members)?;
    match (tests.pop(), tests.is_empty()) {
        (Some(test), true) => Ok(Matcher::Argument(path(&members.required("path")?)?, test)),
        _ => Err(node.wrong("an object with path and exactly one of at_most, glob, one_of, over, present")),
    }
}

/// The tests of an argument that stand here.
pub(crate) fn tests(members: &Members<'_>) -> Result<Vec<Test>, Unreadable> {
    let mut tests = Vec::new();
    if let Some(node) = members.optional("one_of") {
        let literal = |node: &Node<'_>| {
            Literal::from_value(node.value)
                .ok_or_else(|| node.wrong("a string, an integer, a boolean or null"))
        };
        tests.push(Test::OneOf(node.ascending(1, limits::ELEMENTS, literal)?));
    }
    if let Some(node) = members.optional("glob") {
        tests.push(Test::Glob(glob(&node)?));
    }
    for (name, bound) in [("over", Bound::Over), ("at_most", Bound::AtMost)] {
        if let Some(node) = members.optional(name) {
            tests.push(Test::Amount(bound, amount(&node)?));
        }
    }
    if let Some(node) = members.optional("present") {
        tests.push(Test::Present(node.boolean()?));
    }
    Ok(tests)
}

fn cost(node: &Node<'_>) -> Result<Matcher, Unreadable> {
    let (name, inner) = node.only_member()?;
    let bound = match name {
        "over" => Bound::Over,
        "at_most" => Bound::AtMost,
        _ => return Err(node.wrong("an object with one of at_most, over")),
    };
    let members = inner.members(&["amount", "currency"])?;
    let currency = members.required("currency")?.text(Currency::new, Currency::SYNTAX)?;
    Ok(Matcher::Cost(bound, amount(&members.required("amount")?)?, currency))
}

fn tags(node: &Node<'_>) -> Result<Matcher, Unreadable> {
    let (name, inner) = node.only_member()?;
    let share = match name {
        "any" => Share::Any,
        "all" => Share::All,
        "none" => Share::None,
        _ => return Err(node.wrong("an object with one of all, any, none")),
    };
    let tag = |node: &Node<'_>| node.text(Label::new, Label::SYNTAX);
    Ok(Matcher::Tags(share, inner.ascending(1, limits::NAMES, tag)?))
}

fn definition(node: &Node<'_>) -> Result<SchemaDigest, Unreadable> {
    node.text(SchemaDigest::parse, "the digest of a tool's definition")
}

fn delegation(node: &Node<'_>) -> Result<RecordId, Unreadable> {
    node.text(RecordId::parse, "the id of a delegation")
}

fn name(node: &Node<'_>) -> Result<Principal, Unreadable> {
    node.text(Principal::new, Principal::SYNTAX)
}

pub(crate) fn glob(node: &Node<'_>) -> Result<Glob, Unreadable> {
    node.text(Glob::new, "a glob of 1–256 bytes with 8 stars at most")
}

pub(crate) fn path(node: &Node<'_>) -> Result<Path, Unreadable> {
    node.text(Pointer::new, Pointer::SYNTAX).map(Path::new)
}

fn amount(node: &Node<'_>) -> Result<Threshold, Unreadable> {
    node.text(Amount::new, Amount::SYNTAX).map(Threshold::new)
}
