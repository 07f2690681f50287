//! Work on several threads whose results come back in the order in which it was given.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use crate::limits;

/// Gives each of `items` to `work` on one of `jobs` threads, and the results in order to `take` on this one.
///
/// At most [`limits::AHEAD`] items are under way for each thread. `context` makes what a thread keeps between items.
///
/// # Errors
/// The first error of `items` or of `take`; nothing is taken after it.
pub(crate) fn in_order<C, T: Send, R: Send, E>(
    jobs: NonZeroUsize,
    items: impl Iterator<Item = Result<T, E>>,
    context: impl Fn() -> C + Sync,
    work: impl Fn(&mut C, T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let (work, context) = (&work, &context);
    let (give, given) = channel::<(T, Sender<R>)>();
    let given = Mutex::new(given);
    thread::scope(|scope| {
        // Dropped when this closure ends, however it ends: then the threads end too.
        let give = give;
        for _ in 0..jobs.get() {
            scope.spawn(|| {
                let mut own = context();
                while let Some((item, done)) = next(&given) {
                    // Whoever waited for it may have given up.
                    let _ = done.send(work(&mut own, item));
                }
            });
        }
        let mut under_way: VecDeque<Receiver<R>> = VecDeque::new();
        let mut oldest = |under_way: &mut VecDeque<Receiver<R>>| match under_way.pop_front().map(|r| r.recv())
        {
            Some(Ok(result)) => take(result),
            // A thread that died has panicked, and the scope passes that on.
            Some(Err(_)) | None => Ok(()),
        };
        for item in items {
            let (done, result) = channel();
            let _ = give.send((item?, done));
            under_way.push_back(result);
            if under_way.len() >= jobs.get() * limits::AHEAD {
                oldest(&mut under_way)?;
            }
        }
        while !under_way.is_empty() {
            oldest(&mut under_way)?;
        }
        Ok(())
    })
}

/// The next piece of work; `None` once there is none to come.
fn next<T>(given: &Mutex<Receiver<T>>) -> Option<T> {
    given.lock().ok()?.recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        for jobs in [1, 2, 7] {
            let jobs = NonZeroUsize::new(jobs).unwrap();
            let items = || (0..1_000).map(Ok::<u64, u64>);
            let mut seen = Vec::new();
            let all = in_order(
                jobs,
                items(),
                || (),
                |(), item| item * 2,
                |double| {
                    seen.push(double);
                    Ok(())
                },
            );
            assert_eq!(all, Ok(()));
            assert!(seen.iter().copied().eq((0..1_000).map(|item| item * 2)));
            let stopped = in_order(
                jobs,
                items(),
                || (),
                |(), item| item,
                |item| {
                    if item == 500 { Err(item) } else { Ok(()) }
                },
            );
            assert_eq!(stopped, Err(500));
        }
    }
}
