//! What becomes of calls where something in the gate fails, and which are forgotten.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::thread;

use counterfoil_receipt::{
    action::{Json, Mode},
    hashes::SchemaDigest,
    text::Label,
};

use super::*;
use crate::{
    asking::tests::{Told, between, one_tool},
    lines::Line,
    shared::tests::{with, without_a_log},
    tools::Tool,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Has a connection remember a call that is held, with so many bytes of large arguments.
pub(crate) fn remember(proxy: &Proxy, number: usize, large: usize, waiters: Vec<Waiter>) {
    let tool = Tool { definition: SchemaDigest::of(b"a tool"), idempotent: false, read_only: false };
    let arguments = Map::from_iter([("n".to_owned(), number.into())]);
    let action = Action {
        arguments: Json::from_value(&Value::Object(arguments.clone())).unwrap(),
        committed: None,
        connector: None,
        free: None,
        mode: Mode::Apply,
        precondition: None,
        target: None,
        tool: Label::new("box/read").unwrap(),
    };
    let proposal = RecordId::of(&number.to_be_bytes());
    let call = Call { name: "read".to_owned(), tool, arguments, inputs: None };
    let digest = call.digest().unwrap();
    let pending = Pending {
        call,
        asked: Asked {
            run: RunId::started_by(proposal),
            proposal,
            action,
            earlier: false,
            in_doubt: false,
            changes_nothing: false,
            begun: None,
        },
        waiters,
        busy: false,
        changed: false,
        held: true,
        why: String::new(),
        ran: false,
        wanted: Instant::now(),
        remembered: proxy.shared.remember(large).unwrap(),
    };
    let mut state = proxy.state();
    state.by_proposal.insert(proposal, digest);
    state.calls.insert(digest, pending);
}

/// Waits for what a client is told.
fn told(client: &Told, number: usize) -> Vec<Value> {
    let began = Instant::now();
    while client.told(None).len() < number {
        assert!(began.elapsed() < PATIENCE, "{:?}", client.told(None));
        thread::sleep(Duration::from_millis(5));
    }
    client.told(None)
}

fn say(proxy: &Arc<Proxy>, line: &str) {
    proxy.from_client(&Line::Whole(line.as_bytes().to_vec()));
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}"#;

/// A call in which the gate panicked had no answer, and counted as being proposed for ever: the same call waited for it.
#[test]
fn a_call_in_which_the_gate_panics_is_answered_and_may_come_again() {
    let server = Told::new(|_| Some(one_tool()));
    let (proxy, client) = between(with(Box::new(|| unreachable!("a fault of this gate"))), &server);
    for number in 1..=2 {
        say(&proxy, CALL);
        assert_eq!(told(&client, number)[number - 1]["error"]["data"]["code"], FAILED);
        assert!(!proxy.is_busy());
    }
}

/// A call that was attempted when the gate panicked was attempted for ever, and nobody who waited for it was answered.
#[test]
fn a_call_whose_attempt_panics_is_not_busy_for_ever() {
    let server = Told::new(|_| Some(one_tool()));
    let (proxy, client) = between(with(Box::new(|| unreachable!("a fault of this gate"))), &server);
    let ticket = Ticket { id: Id::Number(1), serial: 1, round: 0 };
    let wanted = proxy.shared.pool.offer(None, (), |()| ()).unwrap();
    let call = Open::Call { token: None, serial: 1, meta: None, _wanted: wanted };
    proxy.state().open.insert(ticket.id.clone(), call);
    let waiter =
        Waiter { ticket, until: Instant::now() + PATIENCE, told: Instant::now() + PATIENCE, steps: 0 };
    remember(&proxy, 1, 0, vec![waiter]);
    proxy.changed(None);
    assert_eq!(told(&client, 1)[0]["error"]["data"]["code"], FAILED);
    assert!(!proxy.is_busy() && proxy.state().open.is_empty());
    assert_eq!(proxy.state().calls.len(), 1, "what is held stays held");
}

/// Where large arguments were short of room, all that nobody waited for was forgotten.
#[test]
fn calls_with_large_arguments_are_forgotten_where_bytes_are_short_and_others_are_not() {
    let server = Told::new(|_| None);
    let (proxy, _) = between(without_a_log(), &server);
    let half = limits::CALLS_BYTES / 2;
    for (number, large) in [(0, half), (1, 0), (2, half)] {
        remember(&proxy, number, large, Vec::new());
    }
    let all = [Arc::clone(&proxy)];
    forget_idle(&proxy.shared, &all);
    let left = |proxy: &Proxy| {
        let state = proxy.state();
        let mut left: Vec<_> =
            state.calls.values().map(|pending| pending.call.arguments["n"].as_u64().unwrap()).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(left(&proxy), [1, 2], "the one that was waited for longest ago");
    forget_idle(&proxy.shared, &all);
    assert_eq!(left(&proxy), [1, 2], "there is room");
}

/// A call of which the log had not said whether it holds its proposal was proposed a second time when it came again.
#[test]
fn what_may_be_proposed_is_kept_and_what_is_known_not_to_be_is_not() {
    let not_asked = |code: &str| AskError::NotAsked { code: code.to_owned(), why: String::new() };
    assert!(may_be_proposed(&not_asked(NOT_PROPOSED)) && !may_be_proposed(&not_asked("key-unknown")));
    let unknown = || counterfoil_gate::LogError::Unknown("the log is away".to_owned());
    assert!(may_be_proposed(&AskError::Gate(GateError::NoEvidence(unknown()))));
    let (execution, why) = (RecordId::of(b"x"), String::new());
    assert!(!may_be_proposed(&AskError::Gate(GateError::Unconfirmed { execution, why })));
    let server = Told::new(|_| None);
    let (proxy, _) = between(without_a_log(), &server);
    for (number, fault, is_kept) in [(1, not_asked(NOT_PROPOSED), true), (2, not_asked("key-unknown"), false)]
    {
        remember(&proxy, number, 0, Vec::new());
        let digest = {
            let mut state = proxy.state();
            let pending =
                state.calls.values_mut().find(|pending| pending.call.arguments["n"] == number).unwrap();
            (pending.held, pending.busy) = (false, true);
            pending.call.digest().unwrap()
        };
        assert!(!proxy.failed(&digest, fault));
        assert_eq!(proxy.state().calls.get(&digest).map(|pending| pending.busy), is_kept.then_some(false));
    }
}
