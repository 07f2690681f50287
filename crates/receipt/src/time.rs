//! Times and spans as people read them: UTC only, in the proleptic Gregorian calendar.

/// Milliseconds of a day.
pub const DAY: u64 = 86_400_000;
/// The last millisecond of the year 9999, beyond which RFC 3339 has no spelling.
pub const LAST: u64 = 253_402_300_799_999;

/// `2026-11-21 10:05:09Z`; milliseconds are cut off.
pub fn utc(millis: u64) -> String {
    if millis > LAST {
        return format!("{millis} ms");
    }
    let (year, month, day) = civil_from_days(millis / DAY);
    let second = millis % DAY / 1_000;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// A span in its largest whole unit or two: `1 h 30 min`, `15 min`, `20 s`.
pub fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    let units = [
        ("d", seconds / 86_400),
        ("h", seconds / 3_600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let shown = units.iter().skip_while(|(_, count)| *count == 0).take(2).filter(|(_, count)| *count > 0);
    let parts: Vec<String> = shown.map(|(unit, count)| format!("{count} {unit}")).collect();
    if parts.is_empty() { format!("{millis} ms") } else { parts.join(" ") }
}

/// Year, month and day of a day since 1970-01-01; the year starts in March while it is computed, so that leap days end it.
pub const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + (month <= 2) as u64, month, day)
}
