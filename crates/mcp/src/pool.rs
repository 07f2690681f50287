//! Threads that work on calls: as many as are needed, up to a bound; what is over it waits.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// A bounded number of threads and what waits for them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    most: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// A pool of `most` threads, none of which is there before there is work.
    pub(crate) fn new(most: usize) -> Self {
        Self { shared: Arc::new(Shared { queue: Mutex::default(), more: Condvar::new(), most }) }
    }

    /// Has something done.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.queue();
        queue.jobs.push_back(Box::new(job));
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
            let _ = catch_unwind(AssertUnwindSafe(job));
            queue = self.queue();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
