//! The servers of a configuration file, and where in its text they stand.
//!
//! Nothing is written from what was read: an edit replaces some bytes of the text, so that comments and formatting stay.

use std::{collections::HashSet, ops::Range};

use crate::mcp_install::clients::HOLDERS;
use jsonc_parser::{
    ParseOptions,
    ast::{Object, ObjectProp, Value},
    common::Ranged as _,
    parse_to_ast,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// JSON, perhaps with comments and trailing commas.
    Json,
    /// TOML.
    Toml,
}

/// An entry for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What the client calls it.
    pub name: String,
    /// Where it stands: its member in JSON, its name in TOML.
    pub at: Range<usize>,
    /// That and what is around it up to the members beside it, or to the ends of what holds them. In TOML the same as `at`.
    pub room: Range<usize>,
    /// What starts it, if anything does.
    pub start: Start,
}

/// What starts a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A command, and its arguments where it says some.
    Command {
        /// The member that is the command: where its name begins.
        member: usize,
        /// The command.
        command: Text,
        /// Where the member of the arguments begins, the bytes of their array, and each of them.
        arguments: Option<(usize, Range<usize>, Vec<Text>)>,
    },
    /// Nothing: the server is somewhere else, and is reached by its address.
    Address,
    /// Nothing that this program understands, for this reason.
    Unclear(&'static str),
}

/// A string of a file: what it says, and the bytes that spell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// What it says.
    pub says: String,
    /// Where it stands, quotes included.
    pub at: Range<usize>,
}

/// The servers in a text, under the members of these names.
///
/// # Errors
/// Why the text can't be read: it is not of the syntax, or says something twice.
pub fn read(text: &str, syntax: Syntax, holders: &[&str]) -> Result<Vec<Server>, String> {
    let servers = match syntax {
        _ if text.trim().is_empty() => Vec::new(),
        Syntax::Json => json(text, holders)?,
        Syntax::Toml => toml(text, holders)?,
    };
    let mut names = HashSet::new();
    match servers.iter().find(|server| !names.insert(&server.name)) {
        Some(twice) => Err(format!("the server {:?} stands twice in it", twice.name)),
        None => Ok(servers),
    }
}

/// Where in a text of JSON the servers stand: what the member is called that holds them, where its object begins, and whether it is empty.
///
/// # Errors
/// Why there is no such place, or not one.
pub fn place<'t>(text: &'t str, holders: &[&str]) -> Result<(String, usize, bool), String> {
    let root: Object<'t> = root(text)?;
    let mut found = root.properties.iter().filter(|member| holders.contains(&member.name.as_str()));
    match (found.next(), found.next()) {
        (Some(holder), None) => match &holder.value {
            Value::Object(servers) => {
                Ok((holder.name.as_str().to_owned(), servers.range.start, servers.properties.is_empty()))
            }
            _ => Err(format!("{} is no object", holder.name.as_str())),
        },
        (None, _) => Err(format!(
            "it has no member for servers: add `\"{}\": {{}}`",
            holders.first().unwrap_or(&HOLDERS[0])
        )),
        (Some(_), Some(_)) => Err("it has several members for servers".to_owned()),
    }
}

/// The object that a text of JSON is.
///
/// # Errors
/// Why it is none.
pub fn root(text: &str) -> Result<Object<'_>, String> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let read = parse_to_ast(text, &Default::default(), &options).map_err(|error| error.to_string())?;
    let Some(Value::Object(root)) = read.value else { return Err("it is no object".to_owned()) };
    once(&root, "the file")?;
    Ok(root)
}

fn json(text: &str, holders: &[&str]) -> Result<Vec<Server>, String> {
    let root = root(text)?;
    let mut servers = Vec::new();
    for holder in root.properties.iter().filter(|member| holders.contains(&member.name.as_str())) {
        let Value::Object(entries) = &holder.value else {
            return Err(format!("{} is no object", holder.name.as_str()));
        };
        once(entries, holder.name.as_str())?;
        for (at, entry) in entries.properties.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| entries.properties[at].end());
            let after = entries.properties.get(at + 1).map(|next| next.start());
            let room = before.unwrap_or(entries.range.start + 1)..after.unwrap_or(entries.range.end - 1);
            let name = entry.name.as_str().to_owned();
            let start = match &entry.value {
                Value::Object(object) => {
                    once(object, &name)?;
                    json_start(object)?
                }
                _ => Start::Unclear("it is no object"),
            };
            servers.push(Server { name, at: entry.start()..entry.end(), room, start });
        }
    }
    Ok(servers)
}

fn json_start(entry: &Object<'_>) -> Result<Start, String> {
    let find = |object: &Object<'_>, name: &str| -> Option<usize> {
        object.properties.iter().position(|member| member.name.as_str() == name)
    };
    let at = |object: &Object<'_>, name: &str| find(object, name);
    let Some(command) = at(entry, "command") else {
        let is_remote = ["url", "httpUrl", "serverUrl"].iter().any(|name| at(entry, name).is_some());
        return Ok(if is_remote { Start::Address } else { Start::Unclear("it has no command") });
    };
    match &entry.properties[command].value {
        Value::StringLit(_) => {
            Ok(json_command(&entry.properties[command], at(entry, "args").map(|at| &entry.properties[at])))
        }
        // As Zed wrote it once.
        Value::Object(inner) => {
            once(inner, "command")?;
            let Some(path) = at(inner, "path") else { return Ok(Start::Unclear("its command has no path")) };
            Ok(json_command(&inner.properties[path], at(inner, "args").map(|at| &inner.properties[at])))
        }
        _ => Ok(Start::Unclear("its command is no string")),
    }
}

fn json_command(command: &ObjectProp<'_>, arguments: Option<&ObjectProp<'_>>) -> Start {
    let text = |value: &Value<'_>| match value {
        Value::StringLit(text) => {
            Some(Text { says: text.value.clone().into_owned(), at: text.range.start..text.range.end })
        }
        _ => None,
    };
    let Some(said) = text(&command.value) else { return Start::Unclear("its command is no string") };
    let arguments = match arguments.map(|member| (member, &member.value)) {
        None => None,
        Some((member, Value::Array(array))) => {
            let Some(each) = array.elements.iter().map(text).collect::<Option<Vec<Text>>>() else {
                return Start::Unclear("an argument is no string");
            };
            Some((member.start(), array.range.start..array.range.end, each))
        }
        Some(_) => return Start::Unclear("its arguments are no array"),
    };
    Start::Command { member: command.start(), command: said, arguments }
}

/// That no member of an object stands twice: two readers could take another one each.
fn once(object: &Object<'_>, what: &str) -> Result<(), String> {
    let mut names = HashSet::new();
    match object.properties.iter().find(|member| !names.insert(member.name.as_str())) {
        Some(twice) => Err(format!("{:?} stands twice in {what}", twice.name.as_str())),
        None => Ok(()),
    }
}

fn toml(text: &str, holders: &[&str]) -> Result<Vec<Server>, String> {
    let root = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut servers = Vec::new();
    for (name, holder) in root.get_ref().iter().filter(|(name, _)| holders.contains(&name.get_ref().as_ref()))
    {
        let DeValue::Table(entries) = holder.get_ref() else {
            return Err(format!("{} is no table", name.get_ref()));
        };
        for (name, entry) in entries.iter() {
            let start = match entry.get_ref() {
                DeValue::Table(entry) => toml_start(entry),
                _ => Start::Unclear("it is no table"),
            };
            let (at, room) = (name.span(), name.span());
            servers.push(Server { name: name.get_ref().to_string(), at, room, start });
        }
    }
    servers.sort_by_key(|server| server.at.start);
    Ok(servers)
}

fn toml_start(entry: &DeTable<'_>) -> Start {
    let text = |value: &Spanned<DeValue<'_>>| {
        value.get_ref().as_str().map(|says| Text { says: says.to_owned(), at: value.span() })
    };
    let member = |name: &str| entry.iter().find(|(key, _)| key.get_ref().as_ref() == name);
    let Some((key, command)) = member("command") else {
        return if member("url").is_some() { Start::Address } else { Start::Unclear("it has no command") };
    };
    let Some(command) = text(command) else { return Start::Unclear("its command is no string") };
    let arguments = match member("args").map(|(key, value)| (key.span().start, value.span(), value.get_ref()))
    {
        None => None,
        Some((start, span, DeValue::Array(array))) => {
            let Some(each) = array.iter().map(text).collect::<Option<Vec<Text>>>() else {
                return Start::Unclear("an argument is no string");
            };
            Some((start, span, each))
        }
        Some(_) => return Start::Unclear("its arguments are no array"),
    };
    Start::Command { member: key.span().start, command, arguments }
}
