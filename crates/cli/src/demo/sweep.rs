//! What is left when the demo ends, however it ends: nothing that runs, and no file.
//!
//! A destructor does not run in a process that is killed. So a process of its own, the sweeper, holds one end of a pipe whose
//! other end is the demo's: when the pipe closes, the demo is over, and the sweeper clears up.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    error::{Failure, Outcome},
    git::Repository,
    interrupt::Interrupt,
    process,
};

/// What the name of the demo's directory begins with; the sweeper removes no other.
pub const PREFIX: &str = "counterfoil-demo-";
/// The variable that marks what the demo started, and what that started, with the demo's directory.
pub const MARK: &str = "COUNTERFOIL_DEMO";
/// How long what was killed may take to be gone.
const KILLING: Duration = Duration::from_secs(5);
/// How long the sweeper may take in all.
const SWEEPING: Duration = Duration::from_secs(30);

/// The sweeper, seen from the demo: it sweeps when this goes away.
pub struct Sweeper(Child);

impl Sweeper {
    /// Starts `program` as the sweeper of `dir`, and of the worktrees in it that belong to `repository`.
    pub fn start(program: &Path, dir: &Path, repository: Option<&Path>) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["demo", "--sweep"]).arg(dir);
        command.args(repository.into_iter().flat_map(|path| [OsString::from("--repo"), path.into()]));
        // Ctrl-C is the demo's to obey: the sweeper has to outlive it.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Whoever comes next looks what is left.
        let _ = process::watch(&mut self.0, SWEEPING, &|| false);
    }
}

/// What the sweeper does: waits until the demo is over; then ends what runs, and removes worktrees and directory.
pub fn sweep(dir: &Path, repository: Option<&Path>) -> Outcome {
    if !dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
        return Err(Failure::new("usage", "--sweep is for the demo's own use", ""));
    }
    // Best effort: only a signal to the sweeper itself would reach it.
    let _ = Interrupt::default().watch();
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    end_marked(dir);
    // Best effort: a worktree without its directory is one that `git worktree prune` forgets.
    let _ = repository.map(|path| Repository::open(path)?.remove_worktrees_below(dir));
    fs::remove_dir_all(dir).map_err(|error| crate::output::unwritable(dir, &error))?;
    Ok(0)
}

/// Ends what carries the mark, until twice in a row nothing does: something may start while this looks.
fn end_marked(dir: &Path) {
    let began = Instant::now();
    let mut seen_none = 0;
    while seen_none < 2 && began.elapsed() < KILLING {
        let marked = marked(dir);
        seen_none = if marked.is_empty() { seen_none + 1 } else { 0 };
        for process in marked.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that carry the mark, where the system shows environments: on Linux. One that cleared its own escapes; elsewhere
/// the server ends with its standard input, a check with its gate, and an agent runs to its end.
fn marked(dir: &Path) -> Vec<i32> {
    let mut mark = OsString::from(format!("{MARK}="));
    mark.push(dir);
    let is_marked = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_encoded_bytes())
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(is_marked).filter_map(|process| process.file_name()?.to_str()?.parse().ok()).collect()
}
