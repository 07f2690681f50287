//! A policy is read or refused, and what it says of an action it says without a panic.
#![no_main]

use counterfoil_policy::{Policy, Request};
use counterfoil_receipt::{Action, Principal, body::Risk};

const ACTION: &[u8] = br#"{"arguments":{"a":{"b":[1,null,"x"]},"amount":"12.50","currency":"EUR"},"free":["/trace"],"mode":"apply","target":"db","tool":"payments.refund"}"#;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(policy) = Policy::parse(data) else { return };
    let canonical = ACTION.to_vec();
    let (Ok(action), Some(proposer)) = (Action::parse(&canonical), Principal::new("agent")) else {
        unreachable!("both are well formed")
    };
    let assessment = policy.assess(&Request::new(&action, Risk::High, &[], &proposer, &[]));
    // Nobody approved: only what needs nobody passes.
    assert_eq!(
        assessment.evaluate(&[], &[]).is_ok(),
        matches!(assessment, counterfoil_policy::Assessment::Allowed(_))
    );
});
