//! What the gate itself says to a client: results of calls that were refused or held, and receipts in results of those that ran.

use std::collections::BTreeMap;

use counterfoil_receipt::{
    RecordId, RunId,
    json::{self as canonical, JsonError},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::message::Id;

/// The name of a receipt in `_meta` of a result.
pub const RECEIPT: &str = "counterfoil/receipt";
/// The name of the execution in `_meta` of a call, for the server.
pub const EXECUTION: &str = "counterfoil/execution";
/// The name of what the effect is to be known by, the same for every attempt at it.
pub const IDEMPOTENCY_KEY: &str = "counterfoil/idempotency-key";

/// Which revision of the protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25 and before: opened by `initialize`.
    Session,
    /// 2026-07-28: each request says who asks.
    Request,
}

/// Where a call is on record.
#[derive(Clone, Debug, Serialize)]
pub struct CallReceipt {
    /// Its run.
    pub run: String,
    /// Its proposal, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<String>,
    /// Its execution, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// Where people look at it, while it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<String>,
    /// The stable code of what refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What became of it: `executed`, `held`, `refused`, `failed`.
    pub status: &'static str,
}

impl CallReceipt {
    /// The receipt of a call.
    pub fn new(
        run: RunId,
        proposal: Option<RecordId>,
        execution: Option<RecordId>,
        status: &'static str,
    ) -> Self {
        Self {
            run: run.to_string(),
            proposal: proposal.map(|id| id.to_string()),
            execution: execution.map(|id| id.to_string()),
            review: None,
            code: None,
            status,
        }
    }
}

/// A message that answers a request with this result.
pub fn result(id: &Id, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}", text(id))
}

/// A message that answers a request with an error.
pub fn error(id: Option<&Id>, number: i64, code: &str, why: &str) -> String {
    let mut error =
        json!({"jsonrpc": "2.0", "error": {"code": number, "message": why, "data": {"code": code}}});
    if let Some(id) = id {
        error["id"] = json!(id);
    }
    error.to_string()
}

/// The result of a call that was not made: a failure of the tool, so that the model reads why.
pub fn not_run(era: Era, why: &str, receipt: Option<&CallReceipt>) -> String {
    let mut result = json!({"content": [{"type": "text", "text": why}], "isError": true});
    if let Some(receipt) = receipt {
        result["_meta"] = json!({RECEIPT: receipt});
    }
    if era == Era::Request {
        result["resultType"] = "complete".into();
    }
    result.to_string()
}

/// That a call waits, and that the client is to come back with this state: then it goes on waiting (2026-07-28).
pub fn come_back(state: &str, receipt: &CallReceipt) -> String {
    json!({"resultType": "input_required", "requestState": state, "_meta": {RECEIPT: receipt}}).to_string()
}

/// The server's result of a call with its receipt; all else stays the bytes that they were. `None` if it is no object, or names
/// something twice.
pub fn with_receipt(result: &str, receipt: &CallReceipt) -> Option<String> {
    let mut members = members(result)?;
    let meta = members.get("_meta").map_or(Some(BTreeMap::new()), |meta| self::members(meta.get()));
    // A `_meta` that is no object is the server's fault, and nobody's loss.
    let mut meta = meta.unwrap_or_default();
    meta.insert(RECEIPT.to_owned(), serde_json::value::to_raw_value(receipt).ok()?);
    members.insert("_meta".to_owned(), serde_json::value::to_raw_value(&meta).ok()?);
    serde_json::to_string(&members).ok()
}

/// The members of an object, each as it was sent; `None` if it is none, or names one twice.
pub fn members(object: &str) -> Option<BTreeMap<String, Box<RawValue>>> {
    struct Once(BTreeMap<String, Box<RawValue>>);
    impl<'de> serde::Deserialize<'de> for Once {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Members;
            impl<'de> serde::de::Visitor<'de> for Members {
                type Value = Once;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object that names nothing twice")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                    let mut members = BTreeMap::new();
                    while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                        if members.insert(name, value).is_some() {
                            return Err(serde::de::Error::custom("a name stands twice"));
                        }
                    }
                    Ok(Once(members))
                }
            }
            from.deserialize_map(Members)
        }
    }
    serde_json::from_str::<Once>(object).ok().map(|once| once.0)
}

/// A message that asks, or tells: canonical, so that whoever reads it reads what was judged.
///
/// # Errors
/// What I-JSON can't carry; no message of a client that was read.
pub fn message(id: Option<&Id>, method: &str, params: &Value) -> Result<String, JsonError> {
    let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    if let Some(id) = id {
        message["id"] = json!(id);
    }
    let canonical = canonical::to_canonical(&message)?;
    Ok(String::from_utf8_lossy(&canonical).into_owned())
}

fn text(id: &Id) -> String {
    serde_json::to_string(id).unwrap_or_else(|_| "null".to_owned())
}
