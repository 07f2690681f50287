//! What a configuration says, whatever its spelling: to tell that an edit changed one entry and nothing else.

use std::collections::BTreeMap;

use jsonc_parser::ast::{Object, Value};
use serde::de::IgnoredAny;
use toml::de::{DeTable, DeValue};

use super::servers::{self, Syntax};

/// A value. Numbers are as they are spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Datum {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Datum>),
    /// Members in their order, also such as stand twice.
    Members(Vec<(String, Datum)>),
}

/// All that a file says but for one server.
#[derive(Debug, PartialEq, Eq)]
pub struct Rest {
    others: Datum,
    /// The entry, without its command and arguments, if it is of interest and there.
    entry: Option<Datum>,
}

/// Which part of a server's entry an edit may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its command and arguments.
    Start,
    /// All of it.
    Entry,
}

/// What stays where this part of a server of this name changes.
///
/// # Errors
/// Why the text can't be read.
pub fn rest(
    text: &str,
    (syntax, holders): (Syntax, &[&str]),
    name: &str,
    part: Part,
) -> Result<Rest, String> {
    let mut others = match syntax {
        _ if text.trim().is_empty() => Datum::Members(Vec::new()),
        Syntax::Json => members(&servers::root(text)?),
        Syntax::Toml => table(DeTable::parse(text).map_err(|error| error.message().to_owned())?.get_ref()),
    };
    let mut entry = None;
    if let Datum::Members(root) = &mut others {
        for (_, holder) in root.iter_mut().filter(|(name, _)| holders.contains(&name.as_str())) {
            if let Datum::Members(servers) = holder
                && let Some(at) = servers.iter().position(|(other, _)| other == name)
            {
                entry = Some(servers.remove(at).1);
            }
        }
        // A table of TOML is there because something stands in it.
        if syntax == Syntax::Toml {
            let is_empty = |value: &Datum| matches!(value, Datum::Members(members) if members.is_empty());
            root.retain(|(name, value)| !(holders.contains(&name.as_str()) && is_empty(value)));
        }
    }
    let entry = entry.filter(|_| part == Part::Start).map(without_start);
    Ok(Rest { others, entry })
}

/// Whether one text says the same as the other but for this part of the server of this name, and what any reader of JSON could read
/// before, it still can.
pub fn is_kept(before: &str, after: &str, kind: (Syntax, &[&str]), name: &str, part: Part) -> bool {
    let is_strict = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    let is_readable = kind.0 == Syntax::Toml || !is_strict(before) || is_strict(after);
    match (rest(before, kind, name, part), rest(after, kind, name, part)) {
        (Ok(before), Ok(after)) => is_readable && before == after,
        _ => false,
    }
}

fn without_start(mut entry: Datum) -> Datum {
    if let Datum::Members(members) = &mut entry {
        let inner = members.iter_mut().find(|(name, _)| name == "command").map(|(_, command)| command);
        if let Some(Datum::Members(inner)) = inner {
            inner.retain(|(name, _)| name != "path" && name != "args");
        } else {
            members.retain(|(name, _)| name != "command" && name != "args");
        }
    }
    entry
}

fn members(object: &Object<'_>) -> Datum {
    let member = |name: &str, value| (name.to_owned(), json(value));
    Datum::Members(object.properties.iter().map(|one| member(one.name.as_str(), &one.value)).collect())
}

fn json(value: &Value<'_>) -> Datum {
    match value {
        Value::StringLit(text) => Datum::Text(text.value.clone().into_owned()),
        Value::NumberLit(number) => Datum::Number(number.value.to_owned()),
        Value::BooleanLit(bool) => Datum::Bool(bool.value),
        Value::Object(object) => members(object),
        Value::Array(array) => Datum::List(array.elements.iter().map(json).collect()),
        Value::NullKeyword(_) => Datum::Null,
    }
}

/// Members of a table in the order of their names: in TOML theirs says nothing.
fn table(table: &DeTable<'_>) -> Datum {
    let sorted: BTreeMap<String, Datum> =
        table.iter().map(|(name, value)| (name.get_ref().to_string(), toml(value.get_ref()))).collect();
    Datum::Members(sorted.into_iter().collect())
}

fn toml(value: &DeValue<'_>) -> Datum {
    match value {
        DeValue::String(text) => Datum::Text(text.to_string()),
        DeValue::Integer(number) => {
            Datum::Number(format!("{}, to the base {}", number.as_str(), number.radix()))
        }
        DeValue::Float(number) => Datum::Number(number.as_str().to_owned()),
        DeValue::Boolean(bool) => Datum::Bool(*bool),
        DeValue::Datetime(time) => Datum::Number(time.to_string()),
        DeValue::Array(array) => Datum::List(array.iter().map(|value| toml(value.get_ref())).collect()),
        DeValue::Table(inner) => table(inner),
    }
}
