//! Opening: finds out what is on disk, refuses what would fork the log, and replays the rest.
//!
//! First the whole journal is read and every checkpoint in it compared with the tree of the entries before it; then
//! the last is compared with the lock store. Only if that is as a crash may have left it, anything is written.

use std::fs;
use std::io::Write as _;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use counterfoil_tlog::{LeafIndex, TreeHead, TreeSize, leaf_hash};

use crate::application::{Application, Position};
use crate::backlog::{Backlog, Indexer};
use crate::config::{Config, KnownKeys};
use crate::error::{BoxError, Fatal, OpenError};
use crate::index::Index;
use crate::journal::{Found, Frame, Journal, MAX_FRAME_BYTES, read_checkpoint, read_frame};
use crate::plan::{self, Relation, Start, Tail, Why};
use crate::reader::{LogCheckpoint, Published, Shared};
use crate::scratch::Scratch;
use crate::sequencer::{Batch, Roots, Writer};
use crate::storage::free_path;
use crate::tiles::Tiles;
use crate::tree::Edge;

/// Opens the log, which must exist.
pub(crate) fn open<A: Application>(mut config: Config, app: A) -> Result<Writer<A>, OpenError> {
    let (survey, locked) = examine(&mut config)?;
    if survey.last.is_none() {
        return Err(OpenError::NotCreated { dir: config.dir });
    }
    replay(config, app, &survey, locked)
}

/// Opens the log, which must not exist, without its first frame.
pub(crate) fn create<A: Application>(mut config: Config, app: A) -> Result<Writer<A>, OpenError> {
    let (survey, locked) = examine(&mut config)?;
    if survey.last.is_some() {
        return Err(OpenError::Exists { dir: config.dir });
    }
    cut_tail(&config, &survey)?;
    replay(config, app, &survey, locked)
}

/// What the journal holds.
#[derive(Default)]
struct Survey {
    /// Where the last intact frame ends.
    end: u64,
    /// The length of the file.
    length: u64,
    /// Why what follows is no frame, if something does.
    broken: Option<&'static str>,
    time: u64,
    last: Option<LogCheckpoint>,
    /// The number of batches after the one in the lock store; `None` if none is that one.
    unlocked: Option<u64>,
}

impl Survey {
    fn size(&self) -> TreeSize {
        self.last.as_ref().map_or(TreeSize(0), |last| last.head.size)
    }
}

/// Reads journal and lock store, and judges how they relate. An unfinished batch at the end of the journal is cut off, if
/// there are whole ones before it.
fn examine(config: &mut Config) -> Result<(Survey, Option<LogCheckpoint>), OpenError> {
    let text = config.lock.load()?.map(String::from_utf8).transpose();
    let text = text.map_err(|_| foreign_lock("it is not UTF-8".into()))?;
    let known = Arc::clone(&config.keys.known);
    let locked = text.map(|text| known.open(&text)).transpose().map_err(foreign_lock)?;
    let survey = survey(config, &known, locked.as_ref())?;
    // In a journal without a whole batch, what is there is cut only to create a log.
    if judge(&survey, locked.as_ref())? == Start::Cut && survey.last.is_some() {
        cut_tail(config, &survey)?;
    }
    Ok((survey, locked))
}

fn foreign_lock(source: BoxError) -> OpenError {
    OpenError::ForeignLock { source }
}

/// Reads every frame, and checks each checkpoint against the tree of the entries.
fn survey(config: &Config, known: &KnownKeys, locked: Option<&LogCheckpoint>) -> Result<Survey, OpenError> {
    let storage = config.journal.as_ref();
    let length = storage.len().map_err(|io| read_failed(config, io))?;
    let unlocked = locked.is_none().then_some(0);
    let mut survey = Survey { length, unlocked, ..Survey::default() };
    let mut edge = Edge::default();
    loop {
        match read_frame(storage, survey.end, length).map_err(|io| read_failed(config, io))? {
            Found::End => return Ok(survey),
            Found::Broken(reason) => {
                survey.broken = Some(reason);
                return Ok(survey);
            }
            Found::Frame(frame) => {
                let bad = |source| OpenError::BadFrame { offset: survey.end, source };
                let checkpoint = check(&frame, &mut edge, survey.time, known).map_err(bad)?;
                survey.end += frame.len();
                survey.time = frame.time();
                let is_locked = locked == Some(&checkpoint);
                survey.unlocked = if is_locked { Some(0) } else { survey.unlocked.map(|count| count + 1) };
                survey.last = Some(checkpoint);
            }
        }
    }
}

/// Checks that a frame follows on the tree and time before it, and that its checkpoint is signed and that of the tree.
fn check(frame: &Frame, edge: &mut Edge, time: u64, known: &KnownKeys) -> Result<LogCheckpoint, BoxError> {
    if frame.first() != edge.size().0 {
        return Err(format!("it starts with entry {}, not {}", frame.first(), edge.size()).into());
    }
    if frame.time() <= time {
        return Err(format!("its time {} is not after {time}", frame.time()).into());
    }
    for (_, entry) in frame.entries() {
        edge.push(leaf_hash(entry), &mut Vec::new());
    }
    let checkpoint = known.open(frame.checkpoint())?;
    let computed = edge.head();
    if computed != Some(checkpoint.head) {
        let TreeHead { size, root } = checkpoint.head;
        return Err(format!("it signs {root} for {size} entries; its entries give {computed:?}").into());
    }
    Ok(checkpoint)
}

/// Asks the plan how journal and lock store relate, and says so to a person if no crash leaves that.
fn judge(survey: &Survey, locked: Option<&LogCheckpoint>) -> Result<Start, OpenError> {
    let (journal, locked_size) = (survey.size(), locked.map_or(TreeSize(0), |locked| locked.head.size));
    let offset = survey.end;
    let length = survey.length - offset;
    let tail = match length {
        0 => Tail::Nothing,
        length if length <= MAX_FRAME_BYTES as u64 => Tail::Torn,
        _ => Tail::Long,
    };
    // The lock store may hold the checkpoint of the empty tree: it is ahead of a journal that holds none.
    let is_behind = locked_size > journal || (locked.is_some() && survey.last.is_none());
    let why = match plan::start(Relation { unlocked: survey.unlocked, is_behind, tail }) {
        Start::Refuse(why) => why,
        start => return Ok(start),
    };
    let text = |checkpoint: Option<&LogCheckpoint>| checkpoint.map_or_else(String::new, |it| it.text.clone());
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

/// Cuts off what an interrupted write left, and keeps a copy of it.
fn cut_tail(config: &Config, survey: &Survey) -> Result<(), OpenError> {
    if survey.length == survey.end {
        return Ok(());
    }
    let path = free_path(&config.dir.join("journal.cut"));
    let fail = |doing| {
        let path = path.clone();
        move |io| OpenError::Files { doing, path, io }
    };
    let mut tail = vec![0; (survey.length - survey.end) as usize];
    config.journal.read_at(survey.end, &mut tail).map_err(|io| read_failed(config, io))?;
    fs::create_dir_all(&config.dir).map_err(fail("create the directory of"))?;
    let mut copy = fs::File::create_new(&path).map_err(fail("create"))?;
    copy.write_all(&tail).and_then(|()| copy.sync_all()).map_err(fail("write"))?;
    Ok(config.journal.cut(survey.end, &tail).map_err(|error| Fatal::journal("cut", error))?)
}

/// Replays the journal into the application, and derives what is missing. A batch that is not locked is committed.
fn replay<A: Application>(
    config: Config,
    app: A,
    survey: &Survey,
    locked: Option<LogCheckpoint>,
) -> Result<Writer<A>, OpenError> {
    // None is less than any: the checkpoint of the empty tree is not locked by an empty lock store.
    let (locked_size, end) = (locked.as_ref().map(|locked| locked.head.size), survey.end);
    let mut writer = prepare(config, app, locked)?;
    let storage = Arc::clone(&writer.shared.storage);
    let indexed = indexed(&writer)?;
    while writer.journal.end() < end {
        let offset = writer.journal.end();
        let damaged = |reason| {
            let (intact, locked) = (writer.edge.size(), locked_size.unwrap_or(TreeSize(0)));
            OpenError::Damaged { offset, reason, intact, locked }
        };
        let frame = match read_frame(storage.as_ref(), offset, end) {
            Ok(Found::Frame(frame)) => frame,
            Ok(Found::Broken(reason)) => return Err(damaged(reason)),
            Ok(Found::End) => return Err(damaged("it became shorter")),
            Err(_) => return Err(damaged("it can't be read any more")),
        };
        let is_locked = Some(frame.size()) <= locked_size.map(|size| size.0);
        let batch = fold(&mut writer, frame, is_locked, indexed)?;
        writer.perform(if is_locked { plan::REPLAY } else { plan::ADOPT }, batch, || ())?;
    }
    writer.indexer.backlog().drain()?;
    // The index may have failed on the way.
    if writer.shared.index.watermark().is_err() {
        writer.indexer.backlog().rebuild()?;
    }
    Ok(writer)
}

/// A writer with nothing in it.
fn prepare<A: Application>(
    config: Config,
    app: A,
    locked: Option<LogCheckpoint>,
) -> Result<Writer<A>, OpenError> {
    let Config { dir, journal, lock, keys, clock, on_commit } = config;
    let path = dir.join("scratch");
    let scratch = Scratch::create(&path).map_err(|io| OpenError::Files { doing: "create", path, io })?;
    let nothing = Published {
        checkpoint: Arc::new(LogCheckpoint { text: String::new(), head: TreeHead::EMPTY }),
        edge: Edge::default(),
        batches: 0,
    };
    let shared = Arc::new(Shared {
        storage: Arc::clone(&journal),
        journal_path: dir.join("journal"),
        tiles: Tiles::new(&dir, scratch.temporary_tile()),
        scratch,
        index: Index::open(dir.join("index")).map_err(Fatal::from)?,
        backlog: Backlog::default(),
        known: Arc::clone(&keys.known),
        published: Mutex::new(Arc::new(nothing)),
        grown: Condvar::new(),
        failure: OnceLock::new(),
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

/// Folds a frame into application and tree, as making it did. The index may have all up to `indexed`.
fn fold<A: Application>(
    writer: &mut Writer<A>,
    frame: Frame,
    is_locked: bool,
    indexed: TreeSize,
) -> Result<Batch, OpenError> {
    let (mut full, mut leaves) = (Vec::new(), Vec::new());
    for (index, (_, entry)) in (frame.first()..).zip(frame.entries()) {
        let at = Position { index: LeafIndex(index), time: frame.time() };
        let roots = Roots::new(&writer.edge, &full, &writer.shared);
        let replayed = writer.app.replay(entry, at, &roots);
        roots.finish().map_err(Fatal::from)?;
        replayed.map_err(|source| OpenError::Replay { index: at.index, source })?;
        let leaf = leaf_hash(entry);
        leaves.push(leaf);
        writer.edge.push(leaf, &mut full);
    }
    let opened = writer.shared.known.open(frame.checkpoint());
    let bad = |source| OpenError::BadFrame { offset: writer.journal.end(), source };
    let checkpoint = Arc::new(opened.map_err(bad)?);
    if writer.edge.head() != Some(checkpoint.head) {
        return Err(bad("it changed while it was read".into()));
    }
    let known = checkpoint.head.size <= indexed;
    Ok(Batch { frame, leaves, checkpoint, full, known, is_new: !is_locked })
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

fn read_failed(config: &Config, io: std::io::Error) -> OpenError {
    OpenError::Files { doing: "read", path: config.dir.join("journal"), io }
}
