//! Lines to somebody, on a thread of their own: who does not read holds up nobody else.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{limits, message::Id, pool::spawn};

/// Where the messages of a connection go, on one of its sides.
pub(crate) trait Lines: Send + Sync {
    /// Has a message sent; `about` is the request that it came with, where that is known. `false` if nobody will read it.
    fn send(&self, line: &str, about: Option<&Id>) -> bool;

    /// Waits until everything is sent, at most so long.
    fn drain(&self, most: Duration);
}

/// Where lines wait to be written.
pub(crate) struct Writer {
    lines: mpsc::Sender<String>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    /// Writes to `out` until that fails, or the writer is dropped and everything is written.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub(crate) fn new(mut out: Box<dyn Write + Send>) -> io::Result<Self> {
        let (lines, to_write) = mpsc::channel::<String>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        spawn(move || {
            for line in to_write {
                let written = out
                    .write_all(line.as_bytes())
                    .and_then(|()| out.write_all(b"\n"))
                    .and_then(|()| out.flush());
                left.fetch_sub(line.len(), Ordering::AcqRel);
                if written.is_err() {
                    // Who is gone is noticed by what they say no more.
                    return;
                }
            }
        })?;
        Ok(Self { lines, waiting })
    }
}

impl Lines for Writer {
    /// Has a line written. `false` if too much waits already, or nobody is there to read it.
    fn send(&self, line: &str, _: Option<&Id>) -> bool {
        let before = self.waiting.fetch_add(line.len(), Ordering::AcqRel);
        let fits = before == 0 || before.saturating_add(line.len()) <= limits::WAITING_BYTES;
        let sent = fits && self.lines.send(line.to_owned()).is_ok();
        if !sent {
            self.waiting.fetch_sub(line.len(), Ordering::AcqRel);
        }
        sent
    }

    fn drain(&self, most: Duration) {
        let began = Instant::now();
        while self.waiting.load(Ordering::Acquire) > 0 && began.elapsed() < most {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io;

    use super::*;

    /// Somebody who does not read.
    struct Deaf;

    impl Write for Deaf {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            thread::sleep(Duration::from_secs(3_600));
            Ok(0)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_holds_up_nobody_and_takes_no_more_memory_than_that() {
        let writer = Writer::new(Box::new(Deaf)).unwrap();
        let line = "x".repeat(limits::WAITING_BYTES / 4);
        let taken = (0..10).filter(|_| writer.send(&line, None)).count();
        assert_eq!(taken, 4);
        writer.drain(Duration::from_millis(10));
    }
}
