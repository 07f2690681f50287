//! The commit protocol, explored to the end: every interleaving of two processes on one journal and one lock store, with
//! crashes, failed syncs and power cuts at every step.
//!
//! What is explored is the writer's own plan: the constants and the decision of `counterfoil_log::plan`, which the
//! sequencer runs and start asks. The world around it is as little as the contracts of `Storage` and `LockStore` promise;
//! no lock on files keeps the two processes apart.

#![allow(clippy::panic, reason = "a test that can't go on has failed")]

mod explore;
mod world;

use counterfoil_log::plan::{self, Relation, Start, Step, Tail};
use explore::{Explored, explore};
use world::{Protocol, World};

/// The protocol as it is.
const PROTOCOL: Protocol = Protocol {
    commit: plan::COMMIT,
    adopt: plan::ADOPT,
    start: plan::start,
    create_only: true,
    errors_reach_all: true,
    follows: true,
    appends_all: true,
    needs_end: true,
    processes: 2,
};

#[test]
fn no_order_of_steps_and_crashes_forks_the_log_or_loses_what_was_acknowledged() {
    let Explored { states, failure } = explore(&World::new(PROTOCOL));
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    println!("count states of the commit protocol explored, none breaks an invariant {states}");
    assert!(states > 10_000, "{states} states are not all there are");
}

/// The same search on an order that is wrong finds out how, in the fewest steps.
fn breaks(broken: Protocol, as_expected: &str) {
    let Explored { failure, .. } = explore(&World::new(broken));
    let failure = failure.unwrap_or_else(|| panic!("{as_expected:?} was not found"));
    println!("{failure}\n");
    assert!(failure.to_string().starts_with(as_expected), "{failure}");
}

#[test]
fn publishing_before_the_swap_is_found() {
    use Step::{Answer, Append, Derive, Index, Publish, Swap, Sync};
    let commit = &[Append, Sync, Derive, Publish, Swap, Index, Answer];
    breaks(Protocol { commit, ..PROTOCOL }, "published before the lock store has it");
}

#[test]
fn swapping_before_the_append_is_durable_is_found() {
    use Step::{Answer, Append, Derive, Index, Publish, Swap, Sync};
    let commit = &[Append, Swap, Sync, Derive, Publish, Index, Answer];
    breaks(Protocol { commit, ..PROTOCOL }, "can't be opened any more");
}

#[test]
fn overwriting_what_stands_in_the_journal_is_found() {
    breaks(Protocol { create_only: false, ..PROTOCOL }, "can't be opened any more");
}

#[test]
fn signing_another_batch_instead_of_adopting_is_found() {
    const fn start(relation: Relation) -> Start {
        match plan::start(relation) {
            // What was not locked was not acknowledged: why not throw it away?
            Start::Adopt => Start::Cut,
            start => start,
        }
    }
    breaks(Protocol { start, processes: 1, ..PROTOCOL }, "two signatures that contradict each other");
    // And with another process, what that has acknowledged is cut off.
    breaks(Protocol { start, ..PROTOCOL }, "can't be opened any more");
}

#[test]
fn adopting_without_writing_again_is_found() {
    let adopt: Vec<Step> = plan::ADOPT.iter().copied().filter(|step| *step != Step::Rewrite).collect();
    breaks(Protocol { adopt: adopt.leak(), ..PROTOCOL }, "can't be opened any more");
}

/// What `Storage::sync` promises about others is needed: one process writes a batch again, another one's sync fails and
/// takes the bytes with it.
#[test]
fn a_failed_sync_that_others_do_not_hear_of_is_found() {
    breaks(Protocol { errors_reach_all: false, ..PROTOCOL }, "can't be opened any more");
}

#[test]
fn answering_before_the_swap_is_found() {
    use Step::{Answer, Append, Derive, Index, Publish, Swap, Sync};
    let commit = &[Append, Sync, Answer, Swap, Derive, Publish, Index];
    breaks(Protocol { commit, ..PROTOCOL }, "acknowledged before the lock store has it");
}

/// One process cuts off what another has begun, and appends a batch of just that length.
#[test]
fn going_on_with_a_batch_behind_another_one_is_found() {
    breaks(Protocol { follows: false, ..PROTOCOL }, "can't be opened any more");
}

#[test]
fn answering_before_the_last_frame_is_found() {
    breaks(Protocol { appends_all: false, ..PROTOCOL }, "can't be opened any more");
}

#[test]
fn taking_up_a_batch_whose_end_is_missing_is_found() {
    breaks(Protocol { needs_end: false, processes: 1, ..PROTOCOL }, "published, and nobody signed it");
}

/// Every relation of journal and lock store that the exploration does not reach, or that nothing but damage leaves, is
/// refused.
#[test]
fn start_takes_only_what_a_crash_leaves() {
    let mut taken = Vec::new();
    for unlocked in [None, Some(0), Some(1), Some(2)] {
        for tail in [Tail::Nothing, Tail::Torn, Tail::Long] {
            for is_behind in [false, true] {
                let start = plan::start(Relation { unlocked, is_behind, tail });
                if !matches!(start, Start::Refuse(_)) && !is_behind {
                    taken.push((unlocked, tail, start));
                }
            }
        }
    }
    let expected = [
        (Some(0), Tail::Nothing, Start::Clean),
        (Some(0), Tail::Torn, Start::Cut),
        (Some(1), Tail::Nothing, Start::Adopt),
    ];
    assert_eq!(taken, expected);
}
