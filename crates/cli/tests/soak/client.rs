//! A client of a raw log that believes nothing: it adds entries, and verifies what it reads.

use std::{thread, time::Duration};

use counterfoil_tlog::{
    Hash, LeafIndex, Policy, ProveError, SignedCheckpoint, TlogProof, TreeHead, TreeSize, UnverifiedNote,
    consistency, inclusion, leaf_hash,
    tile::{TilePath, TileReadError, TileReader, WIDTH, decode_entries, entry_bundles},
};
use ureq::Agent;

use crate::{
    processes::Server,
    seen::{Fault, Seen, entry, tick},
};

/// How long one request may take.
const CALL: Duration = Duration::from_secs(30);
/// Before what was not answered is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// A raw log, and all that was seen of it.
pub struct Log<'d> {
    pub server: Server<'d>,
    /// Its key, and its witnesses with their quorum.
    pub policy: Policy,
    pub seen: Seen,
}

/// One client, with connections of its own.
pub struct Client<'l> {
    log: &'l Log<'l>,
    agent: Agent,
}

/// Nobody answered, or only to come back later.
#[derive(Debug)]
struct NotNow;

impl<'l> Client<'l> {
    pub fn new(log: &'l Log<'l>) -> Self {
        Self { log, agent: agent() }
    }

    /// Closes its connections.
    pub fn hang_up(&mut self) {
        self.agent = agent();
    }

    /// Adds an entry; `None` if it has to be added again.
    pub fn add(&self, number: u64) -> Option<()> {
        let index = self.index("/add", number)?;
        self.log.seen.acknowledge(index, number);
        Some(())
    }

    /// Adds an entry and waits for the witnesses; gives its index, or `None` if it has to be added again.
    pub fn add_witnessed(&self, number: u64) -> Option<u64> {
        let index = self.index("/add?promise=witnessed&wait=10000", number)?;
        self.log.seen.acknowledge(index, number);
        Some(index)
    }

    /// Adds an entry that was acknowledged once more: it has to have its first index.
    pub fn add_again(&self, (first, number): (u64, u64)) {
        match self.index("/add", number) {
            Some(index) if index == first => tick(&self.log.seen.repeated),
            Some(index) => self.fault(Fault::Lost, format!("number {number} was entry {first}, now {index}")),
            None => {}
        }
    }

    fn index(&self, path: &str, number: u64) -> Option<u64> {
        let answer = self.ask(path, Some(entry(number).as_bytes()))?;
        let index = std::str::from_utf8(&answer).ok().and_then(|index| index.parse().ok());
        if index.is_none() {
            self.fault(Fault::Unproven, format!("/add answers {}", String::from_utf8_lossy(&answer)));
        }
        index
    }

    /// Reads `/checkpoint` and proves that it follows the last one; by tiles, or by the server's proof.
    pub fn follow(&self, last: &mut TreeHead, by_tiles: bool) -> Option<Vec<u8>> {
        let bytes = self.ask("/checkpoint", None)?;
        let head = self.open(self.held("a checkpoint", UnverifiedNote::parse(&bytes))?)?.checkpoint().head();
        if head.size < last.size {
            self.fault(Fault::Inconsistent, format!("/checkpoint went from {} to {}", last.size, head.size));
        }
        self.are_consistent(last, &head, by_tiles)?;
        *last = head;
        tick(&self.log.seen.followed);
        Some(bytes)
    }

    /// Has the server prove that an acknowledged entry is in the log. If the quorum of witnesses cosigned that tree, it has to
    /// be consistent with the last one that it did. Gives whether it did.
    pub fn prove(&self, (index, number): (u64, u64), last: &mut TreeHead) -> Option<bool> {
        let text = self.ask(&format!("/v1/entries/{index}/tlog-proof"), None)?;
        let proof = self.held("a tlog-proof", TlogProof::parse(&String::from_utf8_lossy(&text)))?;
        let signed = self.open(proof.checkpoint)?;
        let head = signed.checkpoint().head();
        self.includes(&head, (index, number), &proof.inclusion)?;
        let witnessed = self.log.policy.check_quorum(&signed).is_ok();
        if witnessed && head != *last {
            self.are_consistent(last, &head, true)?;
            *last = head;
            tick(&self.log.seen.witnessed);
        }
        Some(witnessed)
    }

    /// Finds an acknowledged entry in its bundle, and proves from tiles that it is in the tree `head`.
    pub fn read(&self, (index, number): (u64, u64), head: &TreeHead) -> Option<()> {
        if index >= head.size.0 {
            return None;
        }
        let width = u64::from(WIDTH);
        let (place, within) = (index / width, usize::try_from(index % width).unwrap());
        let here = u16::try_from((head.size.0 - place * width).min(width)).unwrap();
        let entries = self.entries(&TilePath::entries(place, here).unwrap())?;
        if entries.get(within).map(Vec::as_slice) != Some(entry(number).as_bytes()) {
            self.fault(Fault::Lost, format!("number {number} is not at entry {index} of its bundle"));
        }
        let proof = self.made(inclusion::prove(LeafIndex(index), head.size, &self.tiles(head.size)))?;
        self.includes(head, (index, number), &proof)
    }

    /// Every entry of the log, as far as a checkpoint goes.
    pub fn all(&self, size: TreeSize) -> impl Iterator<Item = Vec<u8>> {
        entry_bundles(size).flat_map(|path| {
            let tried = (0..100).find_map(|_| self.entries(&path));
            tried.unwrap_or_else(|| panic!("{path} can't be read"))
        })
    }

    fn entries(&self, path: &TilePath) -> Option<Vec<Vec<u8>>> {
        let bytes = self.ask(&format!("/{path}"), None)?;
        let entries = self.held("an entry bundle", decode_entries(path, &bytes))?;
        Some(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// That both are of one tree; `None` if that could not be asked.
    fn are_consistent(&self, one: &TreeHead, other: &TreeHead, by_tiles: bool) -> Option<()> {
        let (old, new) = if one.size <= other.size { (one, other) } else { (other, one) };
        if old.size.0 == 0 {
            return Some(());
        }
        let proof = match by_tiles {
            true => self.made(consistency::prove(old.size, new.size, &self.tiles(new.size)))?,
            false => self.consistency_proof(old.size, new.size)?,
        };
        if let Err(why) = consistency::verify(old, new, &proof) {
            self.fault(Fault::Inconsistent, format!("{} and {}: {why}", old.size, new.size));
        }
        Some(())
    }

    fn consistency_proof(&self, old: TreeSize, new: TreeSize) -> Option<Vec<Hash>> {
        let answer = self.ask(&format!("/v1/proofs/consistency?old={old}&new={new}"), None)?;
        let answer: serde_json::Value = self.held("a consistency proof", serde_json::from_slice(&answer))?;
        let hashes = answer["proof"].as_array().into_iter().flatten();
        hashes.map(|hash| Hash::from_base64(hash.as_str()?)).collect()
    }

    fn includes(&self, head: &TreeHead, (index, number): (u64, u64), proof: &[Hash]) -> Option<()> {
        let leaf = leaf_hash(entry(number).as_bytes());
        self.held("an inclusion proof", inclusion::verify(leaf, LeafIndex(index), proof, head))?;
        tick(&self.log.seen.proven);
        Some(())
    }

    /// A note as a checkpoint of this log, with what cosignatures it has.
    fn open(&self, note: UnverifiedNote) -> Option<SignedCheckpoint> {
        let signed = self.held("a checkpoint", self.log.policy.open(note))?;
        self.log.seen.head(&signed.checkpoint().head());
        Some(signed)
    }

    fn tiles(&self, size: TreeSize) -> TileReader<impl Fn(&TilePath) -> Result<Vec<u8>, NotNow>> {
        TileReader::new(size, |path| self.ask(&format!("/{path}"), None).ok_or(NotNow))
    }

    /// A proof made from tiles; `None` if tiles could not be asked for.
    fn made<T>(&self, made: Result<T, ProveError<TileReadError<NotNow>>>) -> Option<T> {
        match made {
            Err(ProveError::Read(TileReadError::Fetch(NotNow))) => None,
            made => self.held("a proof from tiles", made.map_err(|why| format!("{why:?}"))),
        }
    }

    /// What holds; it is a fault if it does not.
    fn held<T>(&self, what: &str, result: Result<T, impl std::fmt::Display>) -> Option<T> {
        result.map_err(|why| self.fault(Fault::Unproven, format!("{what}: {why}"))).ok()
    }

    /// The body of a 200; `None` if nobody answers, or only to come back later.
    fn ask(&self, path: &str, body: Option<&[u8]>) -> Option<Vec<u8>> {
        let (turn, url) = (self.log.server.turn(), format!("{}{path}", self.log.server.url()));
        let answer = match body {
            Some(body) => self.agent.post(&url).send(body),
            None => self.agent.get(&url).call(),
        };
        let answer =
            answer.and_then(|mut answer| Ok((answer.status().as_u16(), answer.body_mut().read_to_vec()?)));
        let met_no_restart = turn.is_some() && turn == self.log.server.turn();
        match answer {
            Ok((200, body)) => return Some(body),
            Ok((429, _)) => tick(&self.log.seen.busy),
            Ok((status, body)) if status < 500 => {
                let body = String::from_utf8_lossy(&body);
                self.fault(Fault::Unproven, format!("{path} is answered {status}: {body}"));
            }
            // The witnesses are down or late, which they may be.
            Ok((504, _)) => {}
            _ if met_no_restart => {
                tick(&self.log.seen.unanswered);
                eprintln!("{path}: {answer:?}");
            }
            _ => {}
        }
        thread::sleep(PAUSE);
        None
    }

    fn fault(&self, fault: Fault, what: String) {
        self.log.seen.fault(fault, what);
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(CALL)).proxy(None);
    config.build().new_agent()
}
