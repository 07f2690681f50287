//! Opening: finds out what is on disk, refuses what would fork the log, and replays the rest.
//!
//! First the whole journal is read and every checkpoint in it compared with the tree of the entries before it; then
//! the last is compared with the lock store, and with what others have seen. Only if that is as a crash may have left it,
//! anything is written. Otherwise what was locked for certain may still be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use counterfoil_tlog::{Hash, LeafIndex, TreeHead, TreeSize};

use crate::application::{Application, Position};
use crate::backlog::{Backlog, Indexer};
use crate::config::{Claim, Config, KnownKeys, Observed};
use crate::error::{BoxError, Fatal, OpenError};
use crate::index::Index;
use crate::journal::{Found, Frame, Journal, MAX_FRAME_BYTES, read_checkpoint, read_frame};
use crate::lock::{LockError, LockStore};
use crate::plan::{self, Relation, Start, Step, Tail, Why};
use crate::reader::{LogCheckpoint, Published, ReadOnly, Shared};
use crate::scratch::Scratch;
use crate::sequencer::{Batch, Roots, Writer};
use crate::storage::{FileStorage, Storage, free_path};
use crate::tiles::Tiles;
use crate::tree::Edge;

/// Opens the log, which must exist.
pub(crate) fn open<A: Application>(mut config: Config, app: A) -> Result<Writer<A>, OpenError> {
    let found = examine(&mut config)?;
    let survey = found.take_up(&config)?;
    go_on(config, app, survey)
}

/// Opens the log, which must exist, to read it if it may not be written.
pub(crate) fn open_or_read<A: Application>(mut config: Config, app: A) -> Result<Writer<A>, OpenError> {
    let mut found = examine(&mut config)?;
    match found.safe_to_read() {
        Some(safe) => read(config, app, safe),
        None => {
            let survey = found.take_up(&config)?;
            go_on(config, app, survey)
        }
    }
}

fn go_on<A: Application>(config: Config, app: A, survey: Survey) -> Result<Writer<A>, OpenError> {
    if survey.last.is_none() {
        return Err(OpenError::NotCreated { dir: config.dir });
    }
    replay(config, app, survey.end, survey.locked, None)
}

/// Opens the log, which must not exist, without its first frame.
pub(crate) fn create<A: Application>(mut config: Config, app: A) -> Result<Writer<A>, OpenError> {
    let survey = examine(&mut config)?.take_up(&config)?;
    if survey.last.is_some() {
        return Err(OpenError::Exists { dir: config.dir });
    }
    cut_tail(&config.dir, config.journal.as_ref(), &survey)?;
    replay(config, app, survey.end, survey.locked, None)
}

/// Opens for reading what was locked for certain. Both locks are let go, and what is derived lies elsewhere.
fn read<A: Application>(config: Config, app: A, safe: Safe) -> Result<Writer<A>, OpenError> {
    let Config { dir, journal, lock, keys, clock, .. } = config;
    drop((journal, lock));
    let journal = Arc::new(FileStorage::open_read_only(&dir, "journal")?);
    let derived = tempfile::Builder::new().prefix("counterfoil-read-only-").tempdir();
    let derived = derived.map_err(|io| OpenError::Files {
        doing: "create a directory in",
        path: std::env::temp_dir(),
        io,
    })?;
    let Safe { end, checkpoint, why } = safe;
    let config = Config {
        dir,
        journal,
        lock: Box::new(NoLock),
        keys,
        clock,
        on_commit: None,
        observed: Vec::new(),
        ask: None,
    };
    replay(config, app, end, Some(checkpoint), Some(ReadOnly { why: Arc::new(why), derived }))
}

/// What the journal holds, and the lock store.
#[derive(Default)]
pub(crate) struct Survey {
    /// Where the last whole batch ends.
    pub end: u64,
    /// Where the last intact frame ends, if its batch has an end or not.
    pub intact: u64,
    /// The length of the file.
    pub length: u64,
    /// Why what follows is no batch, if something does.
    broken: Option<&'static str>,
    /// Log time of the last batch.
    pub time: u64,
    pub last: Option<LogCheckpoint>,
    /// The number of batches after the one in the lock store; `None` if none is that one.
    pub unlocked: Option<u64>,
    /// Where the last batch ends that was locked for certain, and its checkpoint: the one in the lock store, or one that
    /// another follows.
    safe: Option<(u64, LogCheckpoint)>,
    /// Where the batch of the lock store ends.
    pub locked_end: Option<u64>,
    /// The tree of all whole batches.
    pub edge: Edge,
    /// The roots at the sizes that others know of, as far as the journal goes.
    pub roots: BTreeMap<u64, Hash>,
    /// What the lock store holds.
    pub locked: Option<LogCheckpoint>,
}

impl Survey {
    /// The number of entries.
    pub fn size(&self) -> TreeSize {
        self.last.as_ref().map_or(TreeSize(0), |last| last.head.size)
    }

    /// How the tree of a checkpoint relates to the journal's.
    pub fn place(&self, head: TreeHead) -> Placed {
        match self.roots.get(&head.size.0) {
            Some(root) if *root == head.root => Placed::Within,
            Some(_) => Placed::Elsewhere,
            None => Placed::Ahead,
        }
    }
}

/// How a tree relates to the journal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// The journal's tree begins with it.
    Within,
    /// It is larger; whether it begins with the journal's can't be told.
    Ahead,
    /// It is another tree.
    Elsewhere,
}

/// What was found, and what follows from it.
pub(crate) struct Examined {
    survey: Survey,
    verdict: Result<Start, OpenError>,
}

/// What may be read of a log that may not be written.
struct Safe {
    end: u64,
    checkpoint: LogCheckpoint,
    why: OpenError,
}

impl Examined {
    /// What may be written on. An unfinished batch at the end of the journal is cut off, if there are whole ones before it.
    fn take_up(self, config: &Config) -> Result<Survey, OpenError> {
        // In a journal without a whole batch, what is there is cut only to create a log.
        if self.verdict? == Start::Cut && self.survey.last.is_some() {
            cut_tail(&config.dir, config.journal.as_ref(), &self.survey)?;
        }
        Ok(self.survey)
    }

    /// What may be shown, if the log may not be written. Nothing may where two histories were signed, or where the journal
    /// was never locked.
    fn safe_to_read(&mut self) -> Option<Safe> {
        let is_one_history = match self.verdict.as_ref().err()? {
            OpenError::Behind { .. }
            | OpenError::LockBehind { .. }
            | OpenError::LongTail { .. }
            | OpenError::Overtaken { .. } => true,
            OpenError::Damaged { .. } => self
                .survey
                .locked
                .as_ref()
                .is_none_or(|locked| self.survey.place(locked.head) != Placed::Elsewhere),
            _ => false,
        };
        let (end, checkpoint) = if is_one_history { self.survey.safe.take()? } else { return None };
        let Err(why) = std::mem::replace(&mut self.verdict, Ok(Start::Clean)) else { return None };
        Some(Safe { end, checkpoint, why })
    }
}

/// Reads journal and lock store, and judges how they and what others have seen relate. Nothing is written.
pub(crate) fn examine(config: &mut Config) -> Result<Examined, OpenError> {
    let survey = survey(config)?;
    let verdict = judge(&survey).and_then(|start| {
        config.observed.iter().try_for_each(|observed| not_overtaken(&survey, observed))?;
        if let (Some(ask), Some(locked)) = (&mut config.ask, &survey.locked) {
            ask(locked).into_iter().try_for_each(|claim| not_contradicted(&survey, claim))?;
        }
        Ok(start)
    });
    Ok(Examined { survey, verdict })
}

/// Checks that what somebody has seen is in the journal.
fn not_overtaken(survey: &Survey, observed: &Observed) -> Result<(), OpenError> {
    let (who, theirs) = (observed.who.clone(), &observed.checkpoint);
    match survey.place(theirs.head) {
        Placed::Within => Ok(()),
        Placed::Ahead => Err(OpenError::Overtaken { who, theirs: theirs.head.size, ours: survey.size() }),
        Placed::Elsewhere => {
            let journal = text(survey.last.as_ref());
            Err(OpenError::Diverged { who, size: theirs.head.size, theirs: theirs.text.clone(), journal })
        }
    }
}

/// Checks that what somebody says is not more than the journal has.
fn not_contradicted(survey: &Survey, claim: Claim) -> Result<(), OpenError> {
    match claim {
        Claim::Size { who, size } if size > survey.size() => {
            Err(OpenError::Overtaken { who, theirs: size, ours: survey.size() })
        }
        Claim::Size { .. } => Ok(()),
        Claim::OtherTree { who, size } => {
            let theirs = "it shows no checkpoint, and says so\n".to_owned();
            Err(OpenError::Diverged { who, size, theirs, journal: text(survey.last.as_ref()) })
        }
    }
}

fn foreign_lock(source: BoxError) -> OpenError {
    OpenError::ForeignLock { source }
}

/// Reads the lock store and every frame, and checks each checkpoint against the tree of the entries.
pub(crate) fn survey(config: &mut Config) -> Result<Survey, OpenError> {
    let text = config.lock.load()?.map(String::from_utf8).transpose();
    let text = text.map_err(|_| foreign_lock("it is not UTF-8".into()))?;
    let known = &config.keys.known;
    let locked = text.map(|text| known.open(&text)).transpose().map_err(foreign_lock)?;
    let seen = config.observed.iter().map(|observed| &observed.checkpoint).chain(&locked);
    let sizes: BTreeSet<u64> = seen.map(|checkpoint| checkpoint.head.size.0).collect();
    survey_journal(&config.dir, config.journal.as_ref(), known, locked, &sizes)
}

/// Reads every frame, and checks each checkpoint against the tree of the entries. Notes the roots at `sizes`.
pub(crate) fn survey_journal(
    dir: &Path,
    storage: &dyn Storage,
    known: &KnownKeys,
    locked: Option<LogCheckpoint>,
    sizes: &BTreeSet<u64>,
) -> Result<Survey, OpenError> {
    let read_failed = |io| OpenError::Files { doing: "read", path: dir.join("journal"), io };
    let length = storage.len().map_err(read_failed)?;
    let unlocked = locked.is_none().then_some(0);
    let mut survey = Survey { length, unlocked, locked, ..Survey::default() };
    let empty = sizes.contains(&0).then_some((0, TreeHead::EMPTY.root));
    survey.roots.extend(empty);
    let mut begun: Option<Begun> = None;
    // Where the frames with the checkpoints `last` and `safe` start.
    let (mut last_at, mut safe_at) = (0, 0);
    let broken = loop {
        let frame = match read_frame(storage, survey.intact, length).map_err(read_failed)? {
            Found::Frame(frame) => frame,
            Found::End => break begun.is_some().then_some("its batch has no end"),
            Found::Broken(reason) => break Some(reason),
        };
        let offset = survey.intact;
        let bad = |source| OpenError::BadFrame { offset, source };
        follows(&frame, survey.edge.size(), survey.time, begun.as_ref()).map_err(bad)?;
        let mut batch = begun.take().unwrap_or_else(|| Begun {
            edge: survey.edge.clone(),
            time: frame.time(),
            roots: vec![],
        });
        for leaf in frame.leaves() {
            survey.edge.push(leaf, &mut Vec::new());
            if sizes.contains(&survey.edge.size().0) {
                batch.roots.extend(survey.edge.head().map(|head| (head.size.0, head.root)));
            }
        }
        survey.intact += frame.len();
        if frame.is_continued() {
            begun = Some(batch);
            continue;
        }
        let checkpoint = agreeing(&frame, &survey.edge, known).map_err(bad)?;
        survey.roots.extend(batch.roots);
        // Another batch was only appended after the one before it was locked.
        if let Some(before) = survey.last.take() {
            survey.safe = Some((survey.end, before));
            safe_at = last_at;
        }
        survey.end = survey.intact;
        survey.time = frame.time();
        let is_locked = survey.locked.as_ref() == Some(&checkpoint);
        if is_locked {
            survey.locked_end = Some(survey.end);
            survey.safe = Some((survey.end, checkpoint.clone()));
            safe_at = offset;
        }
        survey.unlocked = if is_locked { Some(0) } else { survey.unlocked.map(|count| count + 1) };
        survey.last = Some(checkpoint);
        last_at = offset;
    };
    survey.broken = broken;
    // Each one gives the root of what is before it, so whoever signed these two signed all that is shown or written on.
    let safe = survey.safe.as_ref().map(|(_, safe)| safe);
    for (checkpoint, offset) in [(safe, safe_at), (survey.last.as_ref(), last_at)] {
        let opened = checkpoint.map(|checkpoint| known.open(&checkpoint.text)).transpose();
        opened.map_err(|source| OpenError::BadFrame { offset, source })?;
    }
    if let Some(begun) = begun {
        survey.edge = begun.edge;
    }
    Ok(survey)
}

/// A batch whose end was not read yet.
struct Begun {
    /// The tree before it.
    edge: Edge,
    time: u64,
    /// What is noted of it.
    roots: Vec<(u64, Hash)>,
}

/// Checks that a frame follows on the tree and on the time before it, or goes on with a batch.
fn follows(frame: &Frame, size: TreeSize, time: u64, begun: Option<&Begun>) -> Result<(), BoxError> {
    if frame.first() != size.0 {
        return Err(format!("it starts with entry {}, not {size}", frame.first()).into());
    }
    match begun {
        Some(begun) if frame.time() != begun.time => {
            Err(format!("its time {} is not {}, that of its batch", frame.time(), begun.time).into())
        }
        None if frame.time() <= time => Err(format!("its time {} is not after {time}", frame.time()).into()),
        Some(_) | None => Ok(()),
    }
}

/// Checks that the checkpoint of a frame is that of the tree.
fn agreeing(frame: &Frame, edge: &Edge, known: &KnownKeys) -> Result<LogCheckpoint, BoxError> {
    let checkpoint = known.read(frame.checkpoint())?;
    let computed = edge.head();
    if computed != Some(checkpoint.head) {
        let TreeHead { size, root } = checkpoint.head;
        return Err(format!("it signs {root} for {size} entries; its entries give {computed:?}").into());
    }
    Ok(checkpoint)
}

/// Asks the plan how journal and lock store relate, and says so to a person if no crash leaves that.
fn judge(survey: &Survey) -> Result<Start, OpenError> {
    let locked = survey.locked.as_ref();
    let (journal, locked_size) = (survey.size(), locked.map_or(TreeSize(0), |locked| locked.head.size));
    let offset = survey.end;
    let length = survey.length - offset;
    let tail = match survey.length - survey.intact {
        _ if length == 0 => Tail::Nothing,
        torn if torn <= MAX_FRAME_BYTES as u64 => Tail::Torn,
        _ => Tail::Long,
    };
    // The lock store may hold the checkpoint of the empty tree: it is ahead of a journal that holds none.
    let is_behind = locked_size > journal || (locked.is_some() && survey.last.is_none());
    let why = match plan::start(Relation { unlocked: survey.unlocked, is_behind, tail }) {
        Start::Refuse(why) => why,
        start => return Ok(start),
    };
    Err(match why {
        Why::LongTail => OpenError::LongTail { offset, length },
        Why::Damaged => {
            let reason = survey.broken.unwrap_or("it is no frame");
            OpenError::Damaged { offset, reason, intact: journal, locked: locked_size }
        }
        Why::Behind => OpenError::Behind { journal, locked: locked_size },
        Why::Forked => {
            OpenError::Forked { size: locked_size, locked: text(locked), journal: text(survey.last.as_ref()) }
        }
        Why::LockBehind => OpenError::LockBehind { journal, locked: locked_size },
    })
}

fn text(checkpoint: Option<&LogCheckpoint>) -> String {
    checkpoint.map_or_else(String::new, |checkpoint| checkpoint.text.clone())
}

/// Cuts off what an interrupted write left, and keeps a copy of it.
pub(crate) fn cut_tail(dir: &Path, journal: &dyn Storage, survey: &Survey) -> Result<(), OpenError> {
    if survey.length == survey.end {
        return Ok(());
    }
    let path = free_path(&dir.join("journal.cut"));
    let fail = |doing| {
        let path = path.clone();
        move |io| OpenError::Files { doing, path, io }
    };
    let read = |at: u64| {
        let mut piece = vec![0; (survey.length - at).min(MAX_FRAME_BYTES as u64) as usize];
        let unread = |io| OpenError::Files { doing: "read", path: dir.join("journal"), io };
        journal.read_at(at, &mut piece).map_err(unread).map(|()| piece)
    };
    let mut starts: Vec<u64> = (survey.end..survey.length).step_by(MAX_FRAME_BYTES).collect();
    fs::create_dir_all(dir).map_err(fail("create the directory of"))?;
    let mut copy = fs::File::create_new(&path).map_err(fail("create"))?;
    for at in &starts {
        copy.write_all(&read(*at)?).map_err(fail("write"))?;
    }
    copy.sync_all().map_err(fail("write"))?;
    // From its end: what is left if this is interrupted is no batch either.
    while let Some(at) = starts.pop() {
        journal.cut(at, &read(at)?).map_err(|error| Fatal::journal("cut", error))?;
    }
    Ok(())
}

/// Replays the journal into the application, and derives what is missing. A batch that is not locked is committed.
fn replay<A: Application>(
    config: Config,
    app: A,
    end: u64,
    locked: Option<LogCheckpoint>,
    read_only: Option<ReadOnly>,
) -> Result<Writer<A>, OpenError> {
    // None is less than any: the checkpoint of the empty tree is not locked by an empty lock store.
    let locked_size = locked.as_ref().map(|locked| locked.head.size);
    let mut writer = prepare(config, app, locked, read_only)?;
    let indexed = indexed(&writer)?;
    writer.indexer.backlog().add_up();
    while writer.journal.end() < end {
        let batch = next_batch(&writer, end, locked_size, indexed)?;
        let plan = if batch.is_new { plan::ADOPT } else { plan::REPLAY };
        take_up(&mut writer, plan, &batch, locked_size)?;
    }
    writer.indexer.backlog().compare()?;
    Ok(writer)
}

/// A writer with nothing in it.
fn prepare<A: Application>(
    config: Config,
    app: A,
    locked: Option<LogCheckpoint>,
    read_only: Option<ReadOnly>,
) -> Result<Writer<A>, OpenError> {
    let Config { dir, journal, lock, keys, clock, on_commit, .. } = config;
    let journal_path = dir.join("journal");
    // Where what is derived from the journal goes.
    let dir = read_only.as_ref().map_or(dir, |read_only| read_only.derived.path().to_owned());
    let path = dir.join("scratch");
    let scratch = Scratch::create(&path).map_err(|io| OpenError::Files { doing: "create", path, io })?;
    let nothing = Published {
        checkpoint: Arc::new(LogCheckpoint { text: String::new(), head: TreeHead::EMPTY }),
        edge: Edge::default(),
        batches: 0,
    };
    let shared = Arc::new(Shared {
        storage: Arc::clone(&journal),
        journal_path,
        tiles: Tiles::new(&dir, scratch.temporary_tile()),
        scratch,
        index: Index::open(dir.join("index")).map_err(Fatal::from)?,
        backlog: Backlog::default(),
        known: Arc::clone(&keys.known),
        recent: Mutex::default(),
        published: Mutex::new(Arc::new(nothing)),
        grown: Condvar::new(),
        failure: OnceLock::new(),
        read_only,
        queued: AtomicUsize::new(0),
    });
    Ok(Writer {
        app,
        keys,
        lock,
        locked: locked.map(Arc::new),
        clock,
        journal: Journal::new(journal, 0),
        edge: Edge::default(),
        bundle: Vec::new(),
        time: 0,
        indexer: Indexer::start::<A>(&shared, on_commit).map_err(OpenError::Thread)?,
        shared,
    })
}

/// The batch at the journal's end, read up to `end`; the index may have all up to `indexed`.
fn next_batch<A>(
    writer: &Writer<A>,
    end: u64,
    locked: Option<TreeSize>,
    indexed: TreeSize,
) -> Result<Arc<Batch>, OpenError> {
    let start = writer.journal.end();
    let mut offset = start;
    let frame = loop {
        let frame = read_again(writer, offset, end, locked)?;
        if !frame.is_continued() {
            break frame;
        }
        offset += frame.len();
    };
    // What goes into the lock store, or is shown, is verified again; of the others the root suffices.
    let known = &writer.shared.known;
    let is_last = offset + frame.len() >= end;
    let opened = if is_last { known.open(frame.checkpoint()) } else { known.read(frame.checkpoint()) };
    let checkpoint = Arc::new(opened.map_err(|source| OpenError::BadFrame { offset, source })?);
    let known = checkpoint.head.size <= indexed;
    let is_new = Some(checkpoint.head.size) > locked;
    let leaves = frame.leaves();
    Ok(Arc::new(Batch { start, offset, frame, leaves, checkpoint, full: Vec::new(), known, is_new }))
}

/// The frame at `offset`, which was there when the log was surveyed.
fn read_again<A>(
    writer: &Writer<A>,
    offset: u64,
    end: u64,
    locked: Option<TreeSize>,
) -> Result<Frame, OpenError> {
    let reason = match read_frame(writer.shared.storage.as_ref(), offset, end) {
        Ok(Found::Frame(frame)) => return Ok(frame),
        Ok(Found::Broken(reason)) => reason,
        Ok(Found::End) => "it became shorter",
        Err(_) => "it can't be read any more",
    };
    let (intact, locked) = (writer.edge.size(), locked.unwrap_or(TreeSize(0)));
    Err(OpenError::Damaged { offset, reason, intact, locked })
}

/// Takes the steps of a plan with the batch at the journal's end, which is there.
fn take_up<A: Application>(
    writer: &mut Writer<A>,
    plan: &[Step],
    batch: &Arc<Batch>,
    locked: Option<TreeSize>,
) -> Result<(), OpenError> {
    for step in plan {
        if *step != Step::Derive {
            writer.step(*step, batch)?;
            continue;
        }
        while writer.journal.end() < batch.offset {
            let frame = read_again(writer, writer.journal.end(), batch.offset, locked)?;
            fold(writer, &frame, &frame.leaves())?;
        }
        fold(writer, &batch.frame, &batch.leaves)?;
        if writer.edge.head() != Some(batch.checkpoint.head) {
            let source = "it changed while it was read".into();
            return Err(OpenError::BadFrame { offset: batch.offset, source });
        }
    }
    Ok(())
}

/// Folds the frame at the journal's end into application and tree, as making it did, and derives files from it.
fn fold<A: Application>(writer: &mut Writer<A>, frame: &Frame, leaves: &[Hash]) -> Result<(), OpenError> {
    let mut full = Vec::new();
    for ((index, (_, entry)), leaf) in (frame.first()..).zip(frame.entries()).zip(leaves) {
        let at = Position { index: LeafIndex(index), time: frame.time() };
        let roots = Roots::new(&writer.edge, &full, &writer.shared);
        let replayed = writer.app.replay(entry, at, &roots);
        roots.finish().map_err(Fatal::from)?;
        replayed.map_err(|source| OpenError::Replay { index: at.index, source })?;
        writer.edge.push(*leaf, &mut full);
    }
    Ok(writer.derive(frame, &full)?)
}

/// Up to which size the index may have its rows. One that belongs to another journal, or to another way to project, is
/// replaced.
fn indexed<A: Application>(writer: &Writer<A>) -> Result<TreeSize, Fatal> {
    let index = &writer.shared.index;
    let Ok(Some(mark)) = index.watermark() else {
        if !index.is_empty().unwrap_or(false) {
            index.replace()?;
        }
        return Ok(TreeSize(0));
    };
    let text = read_checkpoint(writer.shared.storage.as_ref(), mark.frame).ok().flatten();
    let checkpoint = text.and_then(|text| writer.shared.known.open(&text).ok());
    let is_ours = checkpoint.is_some_and(|checkpoint| checkpoint.head == mark.head);
    if is_ours && mark.projection == A::PROJECTION {
        return Ok(mark.head.size);
    }
    index.replace()?;
    Ok(TreeSize(0))
}

/// Where the lock store would be: a log that is only read never comes to it.
struct NoLock;

impl LockStore for NoLock {
    fn load(&mut self) -> Result<Option<Vec<u8>>, LockError> {
        Err(LockError::Unknown)
    }

    fn replace(&mut self, _: Option<&[u8]>, _: &[u8]) -> Result<(), LockError> {
        Err(LockError::Unknown)
    }
}
