//! A log of records beside the raw one, at a low rate: signed observations through the client that everybody uses.

use std::{thread, time::Duration};

use counterfoil_client::{ClientError, FileCheckpoints, PinnedClient, SubmitError};
use counterfoil_receipt::UnverifiedRecord;
use counterfoil_verify::Trust;

use crate::{
    common::Desk,
    load::{Writer, pinned},
    processes::Server,
    seen::{Fault, Seen},
    traffic::{Crew, Word},
};

/// Between two records.
const PAUSE: Duration = Duration::from_millis(100);
/// Records of one run.
const RUN: usize = 100;

/// Submits records, each until it is acknowledged; gives those. Every answer is proven, in trees that extend each other.
pub fn write(crew: &Crew, desk: &Desk, server: &Server<'_>, seen: &Seen) -> Vec<UnverifiedRecord> {
    let genesis = Trust::parse(&desk.read("work/trust.toml")).unwrap().genesis();
    let (mut client, mut acknowledged) = (None, Vec::new());
    loop {
        let (mut writer, mut next) = Writer::start(desk, genesis, &format!("run {}", acknowledged.len()));
        for _ in 0..RUN {
            let connect = || {
                let last = FileCheckpoints::new(desk.path("seen"));
                pinned(desk, &server.url(), Box::new(last))
            };
            if !submit(crew, &mut client, connect, seen, &next) {
                return acknowledged;
            }
            acknowledged.push(next);
            next = writer.observe(None);
        }
    }
}

/// Submits a record until it is acknowledged; `false` if that is not to be begun any more, or not to be gone on with.
fn submit(
    crew: &Crew,
    client: &mut Option<PinnedClient>,
    connect: impl Fn() -> PinnedClient,
    seen: &Seen,
    record: &UnverifiedRecord,
) -> bool {
    let mut begun = false;
    loop {
        match crew.word(|| *client = None) {
            Word::Leave => return false,
            Word::Finish if !begun => return false,
            Word::GoOn | Word::Finish => thread::sleep(PAUSE),
        }
        begun = true;
        match client.get_or_insert_with(&connect).submit(record) {
            Ok(_) => return true,
            Err(why) if is_absence(&why) => *client = None,
            Err(why) => seen.fault(Fault::Unproven, format!("a record: {why}")),
        }
    }
}

/// Whether nobody answered, as while the server starts again.
fn is_absence(why: &SubmitError) -> bool {
    let (SubmitError::NotSubmitted(why) | SubmitError::Failed(why)) = why else { return false };
    match why {
        ClientError::Unreachable { .. } | ClientError::NoAnswer { .. } | ClientError::Busy { .. } => true,
        ClientError::Refused(problem) => problem.status >= 500,
        _ => false,
    }
}
