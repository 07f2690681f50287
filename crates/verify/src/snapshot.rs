//! The snapshot leaf (`spec/log.md`).

use counterfoil_receipt::{MapRoot, body::Snapshot, field::Millis};

use crate::{fault::Fault, rule::Rule, state::State};

/// The rules of a snapshot, apart from its chain and its key.
pub(crate) fn check(state: &State, body: &Snapshot, time: Millis, index: u64) -> Result<(), Fault> {
    index_is_own(body, index)?;
    log_time_increases(state, time)?;
    map_is_that_of_the_fold(body)
}

/// R-SNAP-01: the snapshot's `index` is its own.
pub(crate) fn index_is_own(body: &Snapshot, index: u64) -> Result<(), Fault> {
    if body.index.get() == index {
        return Ok(());
    }
    Err(Fault::violated(Rule::SnapshotIndex, format!("body.index: claims {}, stands at {index}", body.index)))
}

/// R-SNAP-02: log time strictly increases.
fn log_time_increases(state: &State, time: Millis) -> Result<(), Fault> {
    match state.log_time() {
        Some(before) if time <= before => {
            Err(Fault::violated(Rule::SnapshotTime, format!("time: {time} does not come after {before}")))
        }
        _ => Ok(()),
    }
}

/// R-SNAP-03: fold version and map root are those of the fold.
fn map_is_that_of_the_fold(body: &Snapshot) -> Result<(), Fault> {
    let computed = MapRoot::empty();
    if body.map == computed {
        return Ok(());
    }
    Err(Fault::violated(
        Rule::SnapshotMap,
        format!("body.map: claims {}, the fold gives {computed}", body.map),
    ))
}
