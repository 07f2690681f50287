//! Quotas: how many entries one principal, or one peer of a raw log, may add in a minute (`spec/http.md`, "Quotas");
//! and rates, which count requests as these count entries ("Rates").

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use counterfoil_receipt::{Principal, PublicKey};

use crate::limits;

/// Whose quota a record is charged to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    /// Who holds the key that signed, all keys together.
    Principal(Principal),
    /// A key that was ended: whoever has it now may be a thief, and must not use up what the principal has.
    Key(PublicKey),
}

/// Where an entry of a raw log comes from: an IPv4 address, or the first 64 bits of an IPv6 address, whose rest one host has all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

/// What each of many may add in a minute, and has added.
///
/// Each entry pays for `MINUTE / quota`; who has paid a minute ahead waits. Nothing is kept of who has paid for the past only.
#[derive(Debug)]
pub(crate) struct Quotas<K> {
    pace: Duration,
    paid_until: Mutex<HashMap<K, Instant>>,
}

/// That somebody has used up a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// When there is something left again.
    pub retry_after: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);

impl<K: Clone + Eq + Hash> Quotas<K> {
    /// Nobody has added anything yet.
    pub(crate) fn new(per_minute: NonZeroU32) -> Self {
        Self { pace: MINUTE / per_minute.get(), paid_until: Mutex::default() }
    }

    /// Charges everybody for this many entries, or nobody. Who has one entry left is charged for all: a batch is not split, and the
    /// next one waits the longer.
    pub(crate) fn charge(&self, bill: &HashMap<K, u32>, now: Instant) -> Result<(), Exceeded> {
        let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        bill.keys().try_for_each(|who| self.has_left(&mut paid, who, now))?;
        for (who, entries) in bill {
            let from = paid.get(who).copied().unwrap_or(now).max(now);
            paid.insert(who.clone(), from + self.pace * *entries);
        }
        Ok(())
    }

    /// Whether one entry more would be charged for.
    pub(crate) fn check(&self, who: &K, now: Instant) -> Result<(), Exceeded> {
        self.has_left(&mut self.paid_until.lock().unwrap_or_else(PoisonError::into_inner), who, now)
    }

    fn has_left(&self, paid: &mut HashMap<K, Instant>, who: &K, now: Instant) -> Result<(), Exceeded> {
        if let Some(until) = paid.get(who) {
            let ahead = until.saturating_duration_since(now) + self.pace;
            let retry_after = ahead.saturating_sub(MINUTE);
            return if retry_after.is_zero() { Ok(()) } else { Err(Exceeded { retry_after }) };
        }
        if paid.len() >= limits::PAYERS {
            paid.retain(|_, until| *until > now);
        }
        // A quota that can't be kept is not given.
        if paid.len() < limits::PAYERS { Ok(()) } else { Err(Exceeded { retry_after: self.pace }) }
    }
}

impl Peer {
    /// The peer at this address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn quotas<K: Clone + Eq + Hash>(per_minute: u32) -> Quotas<K> {
        Quotas::new(NonZeroU32::new(per_minute).unwrap())
    }

    fn seconds(seconds: u64) -> Result<(), Exceeded> {
        Err(Exceeded { retry_after: Duration::from_secs(seconds) })
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_the_rest_at_its_pace() {
        let (quotas, start) = (quotas(6), Instant::now());
        let add = |who: &'static str, after: u64| {
            quotas.charge(&HashMap::from([(who, 1)]), start + Duration::from_secs(after))
        };
        for _ in 0..6 {
            assert_eq!(add("a", 0), Ok(()));
        }
        assert_eq!(add("a", 0), seconds(10));
        assert_eq!(quotas.check(&"a", start), seconds(10));
        // What is refused is not charged; and one does not pay for another.
        assert_eq!((add("a", 4), add("b", 4)), (seconds(6), Ok(())));
        assert_eq!((add("a", 10), add("a", 10)), (Ok(()), seconds(10)));
        // Idle for an hour, there is no more than a minute's worth.
        for _ in 0..6 {
            assert_eq!(add("a", 3_600), Ok(()));
        }
        assert_eq!(add("a", 3_600), seconds(10));
    }

    #[test]
    fn a_batch_is_taken_whole_and_paid_for_whole() {
        let (quotas, start) = (quotas(6), Instant::now());
        let bill = HashMap::from([("a", 60), ("b", 1)]);
        assert_eq!(quotas.charge(&bill, start), Ok(()));
        assert_eq!(quotas.check(&"a", start), seconds(550));
        // Where one is over, nobody is charged.
        for _ in 0..20 {
            assert_eq!(quotas.charge(&bill, start), seconds(550));
        }
        assert_eq!(quotas.charge(&HashMap::from([("b", 5)]), start), Ok(()));
        assert_eq!(quotas.check(&"b", start), seconds(10));
        assert_eq!(quotas.check(&"a", start + Duration::from_secs(550)), Ok(()));
    }

    #[test]
    fn as_many_are_known_as_may_be_and_then_those_who_owe_nothing_are_forgotten() {
        let (quotas, start) = (quotas(60), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        for peer in 0..limits::PAYERS {
            assert_eq!(quotas.charge(&HashMap::from([(peer, 1)]), start), Ok(()));
        }
        assert_eq!(quotas.check(&limits::PAYERS, at(999)), seconds(1));
        assert_eq!(quotas.check(&0, at(999)), Ok(()));
        assert_eq!(quotas.check(&limits::PAYERS, at(1_000)), Ok(()));
        assert_eq!(quotas.paid_until.lock().unwrap().len(), 0);
    }

    #[test]
    fn a_host_is_one_peer() {
        let peer = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1:2:3"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    }
}
