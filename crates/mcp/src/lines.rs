//! Lines of a stream, bounded: what is too long is skipped to its end, and said.

use std::io::{self, BufRead, Read as _};

use crate::limits;

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// Longer than a message may be; how it begins.
    TooLong(Vec<u8>),
}

/// How much is kept of a line that is too long: enough for its id.
const KEPT: usize = 1_024;

/// The next line that is not blank; `None` at the end. What stands behind the last line feed is no line.
///
/// # Errors
/// That of the stream.
pub fn next(from: &mut impl BufRead) -> io::Result<Option<Line>> {
    loop {
        let mut line = Vec::new();
        from.by_ref().take(limits::MESSAGE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if line.pop_if(|byte| *byte == b'\n').is_none() {
            if line.len() <= limits::MESSAGE_BYTES {
                return Ok(None);
            }
            line.truncate(KEPT);
            skip_line(from)?;
            return Ok(Some(Line::TooLong(line)));
        }
        line.pop_if(|byte| *byte == b'\r');
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Line::Whole(line)));
        }
    }
}

fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        from.consume(taken);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_or_said_to_be_too_long() {
        let long = vec![b'x'; limits::MESSAGE_BYTES + 1];
        let at_limit = vec![b'y'; limits::MESSAGE_BYTES];
        let text = [b"\n one\r\n\n" as &[u8], &long, b"\n", &at_limit, b"\ntwo\nthree"].concat();
        let mut from = io::BufReader::with_capacity(100, text.as_slice());
        assert_eq!(next(&mut from).unwrap(), Some(Line::Whole(b" one".to_vec())));
        assert_eq!(next(&mut from).unwrap(), Some(Line::TooLong(vec![b'x'; KEPT])));
        assert_eq!(next(&mut from).unwrap(), Some(Line::Whole(at_limit)));
        assert_eq!(next(&mut from).unwrap(), Some(Line::Whole(b"two".to_vec())));
        assert_eq!(next(&mut from).unwrap(), None);
    }
}
