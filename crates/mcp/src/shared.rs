//! What all connections of a gate share: the desk at which calls are proposed, and the threads that work on them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    desk::{Desk, NotAsked},
    limits,
    pool::Pool,
};

/// How connections behave.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a call waits for people before the client is told to ask again.
    pub hold: Duration,
    /// How often a client that wants to know is told that its call waits.
    pub progress: Duration,
}

/// What makes the desk, once it is needed: clients start servers only to ask who they are.
pub type OpenDesk = Box<dyn Fn() -> Result<Desk, NotAsked> + Send + Sync>;

/// What the connections of a gate share.
pub struct Shared {
    desk: Mutex<Opened>,
    open_desk: OpenDesk,
    pub(crate) times: Times,
    pub(crate) pool: Pool,
    /// What asks the log which tools to show; calls that wait must not hold that up.
    pub(crate) lists: Pool,
    /// What asks the log whether other requests pass.
    pub(crate) judged: Pool,
    pub(crate) note: Box<dyn Fn(&str) + Send + Sync>,
}

/// The desk, once it is open, or when and why it could not be opened.
#[derive(Default)]
struct Opened {
    desk: Option<Arc<Desk>>,
    failed: Option<(Instant, NotAsked)>,
}

impl Shared {
    /// What connections share that are to behave so, and where to say what nobody asked for.
    pub fn new(open_desk: OpenDesk, times: Times, note: Box<dyn Fn(&str) + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            desk: Mutex::default(),
            open_desk,
            times,
            pool: Pool::new(limits::RUNNING),
            lists: Pool::new(limits::LISTS),
            judged: Pool::new(limits::JUDGED),
            note,
        })
    }

    /// The desk, if a call has needed one.
    pub fn opened_desk(&self) -> Option<Arc<Desk>> {
        self.opened().desk.clone()
    }

    /// The same, without waiting for whoever opens it.
    pub(crate) fn desk_at_hand(&self) -> Option<Arc<Desk>> {
        self.desk.try_lock().ok().and_then(|opened| opened.desk.clone())
    }

    /// The desk, opened if it is not; for a while after that failed it is not tried again.
    pub(crate) fn desk(&self) -> Result<Arc<Desk>, NotAsked> {
        let mut opened = self.opened();
        if let Some(desk) = &opened.desk {
            return Ok(Arc::clone(desk));
        }
        if let Some((when, why)) = &opened.failed
            && when.elapsed() < Duration::from_secs(limits::POLICY_SECONDS)
        {
            return Err(why.clone());
        }
        match (self.open_desk)() {
            Ok(desk) => {
                let desk = opened.desk.insert(Arc::new(desk));
                Desk::log_outcomes(desk);
                Ok(Arc::clone(desk))
            }
            Err(why) => {
                opened.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Logs the outcomes that are not logged yet, if that does not take long: what can't be logged now is noted, and logged when a gate
    /// starts again.
    pub(crate) fn log_outcomes(self: &Arc<Self>) {
        let (shared, (to, done)) = (Arc::clone(self), mpsc::channel());
        thread::spawn(move || {
            let is_done = shared.opened_desk().is_none_or(|desk| desk.asking.gate.log_outcomes());
            // Who no longer waits does not mind.
            let _ = to.send(is_done);
        });
        if done.recv_timeout(limits::SHUTDOWN) != Ok(true) {
            (self.note)("outcomes are noted and not logged yet; the next gate on this directory logs them");
        }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
