//! Follows what people decide, and tells the connections whose calls wait for it.

use std::{io, sync::Arc, thread, time::Duration};

use counterfoil_client::ApprovalQuery;
use counterfoil_verify::ProposalStatus;

use crate::{pool::spawn, proxy::Proxy, shared::Shared};

/// How often it is looked whether there is anything to follow.
const TICK: Duration = Duration::from_millis(250);
/// How long after it broke off a stream of changes is asked for again.
const RETRY: Duration = Duration::from_secs(2);

/// Follows what is decided, on a thread of its own, while somebody waits for that, as long as somebody else has what is shared.
/// `connections` are those that are open.
///
/// # Errors
/// If there is no thread for it.
pub(crate) fn watch(
    shared: &Arc<Shared>,
    connections: impl Fn() -> Vec<Arc<Proxy>> + Send + 'static,
) -> io::Result<()> {
    let shared = Arc::downgrade(shared);
    let waits = |connections: &[Arc<Proxy>]| connections.iter().any(|proxy| proxy.awaits_decisions());
    spawn(move || {
        loop {
            let Some(alive) = shared.upgrade() else { return };
            let desk = alive.opened_desk();
            drop(alive);
            let Some(desk) = desk.filter(|_| waits(&connections())) else {
                thread::sleep(TICK);
                continue;
            };
            let query = ApprovalQuery {
                principal: Some(desk.asking.principal().clone()),
                ..ApprovalQuery::default()
            };
            let events = desk.asking.gate.log().hints().and_then(|log| log.approval_events(&query, None));
            drop(desk);
            // What was decided while nobody looked.
            for connection in connections() {
                connection.changed(None);
            }
            if let Ok(events) = events {
                for event in events {
                    // The log tells of every call, and telling costs it.
                    if !waits(&connections()) {
                        break;
                    }
                    if shared.strong_count() == 0 {
                        return;
                    }
                    let Ok((_, view)) = event else { break };
                    if view.status != ProposalStatus::Open {
                        for connection in connections() {
                            connection.changed(Some(&view.proposal));
                        }
                    }
                }
            }
            if waits(&connections()) {
                thread::sleep(RETRY);
            }
        }
    })
}
