//! The world of the commit protocol: a journal, a lock store, two processes, and what has become known outside.
//!
//! A tree is the list of its batches, and stands for its checkpoint. A batch that is made gets a number of its own, so
//! that two trees are of one history exactly if one is the start of the other. The second that is made is of two frames, each
//! of which is written by itself; only the last is signed.

use std::collections::BTreeSet;
use std::fmt;

use counterfoil_log::plan::{Relation, Start, Step, Tail};

/// Batches that are made at most.
const BATCHES: u8 = 3;
/// Crashes, power cuts and failed syncs at most.
const FAULTS: u8 = 2;

/// What is explored.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// What is done with a new batch.
    pub commit: &'static [Step],
    /// What is done with a batch that is in the journal and not in the lock store.
    pub adopt: &'static [Step],
    /// What start does.
    pub start: fn(Relation) -> Start,
    /// Whether an append fails where something stands, as `Storage` demands.
    pub create_only: bool,
    /// Whether a sync that fails for one process fails for every other that has the file open, as `Storage` demands.
    pub errors_reach_all: bool,
    /// Whether a frame that goes on with a batch is only appended behind the one before it, as `Journal` does.
    pub follows: bool,
    /// Whether every frame of a batch is appended before the next step.
    pub appends_all: bool,
    /// Whether a batch is one only with its last frame.
    pub needs_end: bool,
    /// How many processes there are, one or two.
    pub processes: usize,
}

/// Batches in their order, from 1; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Tree([u8; BATCHES as usize]);

impl Tree {
    fn len(self) -> usize {
        self.0.iter().take_while(|batch| **batch > 0).count()
    }

    fn with(mut self, batch: u8) -> Self {
        self.0[self.len()] = batch;
        self
    }

    fn begins(self, other: Self) -> bool {
        self.0[..self.len()] == other.0[..self.len()]
    }

    /// How many frames its last batch has.
    fn frames(self) -> usize {
        match self.0[..self.len()] {
            [.., 2] => 2,
            _ => 1,
        }
    }

    /// How many frames all of it has.
    fn slots(self) -> usize {
        self.len() + usize::from(self.0.contains(&2))
    }

    /// A frame of its last batch.
    fn frame(self, part: usize) -> Frame {
        match self.is_half() {
            true => Frame { tree: self.other_half(), ends: false },
            false => Frame { tree: self, ends: part + 1 == self.frames() },
        }
    }

    /// The tree that the first of the last batch's two frames makes if it is taken for all of it; or back.
    fn other_half(mut self) -> Self {
        self.0[self.len() - 1] ^= HALF;
        self
    }

    fn is_half(self) -> bool {
        self.0.iter().any(|batch| batch & HALF > 0)
    }
}

/// In the number of a batch: that it is the half of one.
const HALF: u8 = 0x80;

/// One frame of the batch that a tree ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Frame {
    tree: Tree,
    /// Whether it is the last, with the checkpoint.
    ends: bool,
}

/// What stands at one place of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Slot {
    /// A whole frame; `None` if it is torn.
    frame: Option<Frame>,
    disk: Disk,
}

/// What becomes of a write when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Disk {
    /// It may be lost. A sync makes it durable.
    Dirty,
    /// It may be lost, and a sync does nothing: one has failed.
    Clean,
    Durable,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Process {
    #[default]
    Down,
    /// It starts, and has read the lock store.
    Loaded(Tree),
    /// It has judged, and is about to cut what stands at this place, from its end, so many slots as it saw them.
    Cutting { locked: Tree, at: usize, tail: [Option<Frame>; 2], left: usize },
    /// It has nothing to do.
    Idle(Tree),
    /// It has taken so many steps with the tree that a batch makes, and the next for so many of its frames.
    Busy { adopts: bool, step: usize, part: usize, locked: Tree, tree: Tree },
}

/// Everything, at one moment.
#[derive(Clone)]
pub struct World {
    protocol: Protocol,
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    journal: Vec<Slot>,
    lock: Tree,
    processes: [Process; 2],
    /// Whether the next sync of a process fails because another one's has.
    must_fail: [bool; 2],
    /// Checkpoints that readers saw.
    published: BTreeSet<Tree>,
    /// Batches whose submitters were answered.
    acknowledged: BTreeSet<u8>,
    /// Checkpoints that were durable in the journal: a copy of it may be anywhere.
    signed: BTreeSet<Tree>,
    batches: u8,
    faults: u8,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
    }
}

impl Eq for World {}

impl std::hash::Hash for World {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.state.hash(hasher);
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// To process 0 or 1.
    Of(usize, Act),
    /// Both processes end, and of the journal's slots that were not durable those from this on are lost.
    PowerCut { kept: usize, torn: bool },
}

/// What a process does, or what happens to it.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Load,
    Judge(Option<Start>),
    Cut,
    Step(Step),
    Fails(Step),
    Dies,
    DiesWriting,
}

/// What happens, what the world is then, and what is wrong with that.
pub type Event = (Action, World, Option<String>);

impl World {
    /// A new log, and two processes that have not started.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, state: State::default() }
    }

    /// Everything that can happen next.
    pub fn actions(&self) -> Vec<Event> {
        let mut events: Vec<Event> = (0..self.protocol.processes).flat_map(|who| self.acts(who)).collect();
        if self.state.faults < FAULTS {
            for (kept, torn, journal) in self.state.power_cuts() {
                let mut next = self.clone();
                let faults = next.state.faults + 1;
                let (processes, must_fail) = Default::default();
                next.state = State { journal, processes, must_fail, faults, ..next.state };
                events.push((Action::PowerCut { kept, torn }, next, None));
            }
        }
        events
    }

    /// What is wrong with the world as it is, whatever happens next.
    pub fn broken(&self) -> Option<String> {
        let state = &self.state;
        let contradict = |trees: &BTreeSet<Tree>| {
            trees.iter().any(|a| trees.iter().any(|b| !a.begins(*b) && !b.begins(*a)))
        };
        if contradict(&state.published) {
            return Some("two published checkpoints that contradict each other".to_owned());
        }
        if contradict(&state.signed) {
            return Some("two signatures that contradict each other, both durable".to_owned());
        }
        // Whatever ends everything now, the log is opened again, and everything is in it.
        let now = std::iter::once(state.journal.clone());
        now.chain(state.power_cuts().map(|(.., journal)| journal)).find_map(|journal| self.lost(&journal))
    }

    /// What is lost if a process finds this journal.
    fn lost(&self, journal: &[Slot]) -> Option<String> {
        let state = &self.state;
        let survey = match survey(journal, state.lock, self.protocol.needs_end) {
            Ok(survey) => survey,
            Err(why) => return Some(format!("can't be opened any more: {why}")),
        };
        let recovered = match (self.protocol.start)(survey.relation) {
            Start::Clean | Start::Cut => state.lock,
            Start::Adopt => survey.tree,
            Start::Refuse(why) => return Some(format!("can't be opened any more: {why:?}")),
        };
        let lost = state.acknowledged.iter().find(|batch| !recovered.0.contains(batch));
        if let Some(batch) = lost {
            return Some(format!("batch {batch} was acknowledged and is lost"));
        }
        let forked = state.published.iter().find(|tree| !tree.begins(recovered))?;
        Some(format!("{forked} was published and is not in the log"))
    }

    /// What a process can do, and what can happen to it.
    fn acts(&self, who: usize) -> Vec<Event> {
        let process = self.state.processes[who];
        let mut events = vec![match process {
            Process::Down => self.then(who, Act::Load, Process::Loaded(self.state.lock)),
            Process::Loaded(locked) => self.judge(who, locked),
            Process::Cutting { locked, at, tail, left } => self.cut(who, locked, at, tail, left),
            Process::Idle(_) if self.state.batches == BATCHES => return self.crashes(who),
            Process::Idle(locked) => {
                let mut next = self.clone();
                next.state.batches += 1;
                let tree = locked.with(next.state.batches);
                next.step(who, Busy { adopts: false, step: 0, part: 0, locked, tree })
            }
            Process::Busy { adopts, step, part, locked, tree } => {
                self.clone().step(who, Busy { adopts, step, part, locked, tree })
            }
        }];
        if process != Process::Down {
            events.extend(self.crashes(who));
        }
        events
    }

    fn then(&self, who: usize, act: Act, process: Process) -> Event {
        let mut next = self.clone();
        next.state.becomes(who, process);
        (Action::Of(who, act), next, None)
    }

    /// A process that has read the lock store reads the journal, maybe after others have changed both.
    fn judge(&self, who: usize, locked: Tree) -> Event {
        let Ok(Survey { relation, tree }) = survey(&self.state.journal, locked, self.protocol.needs_end)
        else {
            return self.then(who, Act::Judge(None), Process::Down);
        };
        let start = (self.protocol.start)(relation);
        let process = match start {
            Start::Clean => Process::Idle(locked),
            Start::Cut => {
                let at = locked.slots();
                let seen = &self.state.journal[at..];
                let mut tail = [None; 2];
                seen.iter().zip(&mut tail).for_each(|(slot, seen)| *seen = slot.frame);
                Process::Cutting { locked, at, tail, left: seen.len() }
            }
            Start::Adopt => Process::Busy { adopts: true, step: 0, part: 0, locked, tree },
            Start::Refuse(_) => Process::Down,
        };
        let (action, mut next, _) = self.then(who, Act::Judge(Some(start)), process);
        let broken = match start {
            // Everything up to the lock store's checkpoint is replayed, which publishes it.
            Start::Clean | Start::Adopt => next.state.publish(locked),
            Start::Cut | Start::Refuse(_) => None,
        };
        (action, next, broken)
    }

    /// Cuts one slot off the journal's end, if it is what was judged.
    fn cut(&self, who: usize, locked: Tree, at: usize, tail: [Option<Frame>; 2], left: usize) -> Event {
        let (journal, left) = (&self.state.journal, left - 1);
        let is_same = journal.len() == at + left + 1 && journal[at + left].frame == tail[left];
        if !is_same {
            return self.then(who, Act::Cut, Process::Down);
        }
        let goes_on = Process::Cutting { locked, at, tail, left };
        let process = if left > 0 { goes_on } else { Process::Idle(locked) };
        let (action, mut next, _) = self.then(who, Act::Cut, process);
        next.state.journal.truncate(at + left);
        let broken = if left > 0 { None } else { next.state.publish(locked) };
        (action, next, broken)
    }

    /// Takes the next step of a plan that can be noticed outside, and those before it that can't.
    fn step(mut self, who: usize, busy: Busy) -> Event {
        let Busy { adopts, mut step, part, locked, tree } = busy;
        let plan = if adopts { self.protocol.adopt } else { self.protocol.commit };
        let is_quiet = |step: Step| matches!(step, Step::Derive | Step::Index);
        while step + 1 < plan.len() && is_quiet(plan[step]) {
            step += 1;
        }
        let taken = plan[step];
        let (succeeds, broken) = match taken {
            Step::Sync if self.state.must_fail[who] => (false, None),
            _ => self.state.take(taken, part, locked, tree, self.protocol),
        };
        let is_by_frame = matches!(taken, Step::Append | Step::Rewrite);
        let process = match succeeds {
            // Nothing is tried again.
            false => Process::Down,
            true if is_by_frame && self.protocol.appends_all && part + 1 < tree.frames() => {
                Process::Busy { adopts, step, part: part + 1, locked, tree }
            }
            true if step + 1 == plan.len() => Process::Idle(tree),
            true => Process::Busy { adopts, step: step + 1, part: 0, locked, tree },
        };
        self.state.becomes(who, process);
        let act = if succeeds { Act::Step(taken) } else { Act::Fails(taken) };
        (Action::Of(who, act), self, broken)
    }

    /// How a process can end.
    fn crashes(&self, who: usize) -> Vec<Event> {
        if self.state.faults == FAULTS {
            return Vec::new();
        }
        let mut dead = self.clone();
        dead.state.faults += 1;
        dead.state.becomes(who, Process::Down);
        let mut events = vec![(Action::Of(who, Act::Dies), dead.clone(), None)];
        let next = match self.state.processes[who] {
            Process::Busy { adopts, step, part, tree, .. } => {
                let plan = if adopts { self.protocol.adopt } else { self.protocol.commit };
                let goes_on = !self.protocol.follows || self.state.goes_on(tree, part);
                goes_on.then_some((plan[step], tree.slots() - tree.frames() + part))
            }
            Process::Idle(tree) if self.state.batches < BATCHES => {
                Some((self.protocol.commit[0], tree.slots()))
            }
            _ => None,
        };
        match next {
            Some((Step::Append, at)) if self.state.journal.len() == at => {
                dead.state.journal.push(Slot { frame: None, disk: Disk::Dirty });
                events.push((Action::Of(who, Act::DiesWriting), dead, None));
            }
            Some((Step::Sync, _)) => {
                let dirty = dead.state.journal.iter_mut().filter(|slot| slot.disk == Disk::Dirty);
                dirty.for_each(|slot| slot.disk = Disk::Clean);
                let other = 1 - who;
                dead.state.must_fail[other] =
                    self.protocol.errors_reach_all && dead.state.processes[other] != Process::Down;
                events.push((Action::Of(who, Act::Fails(Step::Sync)), dead, None));
            }
            _ => {}
        }
        events
    }
}

/// A process at a step of a plan.
struct Busy {
    adopts: bool,
    step: usize,
    part: usize,
    locked: Tree,
    tree: Tree,
}

impl State {
    fn becomes(&mut self, who: usize, process: Process) {
        self.processes[who] = process;
        self.must_fail[who] &= process != Process::Down;
    }

    /// Takes a step, or its part for one frame; whether it succeeds, and what is wrong with it.
    fn take(
        &mut self,
        step: Step,
        part: usize,
        locked: Tree,
        tree: Tree,
        protocol: Protocol,
    ) -> (bool, Option<String>) {
        let Protocol { create_only, follows, .. } = protocol;
        let at = tree.slots() - tree.frames() + part;
        let slot = Slot { frame: Some(tree.frame(part)), disk: Disk::Dirty };
        match step {
            Step::Append if follows && !self.goes_on(tree, part) => return (false, None),
            Step::Append if self.journal.len() == at => self.journal.push(slot),
            Step::Append if create_only || self.journal.len() < at => return (false, None),
            Step::Append => self.journal[at] = slot,
            Step::Rewrite => match self.journal.get_mut(at) {
                Some(found) if found.frame == slot.frame => {
                    if found.disk == Disk::Clean {
                        found.disk = Disk::Dirty;
                    }
                }
                _ => return (false, None),
            },
            Step::Sync => {
                for slot in self.journal.iter_mut().filter(|slot| slot.disk == Disk::Dirty) {
                    slot.disk = Disk::Durable;
                    self.signed.extend(slot.frame.filter(|frame| frame.ends).map(|frame| frame.tree));
                }
            }
            Step::Swap if self.lock == locked => self.lock = tree,
            Step::Swap => return (false, None),
            Step::Publish => return (true, self.publish(tree)),
            Step::Answer => {
                self.acknowledged.insert(tree.0[tree.len() - 1]);
                if !tree.begins(self.lock) {
                    return (true, Some("acknowledged before the lock store has it".to_owned()));
                }
            }
            Step::Derive | Step::Index => {}
        }
        (true, None)
    }

    /// Whether what stands before a frame is the one that it continues, if it does that.
    fn goes_on(&self, tree: Tree, part: usize) -> bool {
        let at = tree.slots() - tree.frames() + part;
        part == 0 || self.journal.get(at - 1).is_some_and(|slot| slot.frame == Some(tree.frame(part - 1)))
    }

    /// Readers see a checkpoint. Who lost the compare-and-swap has none to show that the lock store holds.
    fn publish(&mut self, tree: Tree) -> Option<String> {
        self.published.insert(tree);
        if tree.is_half() {
            return Some("published, and nobody signed it".to_owned());
        }
        (!tree.begins(self.lock)).then(|| "published before the lock store has it".to_owned())
    }

    /// What a power cut can leave of the journal: everything before a slot that was not durable, and maybe a part of that.
    fn power_cuts(&self) -> impl Iterator<Item = (usize, bool, Vec<Slot>)> {
        let first = self.journal.iter().position(|slot| slot.disk != Disk::Durable);
        let cuts = first.unwrap_or(self.journal.len())..=self.journal.len();
        let torn = Slot { frame: None, disk: Disk::Durable };
        cuts.flat_map(move |kept| {
            let durable = |slot: &Slot| Slot { disk: Disk::Durable, ..*slot };
            let image: Vec<Slot> = self.journal[..kept].iter().map(durable).collect();
            let with_torn = (kept < self.journal.len()).then(|| {
                let image = image.iter().copied().chain([torn]).collect();
                (kept, true, image)
            });
            [(kept, false, image)].into_iter().chain(with_torn)
        })
    }
}

/// What start reads of journal and lock store.
struct Survey {
    relation: Relation,
    /// The tree of the journal.
    tree: Tree,
}

/// Reads the journal beside a checkpoint of the lock store.
fn survey(journal: &[Slot], locked: Tree, needs_end: bool) -> Result<Survey, &'static str> {
    let mut tree = Tree::default();
    let mut unlocked = (locked == tree).then_some(0);
    let mut begun: Option<Frame> = None;
    let (mut intact, mut whole) = (0, 0);
    for frame in journal.iter().map_while(|slot| slot.frame) {
        intact += 1;
        let goes_on = begun.is_none_or(|begun| begun.tree == frame.tree && !begun.ends && frame.ends);
        if frame.tree.len() != tree.len() + 1 || !tree.begins(frame.tree) || !goes_on {
            return Err("a frame does not follow on the one before it");
        }
        let is_half = !frame.ends && !needs_end && journal.len() == intact;
        if !frame.ends && !is_half {
            begun = Some(frame);
            continue;
        }
        begun = None;
        whole = intact;
        tree = if is_half { frame.tree.other_half() } else { frame.tree };
        unlocked = if tree == locked { Some(0) } else { unlocked.map(|count| count + 1) };
    }
    let tail = match journal.len() {
        length if length == whole => Tail::Nothing,
        length if length <= intact + 1 => Tail::Torn,
        _ => Tail::Long,
    };
    let relation = Relation { unlocked, is_behind: locked.len() > tree.len(), tail };
    Ok(Survey { relation, tree })
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0[..self.len()])
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(who, act) => write!(f, "{} {act}", ["A", "B"][*who]),
            Self::PowerCut { kept, torn: true } => write!(f, "power cut, {kept} frames and a part are left"),
            Self::PowerCut { kept, torn: false } => write!(f, "power cut, {kept} frames are left"),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load => f.write_str("starts and reads the lock store"),
            Self::Judge(None) => f.write_str("reads the journal, which is damaged, and ends"),
            Self::Judge(Some(start)) => write!(f, "reads the journal: {start:?}"),
            Self::Cut => f.write_str("cuts the tail that it saw, if it is still that"),
            Self::Step(step) => write!(f, "{step:?}"),
            Self::Fails(step) => write!(f, "{step:?} fails, and it ends"),
            Self::Dies => f.write_str("dies"),
            Self::DiesWriting => f.write_str("dies in the middle of Append"),
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "journal:")?;
        for Slot { frame, disk } in &self.state.journal {
            match frame {
                Some(Frame { tree, ends: true }) => write!(f, " {tree} {disk:?};")?,
                Some(Frame { tree, ends: false }) => write!(f, " {tree} begun, {disk:?};")?,
                None => write!(f, " torn {disk:?};")?,
            }
        }
        write!(f, " lock store: {}; acknowledged: {:?}", self.state.lock, self.state.acknowledged)
    }
}
