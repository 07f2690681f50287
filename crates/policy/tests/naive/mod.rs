//! `counterfoil-policy/1` once more, from its specification alone and by the simplest means.

use serde_json::{Value, json};

use super::{Asked, Given, INVOLVED, Spoken};

/// What a policy says of an action and of approvals for it.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub says: &'static str,
    pub rules: Vec<String>,
    pub result: Result,
    pub break_glass: bool,
    pub retries: u64,
    pub preview: bool,
    pub evidence: Vec<String>,
    /// Whose word counts for the action, and whose against it.
    pub entitled: Vec<bool>,
    pub against: Vec<bool>,
}

/// Whether an execution would stand on the approvals, with how many uses.
#[derive(Debug, PartialEq)]
pub enum Result {
    Stands(u64),
    Denied,
    Unfit,
    Short,
}

pub fn answer(document: &Value, asked: &Asked, given: &[Given]) -> Answer {
    let tool = text(&asked.action["tool"]);
    for path in list(&asked.action["free"]) {
        let listed = list(&document["free"])
            .iter()
            .any(|entry| matches(text(&entry["tool"]), tool) && list(&entry["paths"]).contains(path));
        if !listed {
            return denied("free-path", Vec::new(), given);
        }
    }
    let such = |effect: &str, answers: &[Option<bool>]| -> Vec<&Value> {
        list(&document["rules"])
            .iter()
            .filter(|rule| {
                rule["effect"] == effect && answers.contains(&test(&rule["match"], document, asked))
            })
            .collect()
    };
    let names = |rules: &[&Value]| rules.iter().map(|rule| text(&rule["name"]).to_owned()).collect();
    let denying = such("deny", &[Some(true), None]);
    if !denying.is_empty() {
        return denied("denied", names(&denying), given);
    }
    let requiring = such("require", &[Some(true), None]);
    if requiring.is_empty() {
        let allowing = such("allow", &[Some(true)]);
        if allowing.is_empty() {
            return denied("denied", Vec::new(), given);
        }
        let granted = given.iter().map(|one| one.uses);
        let uses = allowing.iter().map(|rule| rule["uses"].as_u64().unwrap()).chain(granted).min().unwrap();
        return Answer {
            says: "allowed",
            rules: names(&allowing),
            result: Result::Stands(uses),
            break_glass: false,
            retries: retries(&allowing),
            preview: allowing.iter().any(|rule| rule["preview"] == true),
            evidence: evidence(&allowing),
            entitled: given.iter().map(|one| one.voice == Spoken::Own).collect(),
            against: given.iter().map(|one| one.voice == Spoken::Own).collect(),
        };
    }
    // Wherever somebody says no whom a requirement asks, of every rule.
    let says_no = |one: &Given| {
        requiring.iter().any(|rule| {
            let all = ["independent_page", "link", "none", "operator_page", "terminal"];
            is_time_out(rule, one)
                || list(&rule["requirements"]).iter().any(|wanted| {
                    let mut anywhere = wanted.clone();
                    if one.voice == Spoken::Own {
                        anywhere["surfaces"] = json!(all);
                    }
                    entitles(rule, &anywhere, one)
                })
        })
    };
    Answer {
        says: "required",
        against: given.iter().map(says_no).collect(),
        rules: names(&requiring),
        result: judged(&requiring, given),
        break_glass: requiring.iter().all(|rule| rule["break_glass"] == true),
        retries: retries(&requiring),
        preview: requiring.iter().any(|rule| rule["preview"] == true),
        evidence: evidence(&requiring),
        entitled: given
            .iter()
            .map(|one| {
                requiring.iter().any(|rule| {
                    is_time_out(rule, one)
                        || list(&rule["requirements"]).iter().any(|wanted| entitles(rule, wanted, one))
                })
            })
            .collect(),
    }
}

fn denied(says: &'static str, rules: Vec<String>, given: &[Given]) -> Answer {
    let entitled: Vec<bool> = given.iter().map(|one| one.voice == Spoken::Own).collect();
    Answer {
        says,
        rules,
        result: Result::Denied,
        break_glass: false,
        retries: 0,
        preview: false,
        evidence: Vec::new(),
        against: entitled.clone(),
        entitled,
    }
}

/// Whatever one of them demands.
fn evidence(rules: &[&Value]) -> Vec<String> {
    let mut all: Vec<String> =
        rules.iter().flat_map(|rule| list(&rule["evidence"])).map(|one| text(one).to_owned()).collect();
    all.sort();
    all.dedup();
    all
}

/// The smallest, where one that says nothing says none.
fn retries(rules: &[&Value]) -> u64 {
    rules.iter().map(|rule| rule["retries"].as_u64().unwrap_or(0)).min().unwrap()
}

fn judged(rules: &[&Value], given: &[Given]) -> Result {
    let unfit = |rule: &&&Value| {
        given.iter().any(|one| {
            one.uses > rule["uses"].as_u64().unwrap()
                || one.window > rule["window"].as_u64().unwrap()
                || (rule["segregation"] == true
                    && !matches!(one.voice, Spoken::TimeOut(_))
                    && INVOLVED.contains(&one.principal))
        })
    };
    if rules.iter().find(unfit).is_some() {
        return Result::Unfit;
    }
    let met = |rule: &&Value| {
        let places: Vec<&Value> = list(&rule["requirements"])
            .iter()
            .flat_map(|one| vec![one; usize::try_from(one["count"].as_u64().unwrap()).unwrap()])
            .collect();
        given.iter().any(|one| is_time_out(rule, one)) || assign(rule, &places, given, &[])
    };
    if !rules.iter().all(met) {
        return Result::Short;
    }
    Result::Stands(given.iter().map(|one| one.uses).min().unwrap())
}

/// Whether every place can be given to somebody of its own: tries them all.
fn assign(rule: &Value, places: &[&Value], given: &[Given], taken: &[&str]) -> bool {
    let Some((first, rest)) = places.split_first() else { return true };
    given.iter().any(|one| {
        !taken.contains(&one.principal)
            && entitles(rule, first, one)
            && assign(rule, rest, given, &[taken, &[one.principal]].concat())
    })
}

fn is_time_out(rule: &Value, one: &Given) -> bool {
    let of_this = matches!(one.voice, Spoken::TimeOut(name) if rule["name"] == name);
    of_this && rule["timeout"]["then"] == "approve"
}

fn entitles(rule: &Value, requirement: &Value, one: &Given) -> bool {
    let asked = one.escalated.iter().any(|(name, step)| {
        let step = usize::try_from(*step).unwrap();
        let to = step.checked_sub(1).and_then(|at| list(&rule["escalation"]).get(at)).map(|step| &step["to"]);
        rule["name"] == *name
            && to.is_some_and(|to| {
                list(&to["principals"]).iter().any(|name| name == one.principal)
                    || list(&to["groups"]).iter().any(|group| one.groups.contains(&text(group)))
            })
    });
    let named = list(&requirement["principals"]).iter().any(|name| name == one.principal);
    let member = list(&requirement["groups"]).iter().any(|group| one.groups.contains(&text(group)));
    let anybody = requirement.get("principals").is_none() && requirement.get("groups").is_none();
    let surface = match requirement.get("surfaces") {
        Some(surfaces) => list(surfaces).iter().any(|surface| surface == one.surface),
        None => ["terminal", "independent_page", "operator_page"].contains(&one.surface),
    };
    let signed = match one.voice {
        Spoken::Own => true,
        Spoken::Link => list(&requirement["surfaces"]).iter().any(|surface| surface == "link"),
        Spoken::TimeOut(_) | Spoken::Other => false,
    };
    signed && (anybody || named || member || asked) && surface
}

/// `None` is *unresolved*.
fn test(matcher: &Value, document: &Value, asked: &Asked) -> Option<bool> {
    let (name, inner) = matcher.as_object().unwrap().iter().next().unwrap();
    let each = || list(inner).iter().map(|one| test(one, document, asked)).collect::<Vec<_>>();
    match name.as_str() {
        "always" => Some(true),
        "tool" => Some(matches(text(inner), text(&asked.action["tool"]))),
        "target" => Some(asked.action["target"].as_str().is_some_and(|target| matches(text(inner), target))),
        "mode" => Some(*inner == asked.action["mode"]),
        "argument" => argument(inner, asked),
        "cost" => {
            let (side, bound) = inner.as_object().unwrap().iter().next().unwrap();
            let costs: Option<Vec<(String, String)>> = list(&document["costs"])
                .iter()
                .filter(|source| matches(text(&source["tool"]), text(&asked.action["tool"])))
                .map(|source| cost(source, asked))
                .collect();
            let costs = costs?;
            let (amount, currency) = costs.first()?;
            if costs.iter().any(|other| other != &costs[0]) || *currency != bound["currency"] {
                return None;
            }
            let is_over = *amount > padded(&bound["amount"])?;
            Some(if side == "over" { is_over } else { !is_over })
        }
        "risk" => {
            let rank = |risk: &str| super::RISKS.iter().position(|one| *one == risk);
            Some(rank(asked.risk) >= rank(text(&inner["at_least"])))
        }
        "tags" => {
            let (share, tags) = inner.as_object().unwrap().iter().next().unwrap();
            let present = list(tags).iter().filter(|tag| asked.tags.contains(&text(tag))).count();
            Some(match share.as_str() {
                "any" => present > 0,
                "all" => present == list(tags).len(),
                _ => present == 0,
            })
        }
        "principal" => Some(list(inner).iter().any(|one| one == asked.proposer)),
        "definition" => {
            let schema = &asked.action["connector"]["schema"];
            Some(list(inner).iter().any(|one| one == schema))
        }
        "delegation" => Some(match inner {
            Value::Bool(wanted) => *wanted != asked.chain.is_empty(),
            ids => list(ids).iter().any(|id| asked.chain.contains(&text(id))),
        }),
        "group" => Some(list(inner).iter().any(|one| asked.groups.contains(&text(one)))),
        "all" => {
            let each = each();
            if each.contains(&Some(false)) {
                Some(false)
            } else if each.contains(&None) {
                None
            } else {
                Some(true)
            }
        }
        "any" => {
            let each = each();
            if each.contains(&Some(true)) {
                Some(true)
            } else if each.contains(&None) {
                None
            } else {
                Some(false)
            }
        }
        "not" => test(inner, document, asked).map(|yes| !yes),
        other => panic!("no matcher {other}"),
    }
}

fn argument(inner: &Value, asked: &Asked) -> Option<bool> {
    let path = text(&inner["path"]);
    if is_hidden(path, asked) {
        return None;
    }
    let found = asked.action["arguments"].pointer(path);
    if let Some(present) = inner.get("present") {
        return Some(*present == found.is_some());
    }
    let found = found?;
    if let Some(values) = inner.get("one_of") {
        return Some(list(values).contains(found));
    }
    if let Some(glob) = inner.get("glob") {
        return Some(found.as_str().is_some_and(|found| matches(text(glob), found)));
    }
    let found = padded(found)?;
    match inner.get("over") {
        Some(bound) => Some(found > padded(bound)?),
        None => Some(found <= padded(&inner["at_most"])?),
    }
}

fn cost(source: &Value, asked: &Asked) -> Option<(String, String)> {
    let value = |path: &Value| {
        let path = text(path);
        if is_hidden(path, asked) { None } else { asked.action["arguments"].pointer(path) }
    };
    let amount = padded(value(&source["amount"])?).filter(|amount| !amount.starts_with('-'))?;
    let currency = match source.get("currency") {
        Some(currency) => text(currency),
        None => value(&source["currency_at"])?.as_str()?,
    };
    let is_currency = currency.len() >= 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    is_currency.then(|| (amount, currency.to_owned()))
}

/// Whether a committed or free path lies at, within or above this one, token by token.
fn is_hidden(path: &str, asked: &Asked) -> bool {
    let committed =
        asked.action["committed"].as_object().into_iter().flatten().map(|(path, _)| path.as_str());
    let free = list(&asked.action["free"]).iter().map(text);
    committed.chain(free).any(|hidden| path.split('/').zip(hidden.split('/')).all(|(a, b)| a == b))
}

/// A number of which the text sorts as the number does, above zero; everything below it starts with `-` and sorts first.
fn padded(value: &Value) -> Option<String> {
    let written = match value {
        Value::Number(number) if number.is_i64() => number.to_string(),
        Value::String(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(fraction) || (whole.starts_with('0') && whole != "0") {
                return None;
            }
            text.clone()
        }
        _ => return None,
    };
    if written.starts_with('-') {
        return Some(written);
    }
    let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
    Some(format!("{whole:0>20}.{fraction:0<18}"))
}

/// A glob, by trying every length for its first star.
pub fn matches(glob: &str, text: &str) -> bool {
    match glob.chars().next() {
        None => text.is_empty(),
        Some('*') => (0..=text.len()).any(|at| matches(&glob[1..], &text[at..])),
        Some(letter) => text.strip_prefix(letter).is_some_and(|rest| matches(&glob[1..], rest)),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
