//! The canonical writer (RFC 8785 §3.2).

use super::error::JsonError;
use super::scan::is_exact;
use super::text::{is_noncharacter, utf16_order};
use super::{MAX_DEPTH, MAX_INTEGER};
use serde_json::{Number, Value};

/// The canonical bytes of `value`: names in UTF-16 order, numbers as ECMAScript prints them, no whitespace.
///
/// # Errors
/// What I-JSON can't carry: [`JsonError::NumberRange`], [`JsonError::Noncharacter`]; and [`JsonError::TooDeep`]
/// for more than [`MAX_DEPTH`] levels. `at` counts the bytes written before the fault.
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(1024);
    write_value(value, MAX_DEPTH, &mut out)?;
    Ok(out)
}

/// Appends `text` to `out` as a canonical JSON string, with quotes (RFC 8785 §3.2.2.2).
///
/// Escapes, and does not judge: [`check`](super::check) refuses the result if `text` has a noncharacter.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            0x0C => b"\\f",
            b'\r' => b"\\r",
            0..=0x1F => &[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), HEX[usize::from(byte & 0xF)]],
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..i]);
        out.extend_from_slice(escape);
        done = i + 1;
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// As [`write_string`], but refuses noncharacters.
fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
    // They are U+FDD0 and later, so one byte of theirs is at least EF.
    if text.bytes().any(|b| b >= 0xEF) && text.contains(is_noncharacter) {
        return Err(JsonError::Noncharacter { at: out.len() });
    }
    write_string(text, out);
    Ok(())
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes `value`, in which `levels` more levels of nesting may open.
fn write_value(value: &Value, levels: usize, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out)?,
        Value::String(text) => write_text(text, out)?,
        Value::Array(items) => {
            let levels = deeper(levels, out)?;
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(item, levels, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let levels = deeper(levels, out)?;
            out.push(b'{');
            // The map's own order is by code point or, with a feature of `serde_json`, of insertion.
            if members.keys().is_sorted_by(|a, b| utf16_order(a.as_bytes(), b.as_bytes()).is_lt()) {
                write_members(members.iter(), levels, out)?;
            } else {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_unstable_by(|(a, _), (b, _)| utf16_order(a.as_bytes(), b.as_bytes()));
                write_members(sorted.into_iter(), levels, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_members<'a>(
    members: impl Iterator<Item = (&'a String, &'a Value)>,
    levels: usize,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(name, out)?;
        out.push(b':');
        write_value(value, levels, out)?;
    }
    Ok(())
}

fn write_number(number: &Number, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let out_of_range = JsonError::NumberRange { at: out.len() };
    if let Some(integer) = number.as_i64() {
        if integer.unsigned_abs() > MAX_INTEGER {
            return Err(out_of_range);
        }
    } else if number.is_u64() {
        // A `u64` that is no `i64` is at least 2⁶³.
        return Err(out_of_range);
    }
    let double = number.as_f64().filter(|double| is_exact(*double)).ok_or(out_of_range)?;
    out.extend_from_slice(ryu_js::Buffer::new().format_finite(double).as_bytes());
    Ok(())
}

fn deeper(levels: usize, out: &[u8]) -> Result<usize, JsonError> {
    levels.checked_sub(1).ok_or(JsonError::TooDeep { at: out.len(), limit: MAX_DEPTH })
}
