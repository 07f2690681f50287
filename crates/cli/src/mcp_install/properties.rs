//! Whatever a configuration says and however it is written: the gate is put before its servers and Counterfoil's own is added, nothing else
//! changes, and what was there comes back. What a text says is read by other parsers than the code under test reads it with.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{
    clients::HOLDERS,
    edit::{self, Gate},
    plan::{self, Changed, Fate, Wanted},
    servers::Syntax,
};

const JSON: plan::Kind<'static> = (Syntax::Json, &HOLDERS);
const TOML: plan::Kind<'static> = (Syntax::Toml, &HOLDERS);
/// Names that have something in common with that of Counterfoil's own server, and some that do not.
const NAMES: [&str; 6] = ["counterfoil2", "counter", "a b", "files", "args", "mcp_servers"];
/// What stands in comments: the entry that is added, as it is added, and what ends other things.
const REMARKS: [&str; 5] = ["", "\"counterfoil\": {", ", }, {", "[mcp_servers.counterfoil]", OWN_ENTRY];
const OWN_ENTRY: &str =
    r#""counterfoil": { "command": "/opt/counterfoil", "args": [ "mcp", "serve", "-C", "/w" ] }"#;

fn gate() -> Gate {
    Gate { program: "/opt/counterfoil".to_owned(), options: vec!["-C".to_owned(), "/w".to_owned()] }
}

fn own() -> Vec<String> {
    ["/opt/counterfoil", "mcp", "serve", "-C", "/w"].map(str::to_owned).to_vec()
}

fn install(text: &str, kind: plan::Kind<'_>) -> Changed {
    plan::install(text, kind, &[], &Wanted { gate: &gate(), own: &own(), serve: true }).unwrap()
}

fn uninstall(text: &str, kind: plan::Kind<'_>) -> Changed {
    plan::uninstall(text, kind, &[]).unwrap()
}

/// An entry that a gate can be put before, or an address.
fn entry() -> impl Strategy<Value = Value> {
    let words = option::of(vec(select(vec!["-y", "--", "//", "/*", "\"q\"", "é", ",}"]), 0..3));
    let env = option::of(select(vec![json!({}), json!({"TOKEN": "# no comment"}), json!({"args": "x"})]));
    (any::<u8>(), words, env).prop_map(|(kind, words, env)| {
        let mut entry = Map::new();
        if kind < 32 {
            entry.insert("url".to_owned(), json!("https://example.org/mcp"));
        } else {
            entry.insert("command".to_owned(), json!("np\"x"));
            words.map(|words| entry.insert("args".to_owned(), json!(words)));
        }
        env.map(|env| entry.insert("env".to_owned(), env));
        Value::Object(entry)
    })
}

fn servers() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    (Just(NAMES.to_vec()).prop_shuffle(), vec(entry(), 0..4))
        .prop_map(|(names, entries)| names.into_iter().zip(entries).collect())
}

/// How a text of JSON is written.
#[derive(Clone, Debug)]
struct Hand {
    comments: Vec<&'static str>,
    /// Whether a comma stands behind the last of some.
    trailing: bool,
    line: &'static str,
}

fn hand() -> impl Strategy<Value = Hand> {
    (vec(select(REMARKS.to_vec()), 0..3), any::<bool>(), select(vec!["\n", "\r\n", ""]))
        .prop_map(|(comments, trailing, line)| Hand { comments, trailing, line })
}

impl Hand {
    /// What stands between two tokens.
    fn space(&self, at: usize) -> String {
        match self.comments.get(at % 4) {
            Some(remark) if self.line.is_empty() || at % 8 < 4 => format!(" /* {remark} */ "),
            Some(remark) => format!(" // {remark}{}  ", self.line),
            None => self.line.to_owned(),
        }
    }

    /// An object of members that are spelled already.
    fn object(&self, members: &[String], depth: usize) -> String {
        let mut out = "{".to_owned();
        for (at, member) in members.iter().enumerate() {
            let is_last = at + 1 == members.len();
            let comma = if !is_last || self.trailing { "," } else { "" };
            out.push_str(
                &[&self.space(at + depth), member.as_str(), &self.space(at + 2 * depth + 1), comma].concat(),
            );
        }
        out + &self.space(depth + 3) + "}"
    }

    fn entry(&self, name: &str, entry: &Value, depth: usize) -> String {
        let members: Vec<String> =
            entry.as_object().unwrap().iter().map(|(name, value)| format!("{:?}: {value}", name)).collect();
        format!("{}:{}{}", Value::from(name), self.space(depth), self.object(&members, depth + 1))
    }

    /// A file with these servers, in which `raw` is the member at a place.
    fn file(&self, servers: &[(&'static str, Value)], raw: Option<(usize, &str)>) -> String {
        let each = servers.iter().enumerate();
        let mut members: Vec<String> = each.map(|(at, (name, entry))| self.entry(name, entry, at)).collect();
        if let Some((at, raw)) = raw {
            members.insert(at % (members.len() + 1), raw.to_owned());
        }
        let root = [
            "\"n\": 1e2".to_owned(),
            format!("\"mcpServers\": {}", self.object(&members, 1)),
            "\"theme\": {\"args\": [\"dark\", 1.0]}".to_owned(),
        ];
        self.object(&root, 0) + self.line
    }
}

/// What a text of JSON with comments and trailing commas says.
fn read_json(text: &str) -> Value {
    let (mut plain, mut chars, mut in_string) = (String::new(), text.chars().peekable(), false);
    while let Some(next) = chars.next() {
        match next {
            '\\' if in_string => plain.extend([Some(next), chars.next()].into_iter().flatten()),
            '"' => {
                in_string = !in_string;
                plain.push(next);
            }
            '/' if !in_string && chars.peek() == Some(&'/') => {
                while chars.next_if(|next| *next != '\n').is_some() {}
            }
            '/' if !in_string && chars.peek() == Some(&'*') => {
                chars.next();
                while let Some(next) = chars.next() {
                    if next == '*' && chars.next_if_eq(&'/').is_some() {
                        break;
                    }
                }
            }
            '}' | ']' if !in_string => {
                plain.truncate(plain.trim_end().len());
                plain = plain.strip_suffix(',').map_or(plain.clone(), str::to_owned);
                plain.push(next);
            }
            _ => plain.push(next),
        }
    }
    serde_json::from_str(&plain).unwrap_or_else(|error| panic!("{error}: {plain}: {text}"))
}

/// What a file says once all is installed.
fn installed(mut before: Value, holder: &str) -> Value {
    if before.get(holder).is_none() {
        before[holder] = json!({});
    }
    for (name, entry) in before[holder].as_object_mut().unwrap() {
        let Some(command) = entry.get("command").cloned() else { continue };
        let old = entry.get("args").and_then(Value::as_array).cloned().unwrap_or_default();
        let fixed = ["mcp", "gate", "-C", "/w", "--name", name, "--"].map(Value::from);
        entry["args"] = fixed.into_iter().chain([command]).chain(old).collect();
        entry["command"] = json!("/opt/counterfoil");
    }
    before[holder][edit::OWN] = json!({"command": own()[0], "args": own()[1..]});
    before
}

/// How somebody writes a server in TOML.
fn toml_entry(name: &str, entry: &Value, style: u8) -> String {
    let name = if name.contains(' ') { format!("{name:?}") } else { name.to_owned() };
    let members = entry.as_object().unwrap();
    let flat = members.iter().filter(|(_, value)| !value.is_object());
    let mut out = if style & 1 == 0 {
        format!("# [mcp_servers.counterfoil]\n[mcp_servers.{name}] # mine\n")
    } else {
        format!("[mcp_servers.{name}]\n")
    };
    for (member, value) in flat {
        out.push_str(&format!("{}{member} = {value}\n", if style & 2 == 0 { "" } else { "  " }));
    }
    for (member, value) in members.iter().filter(|(_, value)| value.is_object()) {
        out.push_str(&format!("\n[mcp_servers.{name}.{member}]\n"));
        value
            .as_object()
            .unwrap()
            .iter()
            .for_each(|(key, value)| out.push_str(&format!("{key} = {value}\n")));
    }
    out
}

fn toml_file() -> impl Strategy<Value = String> {
    let tail = select(vec![
        "",
        "[projects.\"/x\"]\ntrust = 0x1F # hex\n",
        "[[profile]]\nat = 2026-01-01\n[[profile]]\nn = nan\n",
    ]);
    (servers(), any::<u8>(), tail, select(vec!["\n", "\r\n"]), any::<bool>()).prop_map(
        |(servers, style, tail, line, is_ended)| {
            let mut out = "model = \"o\" # [mcp_servers.counterfoil]\n".to_owned();
            servers.iter().for_each(|(name, entry)| out.push_str(&toml_entry(name, entry, style)));
            out.push_str(tail);
            let out = if is_ended { out } else { out.trim_end().to_owned() };
            out.replace('\n', line)
        },
    )
}

/// What a text of TOML says. Values that are equal to nothing are spelled.
fn read_toml(text: &str) -> Value {
    let table: toml::Table = toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    plain(toml::Value::Table(table))
}

fn plain(value: toml::Value) -> Value {
    match value {
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(name, one)| (name, plain(one))).collect())
        }
        toml::Value::Array(array) => array.into_iter().map(plain).collect(),
        toml::Value::String(text) => text.into(),
        other => json!({"other": other.to_string()}),
    }
}

proptest! {
    #[test]
    fn json_is_installed_in_and_comes_back(servers in servers(), hand in hand()) {
        let text = hand.file(&servers, None);
        let with = install(&text, JSON);
        prop_assert!(!with.servers.iter().any(|(_, fate)| matches!(fate, Fate::Left(_))), "{with:?}");
        prop_assert_eq!(read_json(&with.text), installed(read_json(&text), "mcpServers"), "{}", with.text);
        prop_assert_eq!(&install(&with.text, JSON).text, &with.text);
        prop_assert_eq!(uninstall(&with.text, JSON).text, text);
    }

    #[test]
    fn an_own_server_in_json_that_was_moved_is_taken_away_whole(servers in servers(), hand in hand(), at in 0..5usize) {
        let text = hand.file(&servers, Some((at, OWN_ENTRY)));
        let without = uninstall(&text, JSON);
        let is_removed = without.servers.iter().any(|one| *one == (edit::OWN.to_owned(), Fate::Removed));
        prop_assert!(is_removed, "{without:?}");
        let mut expected = read_json(&text);
        expected["mcpServers"].as_object_mut().unwrap().remove(edit::OWN);
        prop_assert_eq!(read_json(&without.text), expected, "{}", &without.text);
        let is_strict = |text: &str| serde_json::from_str::<Value>(text).is_ok();
        prop_assert!(!is_strict(&text) || is_strict(&without.text), "{}", without.text);
        for remark in REMARKS.into_iter().filter(|remark| !remark.is_empty()) {
            let (before, after) = (text.matches(remark).count(), without.text.matches(remark).count());
            prop_assert_eq!(before, after + OWN_ENTRY.matches(remark).count(), "{}", &without.text);
        }
    }

    #[test]
    fn toml_is_installed_in_and_comes_back(text in toml_file(), added in select(vec!["", "timeout = 20", "[mcp_servers.counterfoil.env]\nK = \"v\""])) {
        let with = install(&text, TOML);
        prop_assert!(!with.servers.iter().any(|(_, fate)| matches!(fate, Fate::Left(_))), "{with:?}");
        prop_assert_eq!(read_toml(&with.text), installed(read_toml(&text), "mcp_servers"), "{}", with.text);
        prop_assert_eq!(&install(&with.text, TOML).text, &with.text);
        prop_assert_eq!(&uninstall(&with.text, TOML).text, &text);

        // What somebody added to the entry stays its own, and with it the entry.
        let line = if with.text.contains("\r\n") { "\r\n" } else { "\n" };
        let is_ended = with.text.ends_with('\n');
        let more = [with.text.as_str(), if is_ended { "" } else { line }, &added.replace('\n', line), line].concat();
        let (before, after) = (read_toml(&more), read_toml(&uninstall(&more, TOML).text));
        let mut expected = read_toml(&text);
        if !added.is_empty() {
            expected["mcp_servers"][edit::OWN] = before["mcp_servers"][edit::OWN].clone();
        }
        prop_assert_eq!(after, expected, "{}", more);
    }
}
