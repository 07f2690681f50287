//! Amounts, compared exactly (`spec/records.md` §2, `spec/policy.md`, *Matcher*).

use std::fmt;

use counterfoil_receipt::text::Amount;
use serde_json::Value;

/// 10¹⁸: an amount has at most 18 digits behind the point.
const SCALE: i128 = 1_000_000_000_000_000_000;

/// A decimal number in units of 10⁻¹⁸. The largest amount has 36 digits, and 38 fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(i128);

impl Decimal {
    /// The number that an amount spells.
    pub fn of(amount: &Amount) -> Self {
        // Every amount is spelled so, which a test holds.
        Self::spelled(amount.as_str()).unwrap_or(Self(0))
    }

    /// The number that a text spells as an amount is spelled; without the copy of it that an [`Amount`] is.
    fn spelled(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            None => (text, None),
            Some((whole, fraction)) => (whole, Some(fraction)),
        };
        let has_needless_zero = whole.len() > 1 && whole.starts_with('0');
        let whole = digits(whole).filter(|_| !has_needless_zero)?;
        let fraction = match fraction {
            None => 0,
            Some(text) => digits(text)? * 10_u64.pow(u32::try_from(18 - text.len()).ok()?),
        };
        Some(Self(i128::from(whole) * SCALE + i128::from(fraction)))
    }

    /// The number that an argument gives: a string that is an amount, or an integer, which may be negative.
    pub fn from_argument(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::spelled(text),
            Value::Number(number) => number.as_i64().map(|integer| Self(i128::from(integer) * SCALE)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The sum; `None` if it does not fit, as that of two amounts always does.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// What is left of it, if `other` is no more than it.
    pub fn less(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self).filter(|rest| !rest.is_negative())
    }

    /// Whether it is less than zero, as no amount is.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// The number that 1 to 18 digits spell.
fn digits(text: &str) -> Option<u64> {
    let is_number = (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.bytes().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

impl fmt::Display for Decimal {
    /// Without needless zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_negative() { "-" } else { "" };
        let scale = SCALE.unsigned_abs();
        let (whole, fraction) = (self.0.unsigned_abs() / scale, self.0.unsigned_abs() % scale);
        let text = format!("{sign}{whole}.{fraction:018}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// An amount to compare with: as it is spelled, and as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Threshold {
    spelled: Amount,
    pub number: Decimal,
}

impl Threshold {
    pub fn new(spelled: Amount) -> Self {
        Self { number: Decimal::of(&spelled), spelled }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spelled.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decimals_compare_exactly() {
        let of = |text: &str| Decimal::of(&Amount::new(text).unwrap());
        assert_eq!(of("1.0"), of("1"));
        assert!(of("0.000000000000000001") > of("0"));
        assert!(of("999999999999999999.999999999999999999") > of("999999999999999999.999999999999999998"));
        for text in ["0", "10", "0.000000000000000001", "12.5"] {
            assert_eq!(of(text).to_string(), text);
        }
        assert!(of("9") < of("10") && of("0.9") > of("0.10"));
        let smallest = Decimal::from_argument(&json!(-9_007_199_254_740_991_i64)).unwrap();
        assert!(smallest < of("0") && smallest.is_negative());
        assert_eq!(Decimal::from_argument(&json!(12)), Some(of("12")));
    }

    #[test]
    fn a_number_is_spelled_as_amounts_are() {
        let long = "9".repeat(18);
        let texts = [
            "", "0", "00", "01", "1", "1.", ".1", "1.0", "1.2.3", "1e3", "+1", "-1", " 1", "1_0", "٣", &long,
        ];
        let parts = texts.iter().flat_map(|whole| texts.iter().map(move |part| format!("{whole}.{part}")));
        let longer = [format!("{long}9"), format!("{long}.{long}9"), format!("1.{long}")];
        for text in texts.iter().map(|text| (*text).to_owned()).chain(parts).chain(longer) {
            assert_eq!(Decimal::spelled(&text).is_some(), Amount::new(text.as_str()).is_some(), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for value in [
            json!("-1"),
            json!("01"),
            json!("1e3"),
            json!(""),
            json!(1.5),
            json!(1e21),
            json!(null),
            json!([1]),
        ] {
            assert_eq!(Decimal::from_argument(&value), None, "{value}");
        }
    }
}
