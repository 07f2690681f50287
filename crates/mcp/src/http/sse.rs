//! Server-sent events, bounded, as far as MCP uses them: what matters of one is its data.

use std::io::{self, BufRead, Read as _};

use crate::limits;

/// The data of the next event that has any; `None` at the end. What stands behind the last blank line is no event.
///
/// # Errors
/// That of the stream; [`io::ErrorKind::InvalidData`] for an event of more than [`limits::MESSAGE_BYTES`], or that is no UTF-8.
pub(super) fn next(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let (mut data, mut has_data) = (String::new(), false);
    let mut read = 0;
    loop {
        let Some(line) = line(from, limits::EVENT_BYTES - read)? else { return Ok(None) };
        read += line.len();
        if line.is_empty() {
            if has_data && !data.is_empty() {
                return Ok(Some(data));
            }
            (data, has_data, read) = (String::new(), false, 0);
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        if field == "data" {
            if has_data {
                data.push('\n');
            }
            data.push_str(value.strip_prefix(' ').unwrap_or(value));
            has_data = true;
        }
    }
}

/// A line without its end, which is LF or CR LF; `None` at the end of the stream.
fn line(from: &mut impl BufRead, most: usize) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    from.by_ref().take(most as u64 + 1).read_until(b'\n', &mut line)?;
    if line.pop_if(|byte| *byte == b'\n').is_none() {
        return if line.len() > most { Err(invalid("an event that is too large")) } else { Ok(None) };
    }
    line.pop_if(|byte| *byte == b'\r');
    String::from_utf8(line).map(Some).map_err(|_| invalid("an event that is no UTF-8"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A message as an event. Line ends in JSON are white space.
pub(super) fn event(message: &str) -> String {
    format!("event: message\ndata: {}\n\n", message.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_data_of_whole_events_is_read() {
        let text = "id: 1\ndata: \n\n: ping\n\nevent: message\r\ndata:{\"a\":\r\ndata: 1}\r\n\r\nretry: 5\n\ndata: cut off\n";
        let mut from = text.as_bytes();
        assert_eq!(next(&mut from).unwrap(), Some("{\"a\":\n1}".to_owned()));
        assert_eq!(next(&mut from).unwrap(), None);
    }

    #[test]
    fn an_event_is_as_large_as_a_message_may_be_and_no_larger() {
        let of = |length: usize| format!("data: {}\n\n", "x".repeat(length));
        assert!(next(&mut of(limits::MESSAGE_BYTES).as_bytes()).unwrap().is_some());
        let many = "data: x\n".repeat(limits::EVENT_BYTES / 7 + 1);
        for large in [of(limits::EVENT_BYTES), many] {
            assert_eq!(next(&mut large.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert!(next(&mut b"data: \xff\n\n".as_slice()).is_err());
    }

    #[test]
    fn a_message_is_one_event_whatever_white_space_it_has() {
        assert_eq!(event("{\n\r\"a\": 1}"), "event: message\ndata: {  \"a\": 1}\n\n");
    }
}
