//! Requests at the same moment, and a witness that is killed at any: never two signatures that can't both be true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use counterfoil_tlog::{Checkpoint, Hash, MemoryTree, TreeHead, UnverifiedNote};
use counterfoil_witness::origin_id;

#[test]
fn of_two_requests_with_one_old_size_one_wins_and_the_state_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(open(1, &dir.path().join("state"), &[ORIGIN]).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::SeqCst) {
                let size = running.witness.seen()[0].latest.map_or(0, |(size, _)| size.0);
                assert!(size >= last, "from {last} back to {size}");
                last = size;
            }
        });
        let _done = Done(&done);
        let mut size = 0;
        for round in 0..40 {
            let (near, far) = (tree(0, size + 1), tree(0, size + 2 + round % 5));
            let both = Barrier::new(2);
            let race = |tree: &MemoryTree| {
                let body = request(ORIGIN, tree, size).to_string();
                both.wait();
                post(&running.url(), body.as_bytes()).status
            };
            let statuses = std::thread::scope(|scope| {
                let near = scope.spawn(|| race(&near));
                [race(&far), near.join().unwrap()]
            });
            assert!(matches!(statuses, [200, 409] | [409, 200]), "round {round}: {statuses:?}");
            size = running.witness.seen()[0].latest.unwrap().0.0;
            let winner = if statuses[0] == 200 { far.size() } else { near.size() };
            assert_eq!(size, winner.0);
        }
    });
}

/// Ends the watching thread, also if the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

const CHILD: &str = "COUNTERFOIL_TEST_WITNESS_STATE";

/// Not a test by itself: what the test below starts, to kill it.
#[test]
fn a_witness_to_be_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let running = Running::start(open(1, dir.as_ref(), &[ORIGIN]).unwrap());
    println!("\nlistening {}", running.url());
    std::thread::sleep(Duration::from_secs(120));
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(state: &std::path::Path) -> (Killed, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_witness_to_be_killed", "--nocapture"])
        .env(CHILD, state)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
    (Killed(child), url.expect("it listens"))
}

/// Forks are offered at the same moment while the witness is killed; whatever it cosigned must be one history.
#[test]
fn a_witness_killed_at_any_moment_cosigns_one_history() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    // Every tree that was offered, by its head, so that what the witness shows can be continued.
    let mut offered: BTreeMap<(u64, Hash), Vec<Hash>> = BTreeMap::new();
    let mut cosigned: Vec<TreeHead> = Vec::new();
    let mut current: Vec<Hash> = Vec::new();
    let (started, mut kills, mut answers) = (Instant::now(), 0, 0);
    // On a machine that is busy answers take longer: it is killed later and later, until there were some.
    while (kills < 15 || answers == 0) && started.elapsed() < Duration::from_secs(60) {
        let (mut killed, url) = start(&state);
        let shown = get(&format!("{url}/{}/checkpoint", origin_id(ORIGIN)));
        if shown.status == 200 {
            let note = UnverifiedNote::parse(shown.body.as_bytes()).unwrap();
            let head = Checkpoint::parse(note.text()).unwrap().head();
            cosigned.push(head);
            current = offered[&(head.size.0, head.root)].clone();
        } else {
            assert!(cosigned.is_empty(), "what was cosigned is forgotten");
        }
        // From when on it dies, in microseconds: across the whole of a request.
        let moment = Duration::from_micros(1_500 * kills);
        let forks: Vec<Vec<Hash>> = (0..4)
            .map(|salt| {
                let mut leaves = current.clone();
                leaves.extend((0..=u64::from(salt)).map(|at| leaf(salt, kills * 10 + at)));
                leaves
            })
            .collect();
        let old = current.len() as u64;
        let submit = |leaves: &Vec<Hash>| {
            let tree: MemoryTree = leaves.iter().copied().collect();
            let body = request(ORIGIN, &tree, old).to_string();
            let answer = agent().post(format!("{url}/add-checkpoint")).send(body.as_bytes());
            let is_cosigned = answer.is_ok_and(|answer| {
                answer.status() == 200
                    && answer.into_body().read_to_string().is_ok_and(|body| !body.is_empty())
            });
            is_cosigned.then(|| tree.head())
        };
        let answered: Vec<TreeHead> = std::thread::scope(|scope| {
            let submit = &submit;
            let sent: Vec<_> = forks.iter().map(|leaves| scope.spawn(move || submit(leaves))).collect();
            std::thread::sleep(moment);
            killed.0.kill().unwrap();
            sent.into_iter().filter_map(|sent| sent.join().unwrap()).collect()
        });
        assert!(answered.len() <= 1, "two forks were cosigned at once");
        answers += answered.len();
        cosigned.extend(answered);
        for leaves in forks {
            let head = leaves.iter().copied().collect::<MemoryTree>().head();
            offered.insert((head.size.0, head.root), leaves);
        }
        kills += 1;
    }
    let leaves = |head: &TreeHead| &offered[&(head.size.0, head.root)];
    let last = cosigned.iter().max_by_key(|head| head.size).expect("something was cosigned");
    for head in &cosigned {
        assert!(leaves(last).starts_with(leaves(head)), "{head:?} and {last:?} are no one history");
    }
    assert!(kills >= 5 && answers > 0, "{kills} kills, {answers} answers: it is always killed too early");
    println!("{kills} kills, {answers} answers, {} cosigned", cosigned.len());
}
