//! Threads that work on calls: as many as are needed, up to a bound, and of them a share for each connection; what is over it waits.

use std::{
    any::Any,
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Has something done on a thread of its own.
///
/// # Errors
/// If the system gives none.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(|_| ())
}

/// Does something if the thread panics before this goes out of scope.
pub(crate) struct OnPanic<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}

/// What one connection may take of a pool's threads.
pub(crate) struct Share {
    most: usize,
    /// How many it has; changed by who holds the queue.
    taken: AtomicUsize,
}

impl Share {
    /// So many threads.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0) })
    }

    fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire) >= self.most
    }
}

/// Something to be done, if it is still wanted once it is its turn.
struct Job {
    work: Work,
    /// What it is done with is dropped by whoever wants it no more.
    wanted: Option<Weak<dyn Any + Send + Sync>>,
    /// Whose share of the threads it takes.
    share: Option<Arc<Share>>,
}

/// Who has this wants something done. Once it is dropped, nothing is kept of that but its place in the queue, and that as long as nobody else
/// needs it.
pub(crate) struct Wanted {
    _input: Arc<dyn Any + Send + Sync>,
}

/// A bounded number of threads and what waits for them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    /// Threads.
    most: usize,
    /// Jobs that wait, of those that may be refused.
    queued: usize,
    /// What makes threads.
    spawn: fn(Work) -> io::Result<()>,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// A pool of `most` threads, none of which is there before there is work; `queued` jobs may wait for them.
    pub(crate) fn new(most: usize, queued: usize) -> Self {
        Self::with(most, queued, spawn)
    }

    fn with(most: usize, queued: usize, spawn: fn(Work) -> io::Result<()>) -> Self {
        let (queue, more) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { queue, more, most, queued, spawn }) }
    }

    /// Has something done that follows from what was taken, whatever waits: there is no more of it than of that, and a thread that did it.
    pub(crate) fn run(&self, share: &Arc<Share>, work: impl FnOnce() + Send + 'static) {
        let job = Job { work: Box::new(work), wanted: None, share: Some(Arc::clone(share)) };
        self.push(self.shared.queue(), job);
    }

    /// Has something done; `false` if as much waits already as may, or there is no thread.
    pub(crate) fn try_run(&self, work: impl FnOnce() + Send + 'static) -> bool {
        let job = Job { work: Box::new(work), wanted: None, share: None };
        self.room().is_some_and(|queue| self.push(queue, job))
    }

    /// Has something done with an input for as long as whoever wants it has what is returned; nothing if as much waits already as may, or
    /// there is no thread.
    pub(crate) fn offer<T: Send + 'static>(
        &self,
        share: Option<&Arc<Share>>,
        input: T,
        work: impl FnOnce(T) + Send + 'static,
    ) -> Option<Wanted> {
        let queue = self.room()?;
        let input = Arc::new(Mutex::new(Some(input)));
        let given = Arc::downgrade(&input);
        let wanted: Weak<dyn Any + Send + Sync> = given.clone();
        let take = move || given.upgrade()?.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work = Box::new(move || {
            if let Some(input) = take() {
                work(input);
            }
        });
        let is_taken = self.push(queue, Job { work, wanted: Some(wanted), share: share.cloned() });
        is_taken.then_some(Wanted { _input: input })
    }

    /// The queue, if there is room in it; what nobody wants any more makes some.
    fn room(&self) -> Option<MutexGuard<'_, Queue>> {
        let mut queue = self.shared.queue();
        if queue.jobs.len() >= self.shared.queued {
            queue.jobs.retain(|job| job.wanted.as_ref().is_none_or(|wanted| wanted.strong_count() > 0));
        }
        (queue.jobs.len() < self.shared.queued).then_some(queue)
    }

    /// Whether a thread will come to it.
    fn push(&self, mut queue: MutexGuard<'_, Queue>, job: Job) -> bool {
        let has_to_wait = job.share.as_ref().is_some_and(|share| share.is_taken());
        queue.jobs.push_back(job);
        if has_to_wait {
            // Who gives the share back looks for more.
            return true;
        }
        if queue.idle >= queue.jobs.len() || queue.threads >= self.shared.most {
            self.shared.more.notify_one();
            return true;
        }
        let shared = Arc::clone(&self.shared);
        if (self.shared.spawn)(Box::new(move || shared.work())).is_ok() {
            queue.threads += 1;
            return true;
        }
        // Those that are there come to it.
        self.shared.more.notify_one();
        if queue.threads == 0 {
            queue.jobs.pop_back();
        }
        queue.threads > 0
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue();
        loop {
            let Some(Job { work, share, .. }) = queue.next() else {
                queue.idle += 1;
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
                continue;
            };
            drop(queue);
            // A job that panics takes no thread along.
            let _ = catch_unwind(AssertUnwindSafe(work));
            queue = self.queue();
            if let Some(share) = share {
                share.taken.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The first job for which its connection has a thread left, which is taken.
    fn next(&mut self) -> Option<Job> {
        let may = |job: &Job| job.share.as_ref().is_none_or(|share| !share.is_taken());
        let at = self.jobs.iter().position(may)?;
        let job = self.jobs.remove(at)?;
        if let Some(share) = &job.share {
            share.taken.fetch_add(1, Ordering::AcqRel);
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn as_much_waits_as_may_and_what_nobody_wants_is_not_kept_and_not_done() {
        let pool = Pool::new(1, 2);
        let ((begins, began), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
        assert!(pool.try_run(move || {
            begins.send(()).unwrap();
            let _ = ends.recv();
        }));
        began.recv().unwrap();
        let (to, done) = mpsc::channel();
        let offer = |name: &'static str| {
            let (to, input) = (to.clone(), Arc::new(name));
            let kept = Arc::downgrade(&input);
            pool.offer(None, input, move |input| to.send(*input).unwrap()).map(|wanted| (wanted, kept))
        };
        let (first, second) = (offer("first").unwrap(), offer("second").unwrap());
        assert!(offer("third").is_none() && !pool.try_run(|| ()), "at the limit");
        let (wanted, kept) = second;
        drop(wanted);
        assert!(kept.upgrade().is_none(), "what it was about is not kept");
        let _fourth = offer("fourth").unwrap();
        assert!(offer("fifth").is_none(), "at the limit again");
        let follows = to.clone();
        pool.run(&Share::new(1), move || follows.send("follows").unwrap());
        drop((end, to));
        assert_eq!([(); 3].map(|()| done.recv().unwrap()), ["first", "fourth", "follows"]);
        drop(first);
    }

    /// One client's calls took every thread, and those of all others waited until one of them had ended.
    #[test]
    fn a_connection_takes_its_share_of_the_threads_and_no_more() {
        let (pool, one, other) = (Pool::new(4, 8), Share::new(2), Share::new(2));
        let (to, begun) = mpsc::channel();
        let begin = |share: &Arc<Share>, name: &'static str| {
            let (to, (end, ends)) = (to.clone(), mpsc::channel::<()>());
            pool.run(share, move || {
                to.send(name).unwrap();
                let _ = ends.recv();
            });
            end
        };
        let first = begin(&one, "first");
        assert_eq!(begun.recv().unwrap(), "first");
        let _second = begin(&one, "second");
        assert_eq!(begun.recv().unwrap(), "second", "at the limit");
        let _third = begin(&one, "third");
        let _others = begin(&other, "another's");
        assert_eq!(begun.recv().unwrap(), "another's", "over it");
        assert!(begun.recv_timeout(Duration::from_millis(100)).is_err());
        drop(first);
        assert_eq!(begun.recv().unwrap(), "third", "once one has ended");
    }

    /// Where the system gave no thread, whoever asked for one panicked, and what was asked for counted as done by somebody.
    #[test]
    fn without_a_thread_nothing_is_taken_in_and_with_one_it_does_all() {
        static GIVEN: AtomicUsize = AtomicUsize::new(0);
        let one = |work: Work| match GIVEN.fetch_add(1, Ordering::AcqRel) {
            1 => spawn(work),
            _ => Err(io::Error::from(io::ErrorKind::WouldBlock)),
        };
        let (pool, (to, done)) = (Pool::with(4, 8, one), mpsc::channel());
        let tell = |number: usize| {
            let to = to.clone();
            move || to.send(number).unwrap()
        };
        assert!(!pool.try_run(tell(0)), "there is none");
        assert!(pool.try_run(tell(1)) && pool.try_run(tell(2)) && pool.try_run(tell(3)));
        assert_eq!([(); 3].map(|()| done.recv().unwrap()), [1, 2, 3]);
        let offered = pool.offer(None, 4, move |number| to.send(number).unwrap());
        assert!(offered.is_some() && done.recv().unwrap() == 4);
    }
}
