//! What all connections of a gate share: the desk at which calls are proposed, and the threads that work on them.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::{
    desk::{Desk, NotAsked},
    limits,
    pool::{Pool, spawn},
};

/// How connections behave.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a call waits for people before the client is told to ask again.
    pub hold: Duration,
    /// How often a client of 2026-07-28 is asked to go on waiting before that.
    pub rounds: u32,
    /// How often a client that wants to know is told that its call waits.
    pub progress: Duration,
}

/// A call that is remembered, until this is dropped.
pub(crate) struct Remembered {
    all: Arc<Calls>,
    bytes: usize,
}

/// What all connections remember.
#[derive(Default)]
struct Calls {
    count: AtomicUsize,
    /// Bytes of large arguments.
    bytes: AtomicUsize,
}

impl Remembered {
    /// Bytes of its large arguments.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.all.count.fetch_sub(1, Ordering::AcqRel);
        self.all.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What makes the desk, once it is needed: clients start servers only to ask who they are.
pub type OpenDesk = Box<dyn Fn() -> Result<Desk, NotAsked> + Send + Sync>;

/// What the connections of a gate share.
pub struct Shared {
    desk: OnceLock<Arc<Desk>>,
    /// Held by whoever opens the desk; when and why it could not be opened.
    failed: Mutex<Option<(Instant, NotAsked)>>,
    open_desk: OpenDesk,
    /// How much all connections remember.
    calls: Arc<Calls>,
    pub(crate) times: Times,
    pub(crate) pool: Pool,
    /// What asks the log which tools to show; calls that wait must not hold that up.
    pub(crate) lists: Pool,
    /// What asks the log whether other requests pass.
    pub(crate) judged: Pool,
    pub(crate) note: Box<dyn Fn(&str) + Send + Sync>,
}

impl Shared {
    /// What connections share that are to behave so, and where to say what nobody asked for.
    pub fn new(open_desk: OpenDesk, times: Times, note: Box<dyn Fn(&str) + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            desk: OnceLock::new(),
            failed: Mutex::default(),
            open_desk,
            calls: Arc::default(),
            times,
            pool: Pool::new(limits::RUNNING, limits::QUEUED),
            lists: Pool::new(limits::LISTS, limits::LISTS_QUEUED),
            judged: Pool::new(limits::JUDGED, limits::QUEUED),
            note,
        })
    }

    /// The desk, if a call has needed one; nobody waits for whoever opens it.
    pub fn opened_desk(&self) -> Option<Arc<Desk>> {
        self.desk.get().cloned()
    }

    /// The desk, opened if it is not; for a while after that failed it is not tried again.
    pub(crate) fn desk(&self) -> Result<Arc<Desk>, NotAsked> {
        if let Some(desk) = self.desk.get() {
            return Ok(Arc::clone(desk));
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waited may find it open.
        if let Some(desk) = self.desk.get() {
            return Ok(Arc::clone(desk));
        }
        if let Some((when, why)) = &*failed
            && when.elapsed() < Duration::from_secs(limits::POLICY_SECONDS)
        {
            return Err(why.clone());
        }
        let opened = (self.open_desk)().map(Arc::new);
        let opened = opened.and_then(|desk| Desk::log_outcomes(&desk).map(|()| desk));
        match opened {
            Ok(desk) => Ok(Arc::clone(self.desk.get_or_init(|| desk))),
            Err(why) => {
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Counts a call with so many bytes of large arguments, as long as it is remembered; nothing, and nothing is counted, if there is no
    /// room for them.
    pub(crate) fn remember(&self, bytes: usize) -> Option<Remembered> {
        let with = |before: usize| before.checked_add(bytes).filter(|all| *all <= limits::CALLS_BYTES);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        if bytes > 0 && self.calls.bytes.fetch_update(set, get, with).is_err() {
            return None;
        }
        self.calls.count.fetch_add(1, Ordering::AcqRel);
        Some(Remembered { all: Arc::clone(&self.calls), bytes })
    }

    /// Whether as much is remembered as may be: calls that nobody waits for are to be forgotten.
    pub(crate) fn remembers_enough(&self) -> bool {
        self.remembers_enough_calls()
            || self.calls.bytes.load(Ordering::Acquire) + limits::MESSAGE_BYTES > limits::CALLS_BYTES
    }

    /// The same for how many there are, whatever their arguments.
    pub(crate) fn remembers_enough_calls(&self) -> bool {
        self.calls.count.load(Ordering::Acquire) >= limits::CALLS
    }

    /// Logs the outcomes that are not logged yet, if that does not take long: what can't be logged now is noted, and logged when a gate
    /// starts again.
    pub(crate) fn log_outcomes(self: &Arc<Self>) {
        let (shared, (to, done)) = (Arc::clone(self), mpsc::channel());
        let logging = spawn(move || {
            let is_done = shared.opened_desk().is_none_or(|desk| desk.asking.gate.log_outcomes());
            // Who no longer waits does not mind.
            let _ = to.send(is_done);
        });
        if logging.is_err() || done.recv_timeout(limits::SHUTDOWN) != Ok(true) {
            (self.note)("outcomes are noted and not logged yet; the next gate on this directory logs them");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// What connections share that have no log.
    pub(crate) fn without_a_log() -> Arc<Shared> {
        with(Box::new(|| Err(none())))
    }

    fn none() -> NotAsked {
        NotAsked { code: "none".to_owned(), why: "there is no log".to_owned() }
    }

    pub(crate) fn with(open: OpenDesk) -> Arc<Shared> {
        Shared::new(open, Times { hold: LONG, rounds: 0, progress: LONG }, Box::new(|_| ()))
    }

    #[test]
    fn large_arguments_are_remembered_up_to_the_limit_and_small_ones_beyond() {
        let shared = without_a_log();
        let all = shared.remember(limits::CALLS_BYTES).unwrap();
        assert!(shared.remembers_enough() && shared.remember(1).is_none() && shared.remember(0).is_some());
        drop(all);
        assert!(!shared.remembers_enough());
        assert!(shared.remember(limits::CALLS_BYTES).is_some(), "what was refused does not count");
        let most = shared.remember(limits::CALLS_BYTES - 1);
        assert!(most.is_some() && shared.remember(2).is_none() && shared.remember(1).is_some());
    }

    /// Everybody who looked for the desk waited until the log had answered who opened it.
    #[test]
    fn nobody_else_waits_for_a_desk_that_is_being_opened() {
        let ((begins, began), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
        let ends = Mutex::new(ends);
        let shared = with(Box::new(move || {
            begins.send(()).unwrap();
            let _ = ends.lock().unwrap().recv();
            Err(none())
        }));
        let opening = Arc::clone(&shared);
        let opening = thread::spawn(move || opening.desk().err());
        began.recv().unwrap();
        let (to, looked) = mpsc::channel();
        thread::spawn(move || to.send(shared.opened_desk().is_none()).unwrap());
        assert_eq!(looked.recv_timeout(LONG), Ok(true));
        drop(end);
        assert_eq!(opening.join().unwrap(), Some(none()));
    }
}
