//! Threads that work on calls: as many as are needed, up to a bound; what is over it waits.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
};

/// Something to be done, if it is still wanted once it is its turn.
struct Job {
    work: Box<dyn FnOnce() + Send>,
    /// What it is done with is dropped by whoever wants it no more.
    wanted: Option<Weak<dyn Any + Send + Sync>>,
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
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// A pool of `most` threads, none of which is there before there is work; `queued` jobs may wait for them.
    pub(crate) fn new(most: usize, queued: usize) -> Self {
        Self { shared: Arc::new(Shared { queue: Mutex::default(), more: Condvar::new(), most, queued }) }
    }

    /// Has something done that follows from what was taken, whatever waits: there is no more of it than of that.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.push(self.shared.queue(), Job { work: Box::new(work), wanted: None });
    }

    /// Has something done; `false` if as much waits already as may.
    pub(crate) fn try_run(&self, work: impl FnOnce() + Send + 'static) -> bool {
        self.room().map(|queue| self.push(queue, Job { work: Box::new(work), wanted: None })).is_some()
    }

    /// Has something done with an input for as long as whoever wants it has what is returned; nothing if as much waits already as may.
    pub(crate) fn offer<T: Send + 'static>(
        &self,
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
        self.push(queue, Job { work, wanted: Some(wanted) });
        Some(Wanted { _input: input })
    }

    /// The queue, if there is room in it; what nobody wants any more makes some.
    fn room(&self) -> Option<MutexGuard<'_, Queue>> {
        let mut queue = self.shared.queue();
        if queue.jobs.len() >= self.shared.queued {
            queue.jobs.retain(|job| job.wanted.as_ref().is_none_or(|wanted| wanted.strong_count() > 0));
        }
        (queue.jobs.len() < self.shared.queued).then_some(queue)
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, job: Job) {
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() || queue.threads >= self.shared.most {
            self.shared.more.notify_one();
            return;
        }
        queue.threads += 1;
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || shared.work());
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue();
        loop {
            let Some(job) = queue.jobs.pop_front() else {
                queue.idle += 1;
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
                continue;
            };
            drop(queue);
            // A job that panics takes no thread along.
            let _ = catch_unwind(AssertUnwindSafe(job.work));
            queue = self.queue();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc;

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
            pool.offer(input, move |input| to.send(*input).unwrap()).map(|wanted| (wanted, kept))
        };
        let (first, second) = (offer("first").unwrap(), offer("second").unwrap());
        assert!(offer("third").is_none() && !pool.try_run(|| ()), "at the limit");
        let (wanted, kept) = second;
        drop(wanted);
        assert!(kept.upgrade().is_none(), "what it was about is not kept");
        let _fourth = offer("fourth").unwrap();
        assert!(offer("fifth").is_none(), "at the limit again");
        let follows = to.clone();
        pool.run(move || follows.send("follows").unwrap());
        drop((end, to));
        assert_eq!([(); 3].map(|()| done.recv().unwrap()), ["first", "fourth", "follows"]);
        drop(first);
    }
}
