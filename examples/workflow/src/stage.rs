//! Where the demo plays: a directory, a server, and programs that are run in it. All of it ends with the demo; Ctrl-C ends it between two
//! programs.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::{
    say,
    stop::{REFUSED, Stop, USAGE},
};

/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: usize = 128;

/// The directory, and what runs in it.
pub struct Stage {
    dir: tempfile::TempDir,
    own: PathBuf,
    counterfoil: PathBuf,
    server: Child,
    url: String,
    signal: Arc<AtomicUsize>,
}

/// What a program came to.
pub struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Stage {
    /// A log with its server, directories of a runtime and a deployer, a service in production, an alert, and two further workflows.
    pub fn set() -> Result<Self, Stop> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGHUP, SIGINT, SIGTERM] {
            let value = usize::try_from(number).unwrap_or_default();
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value).map_err(not_started)?;
        }
        let own = std::env::current_exe().map_err(not_started)?;
        let counterfoil = counterfoil(&own)?;
        let dir = tempfile::Builder::new().prefix("counterfoil-workflow-").tempdir().map_err(not_started)?;
        let init = Command::new(&counterfoil).args(["init", "log"]).current_dir(dir.path()).output();
        Said::of(init.map_err(not_started)?).is(0, "")?;
        let (server, url) = serve(&counterfoil, dir.path())?;
        let stage = Self { dir, own, counterfoil, server, url, signal };
        stage.furnish()?;
        Ok(stage)
    }

    fn furnish(&self) -> Result<(), Stop> {
        for name in ["runtime/keys", "production", "repository"] {
            let path = self.path(name);
            fs::create_dir_all(&path).map_err(|error| Stop::file(&path, &error))?;
        }
        for name in ["agent.key", "runtime.key"] {
            let (from, to) = (self.path("log/keys").join(name), self.path("runtime/keys").join(name));
            fs::rename(&from, &to).map_err(|error| Stop::file(&to, &error))?;
        }
        let trust = self.read("log/trust.toml")?;
        self.write("runtime/trust.toml", &trust)?;
        // The deployer wants to be shown how things stand now.
        self.write("production/trust.toml", &format!("{trust}max_age = \"5m\"\n"))?;
        self.write("production/checkout.conf", include_str!("../../repo/limits.conf"))?;
        self.write("repository/limits.conf", include_str!("../../repo/limits.conf"))?;
        self.write("repository/provider.conf", include_str!("../../repo/provider.conf"))?;
        self.write("repository/check.sh", include_str!("../../repo/check.sh"))?;
        self.write("alert.json", include_str!("../../alert.json"))?;
        self.write(
            "again.rn",
            r#"pub fn main() { deploy(#{service: "checkout", config: "attempts = 5\n"}); }"#,
        )?;
        self.write(
            "payments.rn",
            r#"pub fn main() { deploy(#{service: "payments", config: "attempts = 5\n"}); }"#,
        )?;
        self.write("log/policy.toml", include_str!("../policy.toml"))?;
        self.counterfoil(&["policy", "set", "policy.toml"])?.is(0, "").map(drop)
    }

    /// Where the log is served.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Result<String, Stop> {
        let path = self.path(name);
        fs::read_to_string(&path).map_err(|error| Stop::file(&path, &error))
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: &str) -> Result<(), Stop> {
        let path = self.path(name);
        fs::write(&path, content).map_err(|error| Stop::file(&path, &error))
    }

    /// Runs `counterfoil` where the log and the human's key are.
    pub fn counterfoil(&self, arguments: &[&str]) -> Result<Said, Stop> {
        let mut command = Command::new(&self.counterfoil);
        command.args(arguments).args(["--server", &self.url]).current_dir(self.path("log"));
        self.run(&mut command, "")
    }

    /// Runs or resumes a workflow, in a process of its own.
    pub fn workflow(&self, workflow: &str, event: &str) -> Result<Said, Stop> {
        self.example(
            &[
                &["run", workflow, "--event", event, "-C", "runtime", "--server", &self.url][..],
                &["--repository", "repository", "--production", "production"],
            ]
            .concat(),
        )
    }

    /// Runs this program anew.
    pub fn example(&self, arguments: &[&str]) -> Result<Said, Stop> {
        self.example_given(arguments, "")
    }

    /// The same with this on standard input.
    pub fn example_given(&self, arguments: &[&str], input: &str) -> Result<Said, Stop> {
        self.run(Command::new(&self.own).args(arguments).current_dir(self.dir.path()), input)
    }

    /// The action of a run's last proposal, as canonical JSON.
    pub fn last_action(&self, run: &str) -> Result<String, Stop> {
        let said = self.counterfoil(&["resume", run, "--json"])?.is(0, "")?;
        let shown: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let last = shown["proposals"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        Ok(last["action"].to_string())
    }

    fn run(&self, command: &mut Command, input: &str) -> Result<Said, Stop> {
        self.is_interrupted()?;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(not_started)?;
        // What says no may have read less than all of it.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let ended = child.wait_with_output().map_err(not_started);
        self.is_interrupted()?;
        ended.map(Said::of)
    }

    fn is_interrupted(&self) -> Result<(), Stop> {
        match self.signal.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => {
                let status = u8::try_from(BY_SIGNAL + number).unwrap_or(u8::MAX);
                Err(Stop::new(
                    status,
                    "interrupted",
                    "what it had started is ended, and its files are removed",
                ))
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Said {
    fn of(output: std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// That it ended with this status, and failed with this code if with any.
    pub fn is(self, status: i32, code: &str) -> Result<Self, Stop> {
        if self.status == status && self.code() == code {
            return Ok(self);
        }
        let detail =
            format!("{status} {code} was to come, and came {}: {}{}", self.status, self.stdout, self.stderr);
        Err(Stop::new(REFUSED, "demo", detail))
    }

    /// The stable code that it failed with; nothing if it did not.
    pub fn code(&self) -> &str {
        let told = self.stderr.split_once("error[").and_then(|(_, told)| told.split_once("]: "));
        told.map_or("", |(code, _)| code)
    }

    /// What it printed.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.stdout.lines()
    }

    /// What it says behind a word at the start of a line.
    pub fn value_after(&self, word: &str) -> &str {
        self.stdout.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_default().trim()
    }
}

/// Starts the server; it ends with this process, however that ends.
fn serve(counterfoil: &Path, dir: &Path) -> Result<(Child, String), Stop> {
    let arguments = ["serve", "-C", "log", "--listen", "127.0.0.1:0", "--until-stdin-ends"];
    let mut command = Command::new(counterfoil);
    let command = command.args(arguments).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.stderr(Stdio::null()).spawn().map_err(not_started)?;
    let mut line = String::new();
    if let Some(stdout) = server.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    match line.trim().strip_prefix("listening on ") {
        Some(url) => Ok((server, url.to_owned())),
        None => {
            let _ = server.kill().and_then(|()| server.wait().map(drop));
            Err(Stop::new(USAGE, "demo", "the server does not listen"))
        }
    }
}

/// The `counterfoil` beside this program, which is built if it is not there.
fn counterfoil(own: &Path) -> Result<PathBuf, Stop> {
    let path = own.with_file_name("counterfoil");
    if !path.exists() {
        say("  building counterfoil first …");
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "counterfoil"]);
        build.args(own.ancestors().nth(2).map(|target| format!("--target-dir={}", target.display())));
        if own.parent().is_some_and(|dir| dir.ends_with("release")) {
            build.arg("--release");
        }
        build.current_dir(env!("CARGO_MANIFEST_DIR")).status().map_err(not_started)?;
    }
    if path.exists() {
        Ok(path)
    } else {
        Err(Stop::new(USAGE, "demo", "`cargo build -p counterfoil` comes first"))
    }
}

fn not_started(error: std::io::Error) -> Stop {
    Stop::new(USAGE, "demo", error)
}
