//! The tools of a server, each with the digest of its definition: what is approved is a tool as it was defined then.

use std::{
    collections::BTreeMap,
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
}

/// The tools that a server listed.
#[derive(Clone, Debug)]
pub struct Tools {
    by_name: BTreeMap<String, Tool>,
    /// Where arguments lie that are to be repeated in headers, and under which name.
    in_headers: BTreeMap<String, Vec<(Vec<String>, String)>>,
    listed: Instant,
}

impl Default for Tools {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), in_headers: BTreeMap::new(), listed: Instant::now() }
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
            let idempotent = tool.pointer("/annotations/idempotentHint") == Some(&Value::Bool(true));
            tools.push((name, Tool { definition: digest(tool)?, idempotent }, tool.clone()));
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
            places_of(definition.get("inputSchema"), &mut Vec::new(), &mut places);
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

    /// How long ago they were listed.
    pub fn age(&self) -> Duration {
        self.listed.elapsed()
    }
}

/// What a schema marks with `x-mcp-header`, down the chain of its properties.
fn places_of(schema: Option<&Value>, path: &mut Vec<String>, places: &mut Vec<(Vec<String>, String)>) {
    let Some(schema) = schema else { return };
    if let Some(name) = schema.get("x-mcp-header").and_then(Value::as_str).filter(|_| !path.is_empty()) {
        places.push((path.clone(), name.to_owned()));
    }
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        places_of(Some(inner), path, places);
        path.pop();
    }
}
