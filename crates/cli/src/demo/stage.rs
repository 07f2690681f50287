//! Where the demo plays: a directory, real servers, and actors that have their own key and the trust file, and nothing else.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::sweep::{self, Sweeper};
use crate::{
    error::{Failure, Outcome},
    interrupt::Interrupt,
    output::unwritable,
    process::{self, Bounds, Stopped},
    text::printable,
};

/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: u8 = 128;
/// The directory of temporary files, of the demo's own and of the actors'.
const TEMPORARY: &str = "tmp";
/// What a command of an actor may take: a bundle is the most that one prints.
const COMMAND: Bounds = Bounds { output: 16 << 20, time: Duration::from_secs(900) };
/// How long a person may take to answer.
const PERSON: Duration = Duration::from_secs(86_400);
/// How long a server may take to listen, and to stop.
const SERVER: Duration = Duration::from_secs(15);

/// The directory, and what runs in it. All of it ends with the stage.
pub struct Stage {
    sweeper: Sweeper,
    dir: TempDir,
    program: PathBuf,
    interrupt: Interrupt,
}

/// A server, and the directory that `counterfoil init` made for it.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub url: String,
    /// Its directory.
    pub dir: PathBuf,
}

/// Somebody with a key, or only with the trust file.
#[derive(Clone, Debug)]
pub struct Actor {
    /// What the demo calls them: their principal, where they have one.
    pub name: String,
    /// Their directory.
    pub dir: PathBuf,
    server: String,
}

/// What a command of an actor came to.
#[derive(Debug)]
pub struct Said {
    /// Its exit status.
    pub status: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Stage {
    /// An empty stage for a play about the repository at this path, or about one of its own. Signals are noted from here on,
    /// instead of ending this process at once.
    pub fn new(repository: Option<&Path>) -> Outcome<Self> {
        let interrupt = Interrupt::default();
        interrupt.watch().map_err(|error| {
            Failure::new("signals", format!("signals can't be watched: {error}"), "try again")
        })?;
        let dir = tempfile::Builder::new().prefix(sweep::PREFIX).tempdir();
        let dir = dir.map_err(|error| unwritable(&std::env::temp_dir(), &error))?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(
                "program-unknown",
                format!("where this program lies is not known: {error}"),
                "call it by its path",
            )
        })?;
        let sweeper =
            Sweeper::start(&program, dir.path(), repository).map_err(|error| not_started(&error))?;
        let stage = Self { sweeper, dir, program, interrupt };
        // Worktrees lie here too, and are swept with the rest. There is one stage in a process: nobody has set this before.
        let _ = tempfile::env::override_temp_dir(&stage.directory(TEMPORARY)?);
        Ok(stage)
    }

    /// Ends what still runs and removes everything; the directory if it is there all the same.
    pub fn strike(self) -> Option<PathBuf> {
        let path = self.dir.path().to_owned();
        drop(self.sweeper);
        let _ = self.dir.close();
        path.exists().then_some(path)
    }

    /// A new directory.
    pub fn directory(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).map_err(|error| unwritable(&dir, &error))?;
        Ok(dir)
    }

    /// Marks a command as part of the play, so that it does not outlive it.
    pub fn mark(&self, command: &mut Command) {
        command.env(sweep::MARK, self.dir.path());
    }

    /// Whether somebody pressed Ctrl-C, asked this process to end, or took its terminal away.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.happened()
    }

    /// Stops whoever asks, if so.
    pub fn check(&self) -> Outcome<()> {
        let Some(signal) = self.interrupt.take().into_iter().next() else { return Ok(()) };
        let (number, name) = (signal.as_raw(), signal_hook::low_level::signal_name(signal.as_raw()));
        let message = format!("{} stopped the demo half way", name.unwrap_or("a signal"));
        let hint = "what it had started is ended, and its files are removed; run it again when you like";
        let status = u8::try_from(number).map_or(u8::MAX, |number| BY_SIGNAL.saturating_add(number));
        Err(Failure::new("interrupted", message, hint).with_status(status))
    }

    /// Sets up a log with `counterfoil init`, and starts its server on a free port of the loopback interface.
    pub fn serve(&self, name: &str) -> Outcome<Server> {
        let dir = self.directory(name)?;
        let host = Actor { name: "operator".to_owned(), dir: dir.clone(), server: String::new() };
        self.must(&host, &["init", "--origin", &format!("demo.counterfoil.example/{name}")])?;
        let said = dir.join("server.out");
        let out = File::create(&said).map_err(|error| unwritable(&said, &error))?;
        let err = out.try_clone().map_err(|error| unwritable(&said, &error))?;
        let mut command = self.command(&host, &["serve", "--until-stdin-ends", "--listen", "127.0.0.1:0"]);
        command.process_group(0);
        let child = command
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| not_started(&error))?;
        let mut server = Server { child, url: String::new(), dir };
        server.url = self.address(&mut server.child, &said)?;
        Ok(server)
    }

    /// The address that a server says it listens on.
    fn address(&self, child: &mut Child, said: &Path) -> Outcome<String> {
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(said).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(port) =
                whole.split("127.0.0.1:").nth(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            {
                return Ok(format!("http://127.0.0.1:{}", port.unwrap_or_default()));
            }
            self.check()?;
            if child.try_wait().is_ok_and(|ended| ended.is_some()) || started.elapsed() > SERVER {
                let message = format!("the server does not listen: {}", printable(text.trim()));
                return Err(Failure::new(
                    "demo-server",
                    message,
                    "run `counterfoil init` and `counterfoil serve` by hand to see more",
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Somebody in a directory of their own, with the trust file of `server` and nothing else.
    pub fn actor(&self, server: &Server, name: &str) -> Outcome<Actor> {
        let dir = self.directory(&format!("{name}/keys"))?;
        let dir = dir.parent().unwrap_or(&dir).to_owned();
        let (from, to) = (server.dir.join("trust.toml"), dir.join("trust.toml"));
        fs::copy(&from, &to).map_err(|error| unwritable(&to, &error))?;
        Ok(Actor { name: name.to_owned(), dir, server: server.url.clone() })
    }

    /// Waits, unless somebody presses Ctrl-C.
    pub fn pause(&self, time: Duration) -> Outcome<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.check()?;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Runs a command of an actor as a process of its own.
    pub fn run(&self, actor: &Actor, arguments: &[&str]) -> Outcome<Said> {
        let mut command = self.command(actor, arguments);
        command.arg("--json");
        let ended = process::run(&mut command, b"", COMMAND, &|| self.is_interrupted());
        self.check()?;
        let ended = ended.map_err(|stopped| match stopped {
            Stopped::NotStarted(error) => not_started(&error),
            Stopped::TimedOut | Stopped::Interrupted => {
                let message = format!("`counterfoil {}` takes too long", arguments.join(" "));
                Failure::new(
                    "demo-timeout",
                    printable(&message),
                    "look whether the machine is busy, and try again",
                )
            }
        })?;
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        Ok(Said { status: ended.status.code().unwrap_or(-1), stdout: ended.stdout, stderr })
    }

    /// Runs a command that has to succeed; what it printed.
    pub fn must(&self, actor: &Actor, arguments: &[&str]) -> Outcome<Value> {
        let said = self.run(actor, arguments)?;
        if said.status == 0 {
            return Ok(said.json());
        }
        let failure = said.failure();
        let what = format!("`counterfoil {}` of {} failed", arguments.join(" "), actor.name);
        let message = printable(&format!("{what}: {}: {}", failure.code(), failure.message()));
        Err(Failure::new("demo-broken", message, "this should not happen: please report it").with_status(1))
    }

    /// Runs a command that talks to the person at the terminal; its exit status.
    pub fn ask(&self, actor: &Actor, arguments: &[&str]) -> Outcome<i32> {
        let mut command = self.command(actor, arguments);
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        let ended = process::watch(&mut child, PERSON, &|| self.is_interrupted());
        if ended.is_err() {
            // Best effort: it is given up on either way.
            let _ = child.kill().and_then(|()| child.wait().map(drop));
        }
        self.check().inspect_err(|_| crate::output::note("\n"))?;
        Ok(ended.ok().and_then(|status| status.code()).unwrap_or(-1))
    }

    /// The program as an actor calls it: nothing of this process's settings reaches it.
    fn command(&self, actor: &Actor, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COUNTERFOIL_") {
                command.env_remove(name);
            }
        }
        if !actor.server.is_empty() {
            command.env("COUNTERFOIL_SERVER", &actor.server);
        }
        self.mark(&mut command);
        command.env("TMPDIR", self.dir.path().join(TEMPORARY)).current_dir(&actor.dir).args(arguments);
        command
    }
}

impl Actor {
    /// Writes a file of theirs.
    pub fn write(&self, name: &str, content: &[u8]) -> Outcome<String> {
        let path = self.dir.join(name);
        fs::write(&path, content).map_err(|error| unwritable(&path, &error))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Reads a file of theirs.
    pub fn read(&self, name: &str) -> Outcome<Vec<u8>> {
        crate::input::read(&self.dir.join(name), "file", 64 << 20)
    }

    /// Takes a file of theirs away, so that its name is free again: commands replace no file.
    pub fn take(&self, name: &str) -> Outcome<Vec<u8>> {
        let path = self.dir.join(name);
        let bytes = self.read(name)?;
        fs::remove_file(&path).map_err(|error| unwritable(&path, &error))?;
        Ok(bytes)
    }
}

impl Said {
    /// The last JSON value that it printed; null if it printed none.
    pub fn json(&self) -> Value {
        let values = serde_json::Deserializer::from_slice(&self.stdout).into_iter::<Value>();
        values.map_while(Result::ok).last().unwrap_or(Value::Null)
    }

    /// What it failed with, as it said itself.
    pub fn failure(&self) -> Failure {
        let told = self.stderr.split_once("error[").and_then(|(_, told)| told.split_once("]: "));
        let Some((code, told)) = told else {
            let message = format!("it ended with status {} and without an error", self.status);
            return Failure::new("demo-process", message, "run it again");
        };
        let (message, hint) = told.trim_end().split_once("\nhint: ").unwrap_or((told.trim_end(), ""));
        Failure::new(code, message, hint)
    }

    /// The stable codes that it failed with.
    pub fn codes(&self) -> Vec<String> {
        self.stderr
            .split("error[")
            .skip(1)
            .filter_map(|rest| rest.split(']').next())
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Server {
    /// Ends the server in good order; if it does not listen to that, at once.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if process::watch(&mut self.child, SERVER, &|| false).is_err() {
            let _ = self.child.kill().and_then(|()| self.child.wait().map(drop));
        }
    }
}

fn not_started(error: &std::io::Error) -> Failure {
    Failure::new(
        "demo-process",
        format!("a process could not be started: {error}"),
        "check the limits of this machine",
    )
}
