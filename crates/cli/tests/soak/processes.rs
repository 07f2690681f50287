//! The processes of the soak, and what the system says of them. They end with the one that started them, however that ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::Desk;

/// How long anything may take before it counts as hanging, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, after which it has to end well.
    Stop,
}

/// A program that listens.
pub struct Process {
    child: Child,
    /// Held open: the program stops when it ends.
    _stdin: Option<ChildStdin>,
    /// Where it listens.
    pub url: String,
}

/// A server of one log, started again and again.
pub struct Server<'d> {
    desk: &'d Desk,
    arguments: Vec<&'static str>,
    process: Mutex<Option<Process>>,
    url: RwLock<String>,
    /// Even while it runs, odd while it does not; grows with each change.
    turn: AtomicU64,
}

impl Process {
    /// Starts a program that says where it listens.
    pub fn start(mut command: Command) -> Result<Self, String> {
        command.arg("--until-stdin-ends").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|why| format!("{command:?}: {why}"))?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(|why| format!("{command:?}: {why}"))?;
        }
        let Some(url) = line.trim().strip_prefix("listening on ") else {
            let _ = child.kill();
            return Err(format!("{command:?} does not listen: {:?}", child.wait()));
        };
        Ok(Self { url: url.to_owned(), child, _stdin: stdin })
    }

    /// Ends it, and waits until it has ended.
    pub fn end(mut self, how: End) {
        if how == End::Kill {
            return;
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let started = Instant::now();
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return assert!(status.success(), "told to stop, it ended with {status}"),
                None => assert!(started.elapsed() < PATIENCE, "told to stop, it goes on"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Bytes of its memory that are resident; 0 where the system does not tell.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    }

    /// The descriptors that it has open; 0 where the system does not tell.
    fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).map_or(0, Iterator::count)
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'d> Server<'d> {
    /// Starts the server of a directory.
    pub fn start(desk: &'d Desk, arguments: Vec<&'static str>) -> Self {
        let (process, url, turn) = (Mutex::new(None), RwLock::default(), AtomicU64::new(1));
        let server = Self { desk, arguments, process, url, turn };
        server.start_again();
        server
    }

    /// Ends it under whatever load there is and starts it again; gives how long that took.
    pub fn restart(&self, how: End) -> Duration {
        let started = Instant::now();
        self.end(how);
        self.start_again();
        started.elapsed()
    }

    /// Ends it.
    pub fn end(&self, how: End) {
        let process = self.process.lock().unwrap().take();
        self.turn.fetch_add(1, Ordering::SeqCst);
        process.expect("it runs").end(how);
    }

    /// Starts it, when it has ended.
    pub fn start_again(&self) {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], self.arguments.as_slice()].concat();
        let process = Process::start(self.desk.command(&arguments)).unwrap_or_else(|why| panic!("{why}"));
        self.url.write().unwrap().clone_from(&process.url);
        *self.process.lock().unwrap() = Some(process);
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    /// Where it listened last.
    pub fn url(&self) -> String {
        self.url.read().unwrap().clone()
    }

    /// Which start this is, if it runs: a request between two equal answers met no restart.
    pub fn turn(&self) -> Option<u64> {
        Some(self.turn.load(Ordering::SeqCst)).filter(|turn| turn % 2 == 0)
    }

    /// Resident bytes of the process that runs.
    pub fn memory(&self) -> u64 {
        self.process.lock().unwrap().as_ref().map_or(0, Process::memory)
    }

    /// Open descriptors of the process that runs.
    pub fn descriptors(&self) -> usize {
        self.process.lock().unwrap().as_ref().map_or(0, Process::descriptors)
    }

    /// Ends it if it runs, whatever state this thread is in.
    pub fn abandon(&self) {
        self.turn.fetch_or(1, Ordering::SeqCst);
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }
}

/// A witness that keeps its address: logs find it by that.
pub struct Witness<'d> {
    desk: &'d Desk,
    process: Option<Process>,
}

impl<'d> Witness<'d> {
    /// Makes a witness of the log with this key and starts it; gives the policy that asks for its cosignatures as well.
    pub fn start(desk: &'d Desk, log: &str) -> (Self, String) {
        let init = ["witness", "init", "w", "--name", "w.example", "--listen", "127.0.0.1:0", "--log", log];
        let made = desk.json(&init);
        let process = Self::run(desk).unwrap_or_else(|why| panic!("{why}"));
        let address = process.url.strip_prefix("http://").unwrap();
        let config = desk.read("w/witness.toml").replace("127.0.0.1:0", address);
        desk.write("w/witness.toml", config);
        let [ed25519, ml_dsa] = [0, 1].map(|key| made["vkeys"][key].as_str().unwrap());
        let policy = format!(
            "log {log}\nwitness one {ed25519} {url}\nwitness two {ml_dsa} {url}\ngroup both all one two\nquorum both\n",
            url = process.url
        );
        (Self { desk, process: Some(process) }, policy)
    }

    /// Ends it and starts it again.
    pub fn restart(&mut self, how: End) {
        self.process.take().expect("it runs").end(how);
        let started = Instant::now();
        // Somebody may have taken the port meanwhile, for a moment.
        while self.process.is_none() {
            match Self::run(self.desk) {
                Ok(process) => self.process = Some(process),
                Err(why) => assert!(started.elapsed() < PATIENCE, "{why}"),
            }
        }
    }

    fn run(desk: &Desk) -> Result<Process, String> {
        Process::start(desk.command(&["witness", "run", "--config", "w/witness.toml"]))
    }
}
