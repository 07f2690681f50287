//! Times and durations as people write them: UTC only, in the proleptic Gregorian calendar.

use std::time::{SystemTime, UNIX_EPOCH};

use counterfoil_review::time::{DAY, civil_from_days};
pub use counterfoil_review::time::{span, utc};

use crate::error::{Failure, Outcome};

/// The time of this machine's clock, in milliseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reads `2026-11-21T10:05:09Z`, with a `T` or a space, or milliseconds since the Unix epoch.
pub fn parse_instant(text: &str) -> Result<u64, String> {
    let fault =
        || format!("{text:?} is neither a time such as 2026-11-21T10:05:09Z nor milliseconds since 1970");
    if let Ok(millis) = text.parse::<u64>() {
        return Ok(millis);
    }
    let bytes = text.as_bytes();
    let separators =
        [(4, b"-"), (7, b"-"), (10, b"T "), (13, b":"), (16, b":"), (19, b"Z")] as [(usize, &[u8]); 6];
    let stands = |(at, any): &(usize, &[u8])| bytes.get(*at).is_some_and(|byte| any.contains(byte));
    if bytes.len() != 20 || !separators.iter().all(stands) {
        return Err(fault());
    }
    let number = |from: usize, to: usize| text.get(from..to).and_then(digits).ok_or_else(fault);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = days_from_civil(year, month, day).ok_or_else(fault)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(fault());
    }
    Ok(days * DAY + (hour * 3_600 + minute * 60 + second) * 1_000)
}

/// Reads a duration such as `90s`, `15m`, `24h`, `7d`, in milliseconds.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let fault = || format!("{text:?} is not a number and one of s, m, h, d, such as 15m");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(fault)?;
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY,
        _ => return Err(fault()),
    };
    match digits(number).and_then(|number| number.checked_mul(unit)) {
        Some(0) => Err("it is no time at all: give at least 1s".to_owned()),
        Some(millis) => Ok(millis),
        None => Err(fault()),
    }
}

/// The millis type of records, for a time of this machine.
pub fn millis(value: u64) -> Outcome<counterfoil_receipt::field::Millis> {
    counterfoil_receipt::field::Millis::new(value).ok_or_else(|| {
        Failure::new(
            "time-out-of-range",
            format!("{value} ms is no time of a record"),
            "check the clock of this machine",
        )
    })
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// The inverse; `None` for a day that does not exist, or one before 1970.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted = if month <= 2 { year.checked_sub(1)? } else { year };
    let march_month = (month + 9) % 12;
    let of_year = (153 * march_month + 2) / 5 + day.checked_sub(1)?;
    let of_era = shifted % 400 * 365 + shifted % 400 / 4 - shifted % 400 / 100 + of_year;
    let days = (shifted / 400 * 146_097 + of_era).checked_sub(719_468)?;
    ((1..=12).contains(&month) && civil_from_days(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use counterfoil_review::time::LAST;

    use super::*;

    #[test]
    fn days_and_dates_are_inverse_for_eight_thousand_years() {
        let mut before = (1969, 12, 31);
        for day in 0..=LAST / DAY {
            let date = civil_from_days(day);
            assert!(date > before, "{date:?} follows {before:?}");
            assert_eq!(days_from_civil(date.0, date.1, date.2), Some(day));
            before = date;
        }
        assert_eq!(before, (9999, 12, 31));
        for (year, month, day) in
            [(2025, 2, 29), (2100, 2, 29), (2024, 13, 1), (2024, 0, 1), (2024, 4, 31), (1969, 12, 31)]
        {
            assert_eq!(days_from_civil(year, month, day), None, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn instants_are_read_and_written() {
        assert_eq!(utc(1_795_241_234_567), "2026-11-21 06:07:14Z");
        assert_eq!(parse_instant("2026-11-21T06:07:14Z"), Ok(1_795_241_234_000));
        assert_eq!(parse_instant("2024-02-29 00:00:00Z").map(utc).as_deref(), Ok("2024-02-29 00:00:00Z"));
        assert_eq!(parse_instant("17"), Ok(17));
        for bad in [
            "",
            "x",
            "2026-11-21",
            "2026-11-21T24:00:00Z",
            "2026-1-21T10:00:00Z",
            "2026-11-21T10:00:00+01:00",
            "ä026-11-21T10:00:0Z",
        ] {
            assert!(parse_instant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        assert_eq!(parse_duration("15m"), Ok(900_000));
        assert_eq!(parse_duration("7d").map(span).as_deref(), Ok("7 d"));
        assert_eq!(
            (span(5_400_000), span(20_999), span(3)),
            ("1 h 30 min".into(), "20 s".into(), "3 ms".into())
        );
        assert_eq!(parse_duration("0s"), Err("it is no time at all: give at least 1s".to_owned()));
        for bad in ["", "m", "0m", "-1m", "1", "1w", "99999999999999999999d", "ä"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
