//! The list of logs that the witness network publishes (format `logs/v0`).
//!
//! After the line `logs/v0`, each log is the lines `vkey`, optionally `origin`, `qpd` (requests per day) and `contact`, in this
//! order. Empty lines and those that begin with `#` say nothing. What `qpd` allows is not enforced here.

use counterfoil_tlog::VerifierKey;

use crate::server::WatchedLog;

/// Reads a list. The error is a line, from 1, and what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<WatchedLog>, (usize, String)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let mut lines = lines.peekable();
    match lines.next() {
        Some((_, "logs/v0")) => {}
        Some((at, line)) => return Err((at, format!("{line:?} is not logs/v0"))),
        None => return Err((1, "it does not begin with logs/v0".to_owned())),
    }
    let mut logs = Vec::new();
    while let Some((at, line)) = lines.next() {
        let vkey = line.strip_prefix("vkey ").ok_or((at, format!("{line:?} where a vkey belongs")))?;
        let key = VerifierKey::parse(vkey).map_err(|error| (at, error.to_string()))?;
        let origin = lines.next_if(|(_, line)| line.starts_with("origin "));
        let origin = origin.map_or(key.name(), |(_, line)| &line["origin ".len()..]).to_owned();
        let mut last = at;
        let mut item = |name: &str| {
            let (at, line) = lines.next().ok_or((last, format!("after this line, {name} is missing")))?;
            last = at;
            line.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix(' '))
                .map(|value| (at, value))
                .ok_or((at, format!("{line:?} where {name} belongs")))
        };
        let (at, requests) = item("qpd")?;
        requests.parse::<u64>().map_err(|_| (at, format!("{requests:?} is no number")))?;
        item("contact")?;
        logs.push(WatchedLog { origin, keys: vec![key] });
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn a_list_is_read_in_its_order_only() {
        let list = format!(
            "# A list\n\nlogs/v0\n\n# one\nvkey {KEY}\nqpd 86400\ncontact a@example.com\n\n\
             vkey {KEY}\norigin other.example\nqpd 24\ncontact https://example.com/\n"
        );
        let logs = parse(&list).unwrap();
        assert_eq!(
            logs.iter().map(|log| &*log.origin).collect::<Vec<_>>(),
            ["example.com/foo", "other.example"]
        );
        assert_eq!(parse("logs/v0\n"), Ok(Vec::new()));
        let cases = [
            ("", 1),
            ("logs/v1\n", 1),
            ("logs/v0\nqpd 3\n", 2),
            ("logs/v0\nvkey nonsense\n", 2),
            (&format!("logs/v0\nvkey {KEY}\ncontact x\nqpd 1\n"), 3),
            (&format!("logs/v0\nvkey {KEY}\nqpd x\ncontact x\n"), 3),
            (&format!("logs/v0\nvkey {KEY}\nqpd 1\n"), 3),
            (&format!("logs/v0\nvkey {KEY}\nqpd 1\ncontact x\nbastion none\n"), 5),
        ];
        for (list, line) in cases {
            assert_eq!(parse(list).unwrap_err().0, line, "{list}");
        }
    }
}
