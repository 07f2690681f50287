//! Putting the gate before a server's command in the text of a configuration, adding Counterfoil's own server, and taking both away
//! again, to the byte.

use std::ops::Range;

use super::{
    plan::Kind,
    servers::{self, Server, Start, Syntax, Text},
};
use crate::text::printable;

/// What stands in the place of a server's command.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The program, by its absolute path: clients have a search path of their own.
    pub program: String,
    /// What stands between `mcp gate` and `--name`.
    pub options: Vec<String>,
}

/// The table of servers in TOML.
const TABLE: &str = "mcp_servers";
/// What the entry of Counterfoil's own server is called.
pub const OWN: &str = "counterfoil";

/// Some bytes of a text, and what stands there instead.
struct Edit {
    at: Range<usize>,
    with: String,
}

/// The arguments before the command of a server whose command is a gate; `None` if it is none.
fn gated(start: &Start) -> Option<(&Text, &[Text], usize)> {
    let Start::Command { command, arguments: Some((_, _, arguments)), .. } = start else { return None };
    let is_gate = matches!(&arguments[..], [mcp, gate, ..] if mcp.says == "mcp" && gate.says == "gate");
    let dashes = arguments.iter().position(|word| word.says == "--")?;
    (is_our_name(&command.says) && is_gate && dashes + 1 < arguments.len()).then_some((
        command,
        arguments,
        dashes + 1,
    ))
}

/// Whether a program of this path may be this one, in whatever version.
pub fn is_our_name(program: &str) -> bool {
    program.rsplit(['/', '\\']).next().is_some_and(|name| name.starts_with("counterfoil"))
}

/// Whether a gate stands before the server already.
pub fn is_gated(server: &Server) -> bool {
    gated(&server.start).is_some()
}

/// The text with the gate before the command of this server of it.
///
/// # Errors
/// Why not, where taking the gate away again would not give the same text.
pub fn install(text: &str, syntax: Syntax, server: &Server, gate: &Gate) -> Result<String, &'static str> {
    let Start::Command { member, command, arguments } = &server.start else {
        return Err("it has no command");
    };
    let fixed = ["mcp".to_owned(), "gate".to_owned()].into_iter().chain(gate.options.iter().cloned());
    let words = fixed.chain(["--name".to_owned(), server.name.clone(), "--".to_owned()]);
    let mut words: Vec<String> = words.map(|word| quoted(&word)).collect();
    // As it is spelled: what stands in it is the client's to read.
    words.push(text[command.at.clone()].to_owned());
    let words = words.join(", ");
    let mut edits = vec![Edit { at: command.at.clone(), with: quoted(&gate.program) }];
    edits.push(match arguments {
        Some((_, array, each)) => match each.first() {
            Some(first) => insert(first.at.start, format!("{words}, ")),
            None => insert(array.start + 1, words),
        },
        // A space after the bracket tells an array that was not there from one that was empty.
        None if syntax == Syntax::Json => insert(command.at.end, format!(", \"args\": [ {words} ]")),
        None => {
            let line = text[..*member].rfind('\n').map_or(0, |at| at + 1);
            let before = &text[line..*member];
            match before.trim_end().chars().next_back() {
                None => {
                    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
                    insert(*member, format!("args = [ {words} ]{end}{before}"))
                }
                Some('{' | ',') => insert(*member, format!("args = [ {words} ], ")),
                Some(_) => {
                    return Err("it has no args, and is written so that none can be added: add `args = []`");
                }
            }
        }
    });
    Ok(edited(text, edits))
}

/// The text with the command in its place again of a server that has a gate before it.
///
/// # Errors
/// Why not.
pub fn uninstall(text: &str, syntax: Syntax, server: &Server) -> Result<String, &'static str> {
    let (Some((command, each, original)), Start::Command { member, arguments: Some((args, array, _)), .. }) =
        (gated(&server.start), &server.start)
    else {
        return Err("no gate stands before it");
    };
    let (first, last) = (&each[0].at, &each[original].at);
    let mut edits = vec![Edit { at: command.at.clone(), with: text[last.clone()].to_owned() }];
    let was_added = text[array.start + 1..first.start].starts_with(' ');
    edits.push(if let Some(next) = each.get(original + 1) {
        remove(first.start..next.at.start)
    } else if was_added && syntax == Syntax::Json && text.get(command.at.end..*args) == Some(", ") {
        remove(command.at.end..array.end)
    } else if was_added
        && syntax == Syntax::Toml
        && text.get(array.end..*member).is_some_and(|between| matches!(between.trim(), "" | ","))
    {
        remove(*args..*member)
    } else {
        let rest = &text[last.end..array.end];
        let comma = rest.len() - rest.trim_start().strip_prefix(',').unwrap_or(rest).len();
        remove(first.start..last.end + comma)
    });
    Ok(edited(text, edits))
}

/// The gate before a server and the one that would be put there, if they are not of the same program, or not directed the same way.
pub fn other_gate(server: &Server, gate: &Gate) -> Option<(String, String)> {
    let (command, arguments, original) = gated(&server.start)?;
    let words: Vec<&str> = arguments[..original - 1].iter().map(|word| word.says.as_str()).collect();
    let words = match &words[..] {
        [before @ .., "--name", _] => before,
        all => all,
    };
    let options: Vec<&str> = gate.options.iter().map(String::as_str).collect();
    let there = directions(words.get(2..).unwrap_or_default());
    let is_same = command.says == gate.program && there == directions(&options);
    let spelled = |program: &str, words: &[&str]| printable(&[&[program], words].concat().join(" "));
    let would_be = [&["mcp", "gate"], &options[..]].concat();
    (!is_same).then(|| (spelled(&command.says, words), spelled(&gate.program, &would_be)))
}

/// Where a gate is told to work, what to trust, what to sign with and whom to ask. Other options are whoever's wrote them.
fn directions<'w>(words: &[&'w str]) -> Vec<(&'static str, &'w str)> {
    let mut found = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        for (option, other) in [("--dir", "-C"), ("--trust", ""), ("--key", ""), ("--server", "")] {
            let joined = word.strip_prefix(option).and_then(|rest| rest.strip_prefix('='));
            let short = word.strip_prefix(other).filter(|rest| !other.is_empty() && !rest.is_empty());
            let next = (word == option || word == other).then(|| words.next().unwrap_or_default());
            if let Some(value) = next.or(joined).or(short) {
                found.push((option, value));
                break;
            }
        }
    }
    found.sort_unstable();
    found
}

/// The words of a server that is `mcp serve` of a program that may be this one, with a working directory, and has its name.
pub fn own_words(server: &Server) -> Option<Vec<&str>> {
    let Start::Command { command, arguments: Some((_, _, arguments)), .. } = &server.start else {
        return None;
    };
    let words: Vec<&str> = [command].into_iter().chain(arguments).map(|word| word.says.as_str()).collect();
    let is_own = is_our_name(words[0]) && matches!(words[1..], ["mcp", "serve", "-C", ..]);
    (is_own && server.name == OWN).then_some(words)
}

/// The entry of Counterfoil's own server, without what stands around it. The spaces in its brackets tell it from one that people wrote.
fn own_entry<W: AsRef<str>>(syntax: Syntax, holder: &str, words: &[W], end: &str) -> String {
    let (command, arguments) =
        (quoted(words[0].as_ref()), words[1..].iter().map(|word| quoted(word.as_ref())));
    let arguments = arguments.collect::<Vec<_>>().join(", ");
    match syntax {
        Syntax::Json => {
            // Zed asks who a server is from.
            let source = if holder == "context_servers" { "\"source\": \"custom\", " } else { "" };
            format!("\"{OWN}\": {{ {source}\"command\": {command}, \"args\": [ {arguments} ] }}")
        }
        Syntax::Toml => {
            format!("[{holder}.{OWN}]{end}command = {command}{end}args = [ {arguments} ]")
        }
    }
}

/// How lines of a text end.
fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The text with Counterfoil's own server among the others.
///
/// # Errors
/// Why not.
pub fn add(text: &str, (syntax, holders): Kind<'_>, words: &[String]) -> Result<String, String> {
    let mut out = text.to_owned();
    match syntax {
        Syntax::Json => {
            let (holder, brace, is_empty) = servers::place(text, holders)?;
            let comma = if is_empty { "" } else { ", " };
            out.insert_str(brace + 1, &(own_entry(syntax, &holder, words, "") + comma));
        }
        // A table stands best behind all others. Where the last line had no end, this has none either, to be told by.
        Syntax::Toml => {
            let end = line_end(text);
            let entry = own_entry(syntax, TABLE, words, end);
            let is_ended = text.is_empty() || text.ends_with('\n');
            out.push_str(&if is_ended { entry + end } else { end.to_owned() + &entry });
        }
    }
    Ok(out)
}

/// The text without Counterfoil's own server; `None` if this is not the entry that [`add`] wrote, as it wrote it. What else belongs to the
/// server, such as a table below it, is not asked.
pub fn without(text: &str, (syntax, holders): Kind<'_>, server: &Server) -> Option<String> {
    let words = own_words(server)?;
    match syntax {
        Syntax::Json => {
            let holder = servers::place(text, holders).ok()?.0;
            without_member(text, &own_entry(syntax, &holder, &words, ""), server)
        }
        Syntax::Toml => without_table(text, &words, server),
    }
}

/// The text of JSON without the member of a server, and without one of the commas around it.
fn without_member(text: &str, entry: &str, server: &Server) -> Option<String> {
    let Range { start, end } = server.at.clone();
    if text.get(start..end) != Some(entry) {
        return None;
    }
    let mut edits = vec![remove(start..end)];
    let (before, after) = (comma_before(text, server), comma_after(text, server));
    // Of the last member the comma before it goes, unless one stood behind the last before.
    if let Some(comma) = after.or(before) {
        let is_next = comma == end && text[comma + 1..].starts_with(' ');
        edits.push(remove(comma..comma + 1 + usize::from(is_next)));
    }
    Some(edited(text, edits))
}

/// Where the comma is that follows a member, which others may follow.
fn comma_after(text: &str, server: &Server) -> Option<usize> {
    comma(text, server.at.end..server.room.end)
}

fn comma_before(text: &str, server: &Server) -> Option<usize> {
    comma(text, server.room.start..server.at.start)
}

/// Where in a range, of which nothing is a value, a comma is that is in no comment.
fn comma(text: &str, range: Range<usize>) -> Option<usize> {
    let mut at = range.start;
    while at < range.end {
        let rest = &text[at..range.end];
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with(',') {
            return Some(at);
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
    }
    None
}

/// The text of TOML without the table of a server. The lines of a file are as they end now.
fn without_table(text: &str, words: &[&str], server: &Server) -> Option<String> {
    let end = line_end(text);
    let entry = own_entry(Syntax::Toml, TABLE, words, end);
    let start = server.at.start.checked_sub(TABLE.len() + 2)?;
    let (before, rest) = (text.get(..start)?, text.get(start..)?);
    let after = rest.strip_prefix(&entry)?;
    let is_line = before.is_empty() || before.ends_with('\n');
    match after.strip_prefix(end) {
        _ if !is_line => None,
        Some(after) => Some([before, after].concat()),
        // Where the last line had no end, this one has none.
        None if after.is_empty() => Some(before.strip_suffix(end).unwrap_or(before).to_owned()),
        None => None,
    }
}

fn insert(at: usize, with: String) -> Edit {
    Edit { at: at..at, with }
}

const fn remove(at: Range<usize>) -> Edit {
    Edit { at, with: String::new() }
}

/// The text after edits of places that do not overlap.
fn edited(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| std::cmp::Reverse((edit.at.start, edit.at.end)));
    let mut out = text.to_owned();
    for Edit { at, with } in edits {
        out.replace_range(at, &with);
    }
    out
}

/// A string as JSON and TOML both spell it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp_install::clients::HOLDERS;

    fn gate() -> Gate {
        Gate {
            program: "/opt/a \"b\"/counterfoil".to_owned(),
            options: vec!["-C".to_owned(), "/w".to_owned()],
        }
    }

    fn words(server: &Server) -> Vec<String> {
        let Start::Command { command, arguments, .. } = &server.start else { panic!("{server:?}") };
        let arguments = arguments.as_ref().map_or(&[][..], |(_, _, each)| each);
        [command].into_iter().chain(arguments).map(|word| word.says.clone()).collect()
    }

    /// That the gate stands before the command of each server and nothing else changed, and that what was before comes back.
    fn there_and_back(text: &str, syntax: Syntax) {
        let before = servers::read(text, syntax, &HOLDERS).unwrap();
        assert!(!before.is_empty(), "{text}");
        for (at, server) in before.iter().enumerate() {
            let with = install(text, syntax, server, &gate()).unwrap();
            let after = servers::read(&with, syntax, &HOLDERS).unwrap();
            assert!(is_gated(&after[at]) && after.len() == before.len(), "{with}");
            let gate = ["/opt/a \"b\"/counterfoil", "mcp", "gate", "-C", "/w", "--name", &server.name, "--"];
            let expected = gate.map(str::to_owned).into_iter().chain(words(server)).collect::<Vec<_>>();
            assert_eq!(words(&after[at]), expected, "{with}");
            assert_eq!(uninstall(&with, syntax, &after[at]).unwrap(), text, "{with}");
        }
    }

    #[test]
    fn what_was_there_comes_back_to_the_byte() {
        for text in [
            r#"{"mcpServers":{"a":{"command":"npx","args":["-y","x"]}}}"#,
            r#"{"mcpServers":{"a":{"command":"npx"}}}"#,
            r#"{"mcpServers":{"a":{"args":[],"command":"npx"}}}"#,
            r#"{"mcpServers":{"a":{"command":"npx", "args": []}}}"#,
            r#"{"mcpServers":{"a":{"command":"npx", "args": [ ]}}}"#,
            r#"{"mcpServers":{"a":{"command":"np\u0078 \"é\"", "args": [ "--", "counterfoil" ],},},}"#,
            "{ // mine\n  \"servers\": {\n    \"a\": {\n      \"command\": \"npx\", // why\n      \"args\": [\n        \"-y\", /* yes */\n        \
             \"x\",\n      ],\n      \"env\": {\"K\": \"1e2\"}\n    }\n  }\n}\r\n",
            r#"{"context_servers":{"a":{"command":{"path":"npx","args":["x"],"env":null}},"b":{"source":"custom","command":"npx"}}}"#,
        ] {
            there_and_back(text, Syntax::Json);
        }
        for text in [
            "[mcp_servers.a]\ncommand = \"npx\"\nargs = [\"-y\", 'x']\n",
            "[mcp_servers.a]\ncommand = 'C:\\npx' # why\n",
            "[mcp_servers.a]\r\n  command = \"npx\"\r\n\r\n[mcp_servers.a.env]\r\nK = \"v\"\r\n",
            "[mcp_servers]\na = { command = \"npx\" }\nb = {args=[ ], command = \"\"\"npx\"\"\"}\n",
            "# mine\nmcp_servers.a.command = \"npx\"\nmcp_servers.a.args = [ # none\n]\n",
            "[mcp_servers.\"a b\"]\nargs = [\n  \"x\", # first\n]\ncommand = \"npx\"",
            "[mcp_servers.a]\nargs = []\ncommand = \"npx\"\n",
        ] {
            there_and_back(text, Syntax::Toml);
        }
        let dotted = "mcp_servers.a.command = \"npx\"\n";
        let servers = servers::read(dotted, Syntax::Toml, &HOLDERS).unwrap();
        assert!(install(dotted, Syntax::Toml, &servers[0], &gate()).is_err());
    }

    #[test]
    fn counterfoils_own_server_is_added_and_taken_away_to_the_byte() {
        let words = ["/opt/a \"b\"/counterfoil", "mcp", "serve", "-C", "/w, }"].map(str::to_owned);
        for (syntax, text) in [
            (Syntax::Json, r#"{"mcpServers":{"a":{"command":"npx"}}}"#),
            (Syntax::Json, "{\"x\": 1, \"mcpServers\": {\n  // none\n}}\r\n"),
            (Syntax::Json, "{\"context_servers\": {\n    \"a\": {\"url\": \"https://a\"},\n  },\n}"),
            (Syntax::Json, r#"{"servers":{}}"#),
            (Syntax::Toml, ""),
            (Syntax::Toml, "model = \"o\""),
            (Syntax::Toml, "[mcp_servers.a]\r\ncommand = \"npx\"\r\n"),
            (Syntax::Toml, "[mcp_servers]\na = { command = \"npx\" } # last"),
        ] {
            let with = add(text, (syntax, &HOLDERS), &words).unwrap();
            let after = servers::read(&with, syntax, &HOLDERS).unwrap();
            let own = after.iter().find(|server| server.name == OWN).unwrap_or_else(|| panic!("{with}"));
            assert!(own_words(own).unwrap() == words && !is_gated(own), "{with}");
            assert_eq!(self::words(own), words, "{with}");
            assert_eq!(after.len(), servers::read(text, syntax, &HOLDERS).unwrap().len() + 1, "{with}");
            assert_eq!(without(&with, (syntax, &HOLDERS), own).as_deref(), Some(text), "{with}");
        }
        assert!(add("{}", (Syntax::Json, &HOLDERS), &words).is_err());
        // What somebody wrote themselves is theirs.
        let own = r#"{"mcpServers": {"counterfoil": {"command": "counterfoil", "args": ["mcp", "serve", "-C", "/w"]}}}"#;
        let there = servers::read(own, Syntax::Json, &HOLDERS).unwrap();
        assert_eq!(without(own, (Syntax::Json, &HOLDERS), &there[0]), None);
    }

    #[test]
    fn an_entry_that_somebody_moved_and_changed_is_released_too() {
        let text = r#"{"mcpServers": {"b": {"args": ["mcp", "gate", "-C", "/elsewhere", "--hold", "1s", "--name", "a", "--", "npx",], "type": "stdio", "command": "counterfoil"}}}"#;
        let servers = servers::read(text, Syntax::Json, &HOLDERS).unwrap();
        let released = uninstall(text, Syntax::Json, &servers[0]).unwrap();
        assert_eq!(released, r#"{"mcpServers": {"b": {"args": [], "type": "stdio", "command": "npx"}}}"#);
        for other in ["not-counterfoil", "/counterfoil/sh"] {
            let text = text.replace("\"counterfoil\"", &format!("{other:?}"));
            assert!(!is_gated(&servers::read(&text, Syntax::Json, &HOLDERS).unwrap()[0]), "{other}");
        }
    }
}
