//! Programs under strace, which counts their system calls, and lets one of them fail or be the last.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use counterfoil_testkit::Effort;

use crate::common::Desk;

/// A program whose calls are counted.
pub struct Program {
    /// On which files, below its directory.
    pub files: Vec<String>,
    /// How it is started in a directory.
    pub command: fn(&Desk, &str) -> Command,
}

impl Program {
    /// The server, by the files of its log.
    pub fn server() -> Self {
        let files = [
            "log/journal",
            "lock/checkpoint.lock",
            "log/scratch/entries",
            "log/scratch/batches",
            "log/scratch/tile",
            "log/tile/0/000",
            "log/tile/entries/000",
            "log/index/db",
            "log",
            "lock",
        ];
        let command = |desk: &Desk, directory: &str| {
            desk.command(&["serve", "-C", directory, "--listen", "127.0.0.1:0"])
        };
        Self { files: files.map(str::to_owned).to_vec(), command }
    }
}

/// The calls that change files, or open them.
const CALLS: &str = "pwrite64,write,fdatasync,fsync,rename,renameat2,openat,mkdir,ftruncate";

/// An occurrence of a system call on a file, counted for each thread from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub file: String,
    pub call: String,
    pub number: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.file, self.call, self.number)
    }
}

/// What happens at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but an error: the device failed.
    Failed,
    /// Nothing but an error: no room is left.
    Full,
    /// The process is killed before the call.
    Killed,
}

impl Fault {
    pub const ALL: [Self; 3] = [Self::Failed, Self::Full, Self::Killed];

    fn option(self) -> &'static str {
        match self {
            Self::Failed => "error=EIO",
            Self::Full => "error=ENOSPC",
            Self::Killed => "signal=SIGKILL",
        }
    }
}

/// Whether strace may trace here. If not, that is said, and is a failure where everything has to be tested.
pub fn is_possible() -> bool {
    let mut trace = Command::new("strace");
    trace.args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null());
    let possible = trace.status().is_ok_and(|status| status.success());
    if !possible {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "strace is missing or may not trace");
        eprintln!("NOT TESTED: system calls that fail; strace is missing or may not trace here.");
    }
    possible
}

/// Starts the program, lets `work` use it, and stops it; gives every occurrence of a call.
pub fn count(program: &Program, desk: &Desk, name: &str, work: impl FnOnce(&str)) -> Vec<Point> {
    let trace = run(program, desk, name, &program.files, &[], work);
    let mut threads: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        for file in &program.files {
            let path = desk.path(name).join(file).display().to_string();
            if arguments.contains(&format!("{path}>")) || arguments.contains(&format!("{path}\"")) {
                *threads.entry((file, call, thread)).or_default() += 1;
            }
        }
    }
    let mut most: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for ((file, call, _), count) in threads {
        let most = most.entry((file, call)).or_default();
        *most = count.max(*most);
    }
    let points = most.into_iter().flat_map(|((file, call), most)| {
        (1..=most).map(move |number| Point { file: file.to_owned(), call: call.to_owned(), number })
    });
    points.collect()
}

/// All faults at all occurrences.
pub fn every(counted: &[Point]) -> Vec<(Point, Fault)> {
    counted.iter().flat_map(|point| Fault::ALL.map(|fault| (point.clone(), fault))).collect()
}

/// All faults at all occurrences in a seeded order, as many as the effort allows: first one for each file and call, of which
/// one in `share` is the usual effort.
pub fn sample(counted: &[Point], share: usize) -> Vec<(Point, Fault)> {
    let mut all = every(counted);
    let mut seeded = Seeded(0x9e37_79b9_7f4a_7c15);
    for at in (1..all.len()).rev() {
        all.swap(at, seeded.below(at + 1));
    }
    let mut kinds = BTreeMap::new();
    all.sort_by_cached_key(|(point, _)| {
        let earlier = kinds.entry((point.file.clone(), point.call.clone())).or_insert(0);
        *earlier += 1;
        *earlier
    });
    let length = all.len();
    all.truncate(Effort::from_env().of(kinds.len().div_ceil(share), length));
    all
}

/// Numbers that are the same in every run.
pub struct Seeded(pub u64);

impl Seeded {
    /// The next, below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// As [`count`], and one occurrence fails; whether it was reached.
pub fn inject(
    program: &Program,
    desk: &Desk,
    name: &str,
    (point, fault): (&Point, Fault),
    work: impl FnOnce(&str),
) -> bool {
    let option = format!("inject={}:{}:when={}", point.call, fault.option(), point.number);
    let trace = run(program, desk, name, std::slice::from_ref(&point.file), &["-e", &option], work);
    trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL")
}

fn run(
    program: &Program,
    desk: &Desk,
    name: &str,
    files: &[String],
    options: &[&str],
    work: impl FnOnce(&str),
) -> String {
    let output = desk.path(&format!("{name}.strace"));
    let directory = desk.path(name);
    let serve = (program.command)(desk, directory.to_str().unwrap());
    let mut strace = Command::new("strace");
    // The program is the child, and strace a process beside it.
    strace.args(["-D", "-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={CALLS}"), "-o"]).arg(&output);
    for file in files {
        strace.arg("-P").arg(directory.join(file));
    }
    strace.args(options);
    let mut child = in_place_of(&serve, strace).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    if let Some(url) = address(&mut stdout) {
        work(&url);
    }
    stop(&mut child);
    // strace holds it open until it has written everything.
    stdout.read_to_end(&mut Vec::new()).unwrap();
    let trace = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
    fs::remove_file(output).unwrap();
    trace
}

/// A program of which strace writes down what its first thread calls; it may be killed before one of these calls is made for this time,
/// counted from 1.
pub fn first_thread(program: &Command, trace: &Path, kill: Option<&(String, usize)>) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-s", "0", "-o"]).arg(trace);
    if let Some((call, number)) = kill {
        strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
    }
    in_place_of(program, strace)
}

/// What a program did for others to see, or to wait for them, from a call on: each call with how often it was made by then.
pub fn steps(trace: &str, from: &str) -> Vec<(String, usize)> {
    const STEPS: [&str; 19] = [
        "clone",
        "clone3",
        "close",
        "connect",
        "exit_group",
        "fdatasync",
        "flock",
        "fsync",
        "futex",
        "getrandom",
        "mkdir",
        "openat",
        "pwrite64",
        "read",
        "recvfrom",
        "rename",
        "sendto",
        "wait4",
        "write",
    ];
    let (mut made, mut steps) = (BTreeMap::<&str, usize>::new(), Vec::new());
    for call in trace.lines().filter_map(|line| Some(line.split_once('(')?.0)) {
        let number = made.entry(call).or_default();
        *number += 1;
        if STEPS.contains(&call) && (call == from || !steps.is_empty()) {
            steps.push((call.to_owned(), *number));
        }
    }
    steps
}

/// strace, with the program that it starts.
fn in_place_of(program: &Command, mut strace: Command) -> Command {
    strace.arg(program.get_program()).args(program.get_args());
    if let Some(dir) = program.get_current_dir() {
        strace.current_dir(dir);
    }
    for (variable, value) in program.get_envs() {
        match value {
            Some(value) => strace.env(variable, value),
            None => strace.env_remove(variable),
        };
    }
    strace
}

fn address(stdout: &mut BufReader<ChildStdout>) -> Option<String> {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    line.trim().strip_prefix("listening on ").map(str::to_owned)
}

/// Asks the program to stop, and waits until it has.
fn stop(child: &mut Child) {
    let _ =
        rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it does not stop");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server that is killed when it goes out of scope.
pub struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server without strace; if it does not come to listen, gives what it said.
pub fn start(desk: &Desk, name: &str) -> Result<(Started, String), String> {
    listening(desk.command(&["serve", "-C", name, "--listen", "127.0.0.1:0"]))
}

/// Starts a server and gives its address; if it does not come to listen, what it said.
pub fn listening(mut command: Command) -> Result<(Started, String), String> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    if let Some(url) = address(&mut stdout) {
        return Ok((Started(child), url));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    Err(said)
}
