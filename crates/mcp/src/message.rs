//! Messages of JSON-RPC 2.0, as MCP has them.
//!
//! What the client sends is judged, so it is read as strictly as a record: no batch, no name twice, no number that two readers take
//! for two, and what is passed on is the canonical text of what was read. Of what the server sends the envelope is read; results
//! stay the bytes that they are, but for those that the gate has to understand.

use std::fmt;

use counterfoil_receipt::json::{self, JsonError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::limits;

/// JSON-RPC: not JSON.
pub const PARSE_ERROR: i64 = -32_700;
/// JSON-RPC: not a request.
pub const INVALID_REQUEST: i64 = -32_600;
/// JSON-RPC: no such method.
pub const NO_METHOD: i64 = -32_601;
/// JSON-RPC: parameters that can't be.
pub const INVALID_PARAMS: i64 = -32_602;
/// JSON-RPC: something else went wrong.
pub const INTERNAL: i64 = -32_603;
/// What SDKs answer in a server's place, which closed its connection or took too long: they heard of no end.
pub const UNHEARD: [i64; 2] = [-32_000, -32_001];

/// The id of a request. `1` and `"1"` are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number, within ±(2⁵³−1).
    Number(i64),
    /// A text.
    Text(String),
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq)]
pub enum FromClient {
    /// Wants an answer.
    Request {
        /// Its id.
        id: Id,
        /// Its method.
        method: String,
        /// Its parameters; empty where there are none.
        params: Map<String, Value>,
    },
    /// Wants none.
    Notification {
        /// Its method.
        method: String,
        /// Its parameters.
        params: Map<String, Value>,
    },
    /// Answers a request of the server.
    Response {
        /// The id of that.
        id: Id,
    },
}

/// A message of the server. Borrows from its line.
#[derive(Clone, Debug)]
pub enum FromServer<'a> {
    /// Answers a request.
    Result {
        /// The id of that.
        id: Id,
        /// As it was sent.
        result: &'a RawValue,
    },
    /// Says that a request failed.
    Error {
        /// The id of that; some servers leave it out where they could not read it.
        id: Option<Id>,
        /// The number of what went wrong.
        code: i64,
        /// What went wrong.
        message: String,
    },
    /// Asks the client for something.
    Request {
        /// Its id, of a space of its own.
        id: Id,
        /// Its method.
        method: String,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// Tells something.
    Notification {
        /// Its method.
        method: String,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
}

/// Why a line is no message that is passed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The id to answer to, if one can be made out.
    pub id: Option<Id>,
    /// JSON-RPC's number.
    pub number: i64,
    /// The stable code.
    pub code: &'static str,
    /// For a person.
    pub why: String,
}

impl FromClient {
    /// Reads a line of the client; also gives the text to pass on.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn parse(line: &[u8]) -> Result<(Self, String), Refused> {
        let refused = |number, code, why: String| Refused { id: readable_id(line), number, code, why };
        let canonical =
            json::canonicalize_input(line, &limits::MESSAGE_JSON).map_err(|fault| match fault {
                JsonError::NotObject { .. } if line.trim_ascii_start().starts_with(b"[") => {
                    refused(INVALID_REQUEST, "mcp-batch", "a batch; send one message a line".to_owned())
                }
                JsonError::Syntax { .. }
                | JsonError::NotObject { .. }
                | JsonError::Utf8 { .. }
                | JsonError::Trailing { .. } => refused(PARSE_ERROR, "mcp-not-json", fault.to_string()),
                _ => refused(INVALID_REQUEST, "mcp-json", fault.to_string()),
            })?;
        let text = String::from_utf8(canonical)
            .map_err(|fault| refused(PARSE_ERROR, "mcp-not-json", fault.to_string()))?;
        let shape = |why: String| refused(INVALID_REQUEST, "mcp-shape", why);
        let Ok(Value::Object(mut members)) = serde_json::from_str(&text) else {
            return Err(shape("no object".to_owned()));
        };
        if members.remove("jsonrpc") != Some("2.0".into()) {
            return Err(shape("jsonrpc is not \"2.0\"".to_owned()));
        }
        let id = members
            .remove("id")
            .map(|id| id_of(&id).ok_or_else(|| shape("id is no integer and no text".to_owned())));
        let id = id.transpose()?;
        let method = match members.remove("method") {
            Some(Value::String(method)) => Some(method),
            None => None,
            Some(_) => return Err(shape("method is no text".to_owned())),
        };
        let message = match (id, method) {
            (id, Some(method)) => {
                let params = match members.remove("params") {
                    Some(Value::Object(params)) => params,
                    None => Map::new(),
                    Some(_) => return Err(shape("params is no object".to_owned())),
                };
                match id {
                    Some(id) => Self::Request { id, method, params },
                    None => Self::Notification { method, params },
                }
            }
            (Some(id), None) => match (members.remove("result"), members.remove("error")) {
                (Some(_), None) | (None, Some(_)) => Self::Response { id },
                _ => return Err(shape("neither a method, nor a result or an error".to_owned())),
            },
            (None, None) => return Err(shape("neither a method nor an id".to_owned())),
        };
        match members.keys().next() {
            Some(name) => Err(shape(format!("{name:?} is no member of a message"))),
            None => Ok((message, text)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    jsonrpc: String,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
}

impl<'a> FromServer<'a> {
    /// Reads a line of the server.
    ///
    /// # Errors
    /// Why it is no message; it is passed on to nobody.
    pub fn parse(line: &'a str) -> Result<Self, String> {
        let envelope: Envelope<'a> = serde_json::from_str(line).map_err(|fault| fault.to_string())?;
        if envelope.jsonrpc != "2.0" {
            return Err("jsonrpc is not \"2.0\"".to_owned());
        }
        let id = match envelope.id.map(RawValue::get) {
            None | Some("null") => None,
            Some(id) => {
                let value = serde_json::from_str::<Value>(id).map_err(|fault| fault.to_string())?;
                Some(id_of(&value).ok_or("id is no integer and no text")?)
            }
        };
        match (id, envelope.method, envelope.result, envelope.error) {
            (Some(id), Some(method), None, None) => Ok(Self::Request { id, method, params: envelope.params }),
            (None, Some(method), None, None) => Ok(Self::Notification { method, params: envelope.params }),
            (Some(id), None, Some(result), None) if envelope.params.is_none() => {
                Ok(Self::Result { id, result })
            }
            (id, None, None, Some(error)) if envelope.params.is_none() => {
                let ErrorObject { code, message } =
                    serde_json::from_str(error.get()).map_err(|fault| format!("error: {fault}"))?;
                Ok(Self::Error { id, code, message })
            }
            _ => Err("neither a request, nor a notification, nor an answer".to_owned()),
        }
    }
}

fn id_of(value: &Value) -> Option<Id> {
    const MOST: i64 = (1 << 53) - 1;
    match value {
        Value::String(text) => Some(Id::Text(text.clone())),
        Value::Number(number) => {
            number.as_i64().filter(|number| (-MOST..=MOST).contains(number)).map(Id::Number)
        }
        _ => None,
    }
}

/// The id in a line that was not understood, so that whoever waits for an answer gets one.
fn readable_id(line: &[u8]) -> Option<Id> {
    let value: Value = serde_json::from_slice(line.get(..limits::MESSAGE_BYTES).unwrap_or(line)).ok()?;
    value.get("method")?;
    id_of(value.get("id")?)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}
