//! A log that this process writes.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use counterfoil_tlog::leaf_hash;

use crate::application::Application;
use crate::config::Config;
use crate::error::{CreateError, Fatal, OpenError};
use crate::handle::{Handle, Job, Outcome};
use crate::limits;
use crate::reader::Reader;
use crate::sequencer::Writer;
use crate::start;

/// A log that this process writes. Its one writer thread runs as long as this value lives.
///
/// ```
/// use counterfoil_log::{CheckpointKeys, Config, Log, Outcome, Raw};
/// use counterfoil_tlog::{SeedSigner, inclusion};
///
/// let dir = tempfile::tempdir()?;
/// let signer = SeedSigner::ed25519("example.com/log", &[7; 32])?;
/// let keys = CheckpointKeys::new("example.com/log", vec![Box::new(signer)], vec![]);
/// let config = Config::embedded(&dir.path().join("log"), &dir.path().join("lock"), keys, Box::new(|| 0))?;
///
/// let log = Log::create(config, Raw, b"the first entry".to_vec())?;
/// let outcomes = log.handle().add(vec![b"another".to_vec()])?;
/// let [Outcome::Added(added)] = &outcomes[..] else { panic!("{outcomes:?}") };
///
/// let head = added.checkpoint.head;
/// let proof = log.handle().reader().inclusion_proof(added.index, head.size)?;
/// inclusion::verify(added.leaf, added.index, &proof, &head)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Log<A: Application> {
    handle: Handle<A>,
    queue: SyncSender<Job<A>>,
    thread: Option<JoinHandle<()>>,
}

impl<A: Application> Log<A> {
    /// Starts a log whose first batch is this entry, sealed.
    ///
    /// # Errors
    /// [`CreateError::Refused`] if the application does not admit it, [`OpenError::Exists`] if there is a log already.
    pub fn create(config: Config, app: A, first: A::Entry) -> Result<Self, CreateError<A::Refusal>> {
        let mut writer = start::create(config, app)?;
        let length = first.as_ref().len();
        if length > limits::ENTRY_BYTES {
            return Err(OpenError::FirstTooLong { length }.into());
        }
        let mut outcome = None;
        let answer = |outcomes: Vec<Vec<_>>| outcome = outcomes.into_iter().flatten().next();
        writer.batch(&[vec![(leaf_hash(first.as_ref()), first)]], answer).map_err(OpenError::from)?;
        match outcome {
            Some(Outcome::Refused(refusal)) => Err(CreateError::Refused(refusal)),
            _ => Ok(Self::run(writer)?),
        }
    }

    /// Starts a log without entries. Readers see a signed checkpoint of the empty tree, whose root is SHA-256 of nothing
    /// (RFC 9162, section 2.1.1).
    ///
    /// # Errors
    /// [`OpenError::Exists`] if there is a log already.
    pub fn create_empty(config: Config, app: A) -> Result<Self, OpenError> {
        let mut writer = start::create(config, app)?;
        writer.begin_empty()?;
        Self::run(writer)
    }

    /// Opens a log: verifies all of it, takes up what a crash interrupted, and replays it into `app`.
    ///
    /// # Errors
    /// [`OpenError`], which says what does not fit and what to do.
    pub fn open(config: Config, app: A) -> Result<Self, OpenError> {
        Self::run(start::open(config, app)?)
    }

    /// Opens a log as [`open`](Self::open) does; but where its journal, its lock store and what others have seen do not fit
    /// together, it is opened to be read: every batch that was locked for certain, and nothing else. Then
    /// [`Reader::read_only`] says why, and nothing can be added. It holds no lock and writes nothing into the log's directory,
    /// so that the log can be recovered meanwhile.
    ///
    /// # Errors
    /// [`OpenError`] where nothing can be told to be safe to show, or for what is wrong in other ways.
    pub fn open_or_read(config: Config, app: A) -> Result<Self, OpenError> {
        Self::run(start::open_or_read(config, app)?)
    }

    /// Submits to the log and reads it.
    pub fn handle(&self) -> Handle<A> {
        self.handle.clone()
    }

    /// Finishes what was submitted, and ends the writer thread. The same happens when the value is dropped.
    ///
    /// The files stay locked until the last [`Handle`] and [`Reader`] are gone too.
    ///
    /// # Errors
    /// Why the log had stopped before.
    pub fn close(mut self) -> Result<(), Arc<Fatal>> {
        self.stop();
        self.handle.failure().map_or(Ok(()), Err)
    }

    fn run(writer: Writer<A>) -> Result<Self, OpenError> {
        let (queue, jobs) = mpsc::sync_channel(limits::QUEUE_JOBS);
        let handle = Handle::new(queue.clone(), Reader { shared: Arc::clone(&writer.shared) });
        let thread = std::thread::Builder::new().name("log writer".into());
        let thread = thread.spawn(move || writer.run(&jobs)).map_err(OpenError::Thread)?;
        Ok(Self { handle, queue, thread: Some(thread) })
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // If the thread is gone, there is nobody to tell.
            let _ = self.queue.send(Job::Stop);
            if thread.join().is_err() {
                self.handle.reader().shared.fail(Fatal::Panicked);
            }
        }
    }
}

impl<A: Application> Drop for Log<A> {
    fn drop(&mut self) {
        self.stop();
    }
}
