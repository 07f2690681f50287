//! Load on a server: runs that only ever grow, by a client that counts what was acknowledged.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops")]

use std::time::{Duration, SystemTime};

use counterfoil_client::{CheckpointStore, Client, FileCheckpoints, PinnedClient};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Body, Draft, Place, RecordId, RunId, Signer, UnverifiedRecord,
    body::{Event, Holder, Items, Observation, ObservationKind, Trigger},
    field::Whole,
    text::{Label, Text},
};
use counterfoil_verify::Trust;

use crate::common::Desk;

/// An agent that writes one observation after the other into a run of its own.
pub struct Writer {
    agent: RecordKey,
    log: RecordId,
    run: RunId,
    parent: RecordId,
    name: String,
    written: usize,
}

impl Writer {
    /// With the agent's key in `work`; gives the trigger too, which comes first.
    pub fn start(desk: &Desk, log: RecordId, name: &str) -> (Self, UnverifiedRecord) {
        let agent = RecordKey::load(&desk.path("work/keys/agent.key")).unwrap();
        let owner = Holder { key: agent.key(), principal: agent.principal().clone() };
        let event = Event { id: Label::new(name).unwrap(), kind: None, source: Label::new("load").unwrap() };
        let body = Trigger { content: None, event, owner, summary: None };
        let trigger = sign(&agent, Place::Single { log }, body);
        let (run, parent) = (RunId::started_by(trigger.id()), trigger.id());
        (Self { agent, log, run, parent, name: name.to_owned(), written: 0 }, trigger)
    }

    /// The next observation, naming these payloads.
    pub fn observe(&mut self, items: Option<Items>) -> UnverifiedRecord {
        self.written += 1;
        let summary = Text::new(format!("{}: observation {}", self.name, self.written));
        let body = Observation { items, kind: ObservationKind::Note, summary };
        let place = Place::Run { log: self.log, run: self.run, parents: vec![self.parent] };
        let record = sign(&self.agent, place, body);
        self.parent = record.id();
        record
    }
}

/// A reader who gives up soon where nobody answers, and who takes no tree that does not extend the last one seen.
pub fn reader(desk: &Desk, url: &str) -> PinnedClient {
    pinned(desk, url, Box::new(FileCheckpoints::new(desk.path("seen"))))
}

/// A client that gives up soon where nobody answers.
pub fn pinned(desk: &Desk, url: &str, seen: Box<dyn CheckpointStore>) -> PinnedClient {
    let trust = Trust::parse(&desk.read("work/trust.toml")).unwrap();
    let client = Client::new(url, None).unwrap().with_patience(Duration::from_secs(1));
    client.with_timeout(Duration::from_secs(5)).pin(trust, seen)
}

/// Checks that every record is in the log as it was submitted, in a tree that extends the last one seen.
#[track_caller]
pub fn all_are_there(desk: &Desk, url: &str, acknowledged: &[UnverifiedRecord], when: &str) {
    reader(desk, url).checkpoint().unwrap_or_else(|why| panic!("{when}: {why}"));
    for record in acknowledged {
        let found = Client::new(url, None).unwrap().record(record.id());
        assert_eq!(found.unwrap().bytes(), record.bytes(), "{when}");
    }
}

fn sign(key: &RecordKey, place: Place, body: impl Into<Body>) -> UnverifiedRecord {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let time = Whole::new(u64::try_from(now).unwrap()).unwrap();
    let draft =
        Draft { place, time, principal: key.principal().clone(), role: key.role(), body: body.into() };
    draft.sign(key).unwrap()
}
