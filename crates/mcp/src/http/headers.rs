//! The headers by which a request says what its body says, and what of a request may be believed at all.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::message::{self, FromClient};

/// The header that names a session.
pub(super) const SESSION: &str = "mcp-session-id";
/// The one that names the revision.
pub(super) const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
/// How headers begin that repeat an argument.
const PARAM: &str = "mcp-param-";
/// The first revision in which each request says who asks.
const PER_REQUEST: &str = "2026-07-28";
/// JSON-RPC: headers that say something else than the body (SEP-2243).
const HEADER_MISMATCH: i64 = -32_020;

/// Why a request is not let in.
#[derive(Debug)]
pub(super) struct Unfit {
    pub status: StatusCode,
    pub number: i64,
    pub code: &'static str,
    pub why: String,
}

impl Unfit {
    pub(super) fn new(status: StatusCode, code: &'static str, why: impl Into<String>) -> Self {
        Self { status, number: message::INVALID_REQUEST, code, why: why.into() }
    }

    fn mismatch(why: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, number: HEADER_MISMATCH, code: "mcp-header-mismatch", why }
    }
}

/// The value of a header that stands once.
pub(super) fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Unfit> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Unfit::mismatch(format!("{name} stands twice")));
    }
    first
        .map(|value| value.to_str().map_err(|_| Unfit::mismatch(format!("{name} is not printable ASCII"))))
        .transpose()
}

/// Whether an answer may be of this type.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let listed = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = listed.flat_map(|value| value.split(','));
    types.any(|one| {
        let mut parts = one.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let is_refused = parts.any(|part| matches!(part.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        let is_of = |range: &str| name.eq_ignore_ascii_case(range);
        let group = wanted.split('/').next().unwrap_or_default();
        !is_refused && (is_of(wanted) || is_of("*/*") || is_of(&format!("{group}/*")))
    })
}

/// Whether the body says of itself that it is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';');
    let is_json = parts.next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    is_json
        && parts.all(|part| {
            let charset = part.trim().to_ascii_lowercase();
            !charset.starts_with("charset=")
                || charset.trim_start_matches("charset=").trim_matches('"') == "utf-8"
        })
}

/// Whether a request is of a revision without sessions. Headers that say something else than the body are refused.
pub(super) fn is_per_request(headers: &HeaderMap, message: &FromClient) -> Result<bool, Unfit> {
    let said = one(headers, VERSION)?;
    let (method, params) = match message {
        FromClient::Request { method, params, .. } | FromClient::Notification { method, params } => {
            (Some(method.as_str()), Some(params))
        }
        FromClient::Response { .. } => (None, None),
    };
    let meta = params.and_then(|params| params.get("_meta"));
    let version = meta.and_then(|meta| meta.get("io.modelcontextprotocol/protocolVersion"));
    let is_new = match (version, said) {
        (Some(Value::String(version)), Some(said)) if version == said => version.as_str() >= PER_REQUEST,
        (Some(version), said) => {
            return Err(Unfit::mismatch(format!("{VERSION} is {said:?}, and _meta says {version}")));
        }
        (None, Some(said)) => said >= PER_REQUEST,
        (None, None) => false,
    };
    if let (Some(method), Some(params)) = (method, params) {
        let is_request = matches!(message, FromClient::Request { .. });
        says(one(headers, METHOD)?, Some(method), METHOD, is_new && is_request)?;
        let name = named(method).and_then(|member| params.get(member)).and_then(Value::as_str);
        let is_named = is_new && name.is_some();
        match one(headers, NAME)? {
            None => says(None, name, NAME, is_named)?,
            Some(given) => {
                let given =
                    decoded(given).ok_or_else(|| Unfit::mismatch(format!("{NAME} is not encoded well")))?;
                says(Some(&given), name, NAME, is_named)?;
            }
        }
    }
    Ok(is_new)
}

fn says(given: Option<&str>, body: Option<&str>, name: &str, is_needed: bool) -> Result<(), Unfit> {
    match given {
        None if is_needed => Err(Unfit::mismatch(format!("there is no {name}"))),
        None => Ok(()),
        Some(given) if Some(given) == body => Ok(()),
        Some(given) => Err(Unfit::mismatch(format!("{name} is {given:?}, and the body says otherwise"))),
    }
}

/// The member of the parameters that [`NAME`] repeats.
fn named(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    }
}

/// What a request of a revision without sessions says in headers, made of its body.
pub(super) fn of_request(method: &str, params: &Map<String, Value>) -> Vec<(HeaderName, String)> {
    let mut headers = vec![(HeaderName::from_static(METHOD), encoded(method))];
    let name = named(method).and_then(|member| params.get(member)).and_then(Value::as_str);
    headers.extend(name.map(|name| (HeaderName::from_static(NAME), encoded(name))));
    headers
}

/// The headers that a tool wants to have some of its arguments in.
pub(super) fn of_arguments(
    places: &[(Vec<String>, String)],
    params: &Map<String, Value>,
) -> Vec<(HeaderName, String)> {
    let found = places.iter().filter_map(|(path, token)| {
        let name = HeaderName::from_bytes(format!("{PARAM}{token}").as_bytes()).ok()?;
        Some((name, encoded(&written(argument(path, params)?)?)))
    });
    found.collect()
}

/// Whether a request repeats arguments.
pub(super) fn repeats_arguments(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PARAM))
}

/// Refuses headers that say something else of the arguments than the body, and where they are demanded one that is missing. What a tool wants
/// in none says nothing, and is not passed on.
pub(super) fn check_arguments(
    headers: &HeaderMap,
    places: &[(Vec<String>, String)],
    params: &Map<String, Value>,
    are_demanded: bool,
) -> Result<(), Unfit> {
    for (path, token) in places {
        let name = format!("{PARAM}{token}");
        let Some(given) = one(headers, &name)? else {
            if are_demanded && argument(path, params).and_then(written).is_some() {
                return Err(Unfit::mismatch(format!("there is no {name}, which the tool demands")));
            }
            continue;
        };
        let text = decoded(given).ok_or_else(|| Unfit::mismatch(format!("{name} is not encoded well")))?;
        let is_it = match argument(path, params) {
            // Who writes a number otherwise says the same.
            Some(Value::Number(number)) => {
                serde_json::from_str::<serde_json::Number>(&text).is_ok_and(|given| {
                    text.trim() == text && (given == *number || given.as_f64() == number.as_f64())
                })
            }
            Some(value) => written(value).is_some_and(|value| value == text),
            None => false,
        };
        if !is_it {
            return Err(Unfit::mismatch(format!("{name} is {text:?}, and the body says otherwise")));
        }
    }
    Ok(())
}

fn argument<'p>(path: &[String], params: &'p Map<String, Value>) -> Option<&'p Value> {
    path.iter().try_fold(params.get("arguments")?, |value, name| value.get(name))
}

/// An argument as a header says it, before that is encoded.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text as the value of a header.
fn encoded(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if is_plain && text.trim() == text && !(text.starts_with("=?base64?") && text.ends_with("?=")) {
        return text.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(text))
}

/// The text that a value stands for.
fn decoded(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) {
        // One encoding only: this decoder takes no other.
        Some(text) => String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn call(version: Option<&str>, name: &str) -> FromClient {
        let mut params = json!({"name": name, "arguments": {}});
        if let Some(version) = version {
            params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": version});
        }
        let line = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        FromClient::parse(line.as_bytes()).unwrap().0
    }

    #[test]
    fn what_headers_and_body_say_must_be_the_same() {
        let good = [(VERSION, PER_REQUEST), (METHOD, "tools/call"), (NAME, "=?base64?zqluYW1l?=")];
        let new = call(Some(PER_REQUEST), "Ωname");
        assert!(is_per_request(&headers(&good), &new).unwrap());
        for at in 0..good.len() {
            let mut fewer = good.to_vec();
            fewer.remove(at);
            assert_eq!(is_per_request(&headers(&fewer), &new).unwrap_err().number, HEADER_MISMATCH, "{at}");
            let mut twice = good.to_vec();
            twice.push(good[at]);
            assert_eq!(is_per_request(&headers(&twice), &new).unwrap_err().number, HEADER_MISMATCH, "{at}");
        }
        for (name, value) in [
            (VERSION, "2025-11-25"),
            (METHOD, "tools/list"),
            (NAME, "other"),
            (NAME, "=?base64?zqluYW1?="),
            (NAME, "Ωname"),
        ] {
            let mut other = good.to_vec();
            other.retain(|(known, _)| *known != name);
            other.push((name, value));
            assert!(is_per_request(&headers(&other), &new).is_err(), "{name}: {value}");
        }
        // In sessions they may be missing, and must not lie.
        let old = call(None, "a");
        assert!(!is_per_request(&headers(&[]), &old).unwrap());
        assert!(!is_per_request(&headers(&[(VERSION, "2025-11-25")]), &old).unwrap());
        assert!(is_per_request(&headers(&[(NAME, "b")]), &old).is_err());
    }

    #[test]
    fn what_headers_say_of_arguments_is_what_the_body_says() {
        let place = |path: &[&str], token: &str| {
            (path.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), token.to_owned())
        };
        let places =
            [place(&["text"], "Text"), place(&["a", "n"], "N"), place(&["b"], "B"), place(&["no"], "No")];
        let params = json!({"arguments": {"text": "Ω", "a": {"n": 10}, "b": true, "no": null}});
        let params = params.as_object().unwrap();
        let check = |pairs: &[(&'static str, &str)]| check_arguments(&headers(pairs), &places, params, false);
        let check_all =
            |pairs: &[(&'static str, &str)]| check_arguments(&headers(pairs), &places, params, true);
        let good = [("mcp-param-text", "=?base64?zqk=?="), ("mcp-param-n", "10"), ("mcp-param-b", "true")];
        for known in 0..=good.len() {
            check(&good[..known]).unwrap();
        }
        // Where they are demanded none may be missing but that of what is not there.
        check_all(&good).unwrap();
        for known in 0..good.len() {
            assert_eq!(check_all(&good[..known]).unwrap_err().number, HEADER_MISMATCH, "{known}");
        }
        for same in ["10.0", "1e1"] {
            check(&[("mcp-param-n", same)]).unwrap();
        }
        check(&[("mcp-param-other", "what no tool wants")]).unwrap();
        for (name, value) in [
            ("mcp-param-text", "other"),
            ("mcp-param-text", ""),
            ("mcp-param-text", "=?base64?zqk?="),
            ("mcp-param-n", "11"),
            ("mcp-param-n", "ten"),
            ("mcp-param-n", " 10"),
            ("mcp-param-b", "True"),
            ("mcp-param-no", "null"),
        ] {
            assert_eq!(check(&[(name, value)]).unwrap_err().number, HEADER_MISMATCH, "{name}: {value}");
        }
        assert_eq!(check(&[good[1], good[1]]).unwrap_err().number, HEADER_MISMATCH, "twice");
    }

    #[test]
    fn a_value_is_encoded_where_a_header_would_change_it() {
        for text in ["plain", "a b", "", " edge", "Ω", "=?base64?eA==?=", "a\nb"] {
            let value = encoded(text);
            assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{value}");
            assert_eq!(decoded(&value).as_deref(), Some(text));
        }
        assert_eq!(encoded("plain"), "plain");
    }

    #[test]
    fn types_are_compared_as_they_should_be() {
        let accept = |value| accepts(&headers(&[("accept", value)]), "text/event-stream");
        assert!(accept("application/json, text/event-stream") && accept("*/*") && accept("text/*;q=0.5"));
        assert!(!accept("application/json") && !accept("text/event-stream;q=0"));
        let json = |value| is_json(&headers(&[("content-type", value)]));
        assert!(json("application/json") && json("Application/JSON; charset=UTF-8"));
        assert!(!json("text/plain") && !json("application/json; charset=utf-16") && !is_json(&headers(&[])));
    }
}
