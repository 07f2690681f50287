//! The tools of a server, each with the digest of its definition: what is approved is a tool as it was defined then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use counterfoil_receipt::{hashes::SchemaDigest, json};
use serde_json::{Map, Value};

use crate::limits;

/// A tool, as a gate knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The digest of its definition.
    pub definition: SchemaDigest,
    /// Whether its server says of it that a call with the same arguments changes nothing more. That is the server's word; whether it counts
    /// is the policy's to say.
    pub idempotent: bool,
    /// Whether its server says of it that it changes nothing, so that it may be called anew where nobody knows what became of a call. Who does
    /// what it says that it does not has the same done twice by itself.
    pub read_only: bool,
}

/// The tools that a server listed.
#[derive(Clone, Debug)]
pub struct Tools {
    by_name: BTreeMap<String, Tool>,
    /// Where arguments lie that are to be repeated in headers, and under which name.
    in_headers: BTreeMap<String, Vec<(Vec<String>, String)>>,
    /// Tools that mark some so that no client can do it.
    marked_badly: BTreeSet<String>,
    listed: Instant,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            in_headers: BTreeMap::new(),
            marked_badly: BTreeSet::new(),
            listed: Instant::now(),
        }
    }
}

/// One page of a list of tools.
#[derive(Clone, Debug)]
pub struct Page {
    /// All members of the result.
    pub result: Map<String, Value>,
    /// Name, what is known, and definition of each, in the order of the list.
    pub tools: Vec<(String, Tool, Value)>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl Page {
    /// Reads a result of `tools/list`. It is judged by, so it is read as strictly as what a client sends.
    ///
    /// # Errors
    /// Why it can't be relied on.
    pub fn parse(result: &str) -> Result<Self, String> {
        let canonical = json::canonicalize_input(result.as_bytes(), &limits::MESSAGE_JSON);
        let canonical = canonical.map_err(|fault| format!("the list of tools: {fault}"))?;
        let result: Map<String, Value> =
            serde_json::from_slice(&canonical).map_err(|fault| format!("the list of tools: {fault}"))?;
        let listed = result.get("tools").and_then(Value::as_array).ok_or("the list of tools is none")?;
        let mut tools = Vec::new();
        for tool in listed {
            let name = tool.get("name").and_then(Value::as_str).ok_or("a tool has no name")?.to_owned();
            let hints = |name: &str| tool.pointer(name) == Some(&Value::Bool(true));
            let idempotent = hints("/annotations/idempotentHint");
            let read_only = hints("/annotations/readOnlyHint");
            tools.push((name, Tool { definition: digest(tool)?, idempotent, read_only }, tool.clone()));
        }
        let next = match result.get("nextCursor") {
            None | Some(Value::Null) => None,
            Some(Value::String(cursor)) => Some(cursor.clone()),
            Some(_) => return Err("the cursor of the list of tools is no text".to_owned()),
        };
        Ok(Self { result, tools, next })
    }
}

/// The digest of a definition: of all of it but `_meta`, which no model is shown.
fn digest(tool: &Value) -> Result<SchemaDigest, String> {
    let mut tool = tool.clone();
    if let Value::Object(members) = &mut tool {
        members.remove("_meta");
    }
    let canonical = json::to_canonical(&tool).map_err(|fault| format!("a tool: {fault}"))?;
    Ok(SchemaDigest::of(&canonical))
}

impl Tools {
    /// Adds a page.
    ///
    /// # Errors
    /// If a name stands twice, or there are more tools than are kept.
    pub fn add(&mut self, page: &Page) -> Result<(), String> {
        for (name, tool, definition) in &page.tools {
            let mut places = Vec::new();
            if !places_of(definition.get("inputSchema"), &mut Vec::new(), &mut places) {
                self.marked_badly.insert(name.clone());
            }
            if !places.is_empty() {
                self.in_headers.insert(name.clone(), places);
            }
            if self.by_name.insert(name.clone(), *tool).is_some() {
                return Err(format!("the server lists the tool {name:?} twice"));
            }
        }
        if self.by_name.len() > limits::TOOLS {
            return Err(format!("the server lists more than {} tools", limits::TOOLS));
        }
        Ok(())
    }

    /// A tool.
    pub fn get(&self, name: &str) -> Option<Tool> {
        self.by_name.get(name).copied()
    }

    /// The arguments of a tool that are repeated in headers over HTTP (`x-mcp-header`): where they lie, and the name.
    pub fn in_headers(&self, name: &str) -> &[(Vec<String>, String)] {
        self.in_headers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a client that knows the tool repeats these arguments, as the protocol demands; it drops tools that mark them otherwise than by
    /// a token that no other of them has, on a text, an integer or a boolean.
    pub fn demands_headers(&self, name: &str) -> bool {
        !self.marked_badly.contains(name)
    }

    /// How long ago they were listed.
    pub fn age(&self) -> Duration {
        self.listed.elapsed()
    }
}

/// What a schema marks with `x-mcp-header`, down the chain of its properties; whether all of it is marked well.
fn places_of(
    schema: Option<&Value>,
    path: &mut Vec<String>,
    places: &mut Vec<(Vec<String>, String)>,
) -> bool {
    let Some(schema) = schema else { return true };
    let mut is_well = true;
    if let Some(mark) = schema.get("x-mcp-header") {
        let name = mark.as_str().filter(|_| !path.is_empty());
        let is_plain = matches!(schema["type"].as_str(), Some("string" | "integer" | "boolean"));
        is_well = is_plain
            && name.is_some_and(|name| {
                is_token(name) && !places.iter().any(|(_, known)| known.eq_ignore_ascii_case(name))
            });
        places.extend(name.map(|name| (path.clone(), name.to_owned())));
    }
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        is_well &= places_of(Some(inner), path, places);
        path.pop();
    }
    is_well
}

/// Whether a name may be part of a header's (RFC 9110, section 5.6.2).
fn is_token(name: &str) -> bool {
    let is_of = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_of)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn headers_are_demanded_where_a_client_can_send_them() {
        let demands = |properties: Value| {
            let schema = json!({"type": "object", "properties": properties});
            let list = json!({"tools": [{"name": "a", "inputSchema": schema}]});
            let mut tools = Tools::default();
            tools.add(&Page::parse(&list.to_string()).unwrap()).unwrap();
            tools.demands_headers("a")
        };
        let of = |kind: &str, token: Value| json!({"type": kind, "x-mcp-header": token});
        assert!(demands(json!({})), "of none");
        for kind in ["string", "integer", "boolean"] {
            assert!(demands(
                json!({"b": of(kind, json!("X-1")), "c": {"properties": {"d": of(kind, json!("y"))}}})
            ));
        }
        for badly in [
            json!({"b": of("number", json!("x"))}),
            json!({"b": of("object", json!("x"))}),
            json!({"b": of("string", json!("a b"))}),
            json!({"b": of("string", json!(""))}),
            json!({"b": of("string", json!(true))}),
            json!({"b": {"x-mcp-header": "x"}}),
            json!({"b": of("string", json!("x")), "c": {"properties": {"d": of("string", json!("X"))}}}),
        ] {
            assert!(!demands(badly.clone()), "{badly}");
        }
    }
}
