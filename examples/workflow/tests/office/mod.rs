//! A log with its server, and directories of a runtime and a deployer beside it, each with its own key or trust file.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Once,
};

use serde_json::Value;

/// A workflow for checkout as the agent writes it.
pub const EVENT: &str = "checkout-429";

/// Everybody's directories. All of it goes when this does.
pub struct Office {
    dir: tempfile::TempDir,
    url: String,
    server: Child,
}

/// How a command ended.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Office {
    /// A new log with the example's policy; checkout is in production with unbounded retries, and the agent has written a workflow.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        cli(dir.path()).args(["init", "log", "--origin", "example.org/log"]).output().unwrap();
        let serve = ["serve", "-C", "log", "--listen", "127.0.0.1:0", "--until-stdin-ends"];
        let mut server =
            cli(dir.path()).args(serve).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the server says where").to_owned();
        for name in ["runtime/keys", "production"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for key in ["agent", "runtime"] {
            fs::rename(path(&format!("log/keys/{key}.key")), path(&format!("runtime/keys/{key}.key")))
                .unwrap();
        }
        let trust = fs::read_to_string(path("log/trust.toml")).unwrap();
        fs::write(path("runtime/trust.toml"), &trust).unwrap();
        fs::write(path("production/trust.toml"), trust + "max_age = \"5m\"\n").unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../repo");
        fs::create_dir(path("repository")).unwrap();
        for name in ["check.sh", "limits.conf", "provider.conf"] {
            fs::copy(repository.join(name), path("repository").join(name)).unwrap();
        }
        fs::copy(repository.join("limits.conf"), path("production/checkout.conf")).unwrap();
        let office = Self { dir, url, server };
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("policy.toml"), office.path("log/policy.toml"))
            .unwrap();
        office.counterfoil(&["policy", "set", "log/policy.toml"]).good();
        let alert = Path::new(env!("CARGO_MANIFEST_DIR")).join("../alert.json");
        office.example(&["agent", alert.to_str().unwrap(), "--out", "workflow.rn"]).good();
        office
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Runs `counterfoil` as whoever has a key in the log's directory.
    pub fn counterfoil(&self, arguments: &[&str]) -> Ran {
        let output = cli(self.dir.path()).args(["-C", "log", "--server", &self.url]).args(arguments).output();
        Ran::of(output.unwrap())
    }

    /// The JSON that `counterfoil` prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.counterfoil(&[arguments, &["--json"]].concat()).good()).unwrap()
    }

    /// Runs the example's own program.
    pub fn example(&self, arguments: &[&str]) -> Ran {
        Ran::of(program(self.dir.path()).args(arguments).output().unwrap())
    }

    /// Runs or resumes the workflow of an event, in a process of its own.
    pub fn resume(&self, workflow: &str, event: &str) -> Ran {
        Ran::of(self.runtime(workflow, event).output().unwrap())
    }

    /// The command that does so.
    pub fn runtime(&self, workflow: &str, event: &str) -> Command {
        let mut command = program(self.dir.path());
        command.args(["run", workflow, "--event", event, "-C", "runtime", "--server", &self.url]);
        command.args(["--repository", "repository", "--production", "production"]);
        command
    }

    /// Runs the workflow up to the deployment, which is held; gives its run.
    pub fn held(&self) -> String {
        let ran = self.resume("workflow.rn", EVENT);
        ran.stopped(4, "held");
        ran.run()
    }

    /// Asks the deployer directly, as anybody can who is on its machine.
    pub fn deployer(&self, directory: &str, execution: &str, action: &str, bundle: &[u8]) -> Ran {
        let arguments = ["deployer", directory, "--execution", execution, "--action", action];
        let mut command = program(self.dir.path());
        let command =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(bundle);
        Ran::of(child.wait_with_output().unwrap())
    }

    /// The bundle of a run as of now.
    pub fn bundle(&self, run: &str) -> Vec<u8> {
        let out = self.path("bundle.jsonl");
        let _ = fs::remove_file(&out);
        self.counterfoil(&["bundle", run, "--out", out.to_str().unwrap()]).good();
        fs::read(out).unwrap()
    }

    /// What the log shows of a run's executions, in its order: tool, use and status.
    pub fn executions(&self, run: &str) -> Vec<(String, u64, String)> {
        let shown = self.json(&["resume", run]);
        let tool = |id: &Value| {
            let proposals = shown["proposals"].as_array().unwrap();
            let found = proposals.iter().find(|one| one["id"] == *id).unwrap();
            found["action"]["tool"].as_str().unwrap().to_owned()
        };
        let row = |one: &Value| {
            let status = one["status"].as_str().unwrap_or("none").to_owned();
            (tool(&one["proposal"]), one["use"].as_u64().unwrap(), status)
        };
        shown["executions"].as_array().unwrap().iter().map(row).collect()
    }

    /// The proposal of the last step, and its action as canonical JSON.
    pub fn last_proposal(&self, run: &str) -> (String, String) {
        let shown = self.json(&["resume", run]);
        let last = shown["proposals"].as_array().unwrap().last().unwrap().clone();
        (last["id"].as_str().unwrap().to_owned(), last["action"].to_string())
    }
}

impl Ran {
    /// What a command's output says.
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What it printed; it succeeded.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{}", self.shown());
        self.stdout
    }

    /// That it stopped with this status and code.
    pub fn stopped(&self, status: i32, code: &str) {
        let is = self.code == status && self.stderr.contains(&format!("error[{code}]"));
        assert!(is, "{status} {code}: {}", self.shown());
    }

    /// The run that it names.
    pub fn run(&self) -> String {
        let named = self.stdout.lines().find_map(|line| line.strip_prefix("run")).expect("a run is named");
        named.trim().to_owned()
    }

    pub fn shown(&self) -> String {
        format!("{}{}[exit {}]\n", self.stdout, self.stderr, self.code)
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The example's program.
pub fn program(directory: &Path) -> Command {
    clean(env!("CARGO_BIN_EXE_counterfoil-example-workflow").as_ref(), directory)
}

/// The `counterfoil` that lies beside it.
fn cli(directory: &Path) -> Command {
    clean(&counterfoil(), directory)
}

/// Where that is. All tests together build it; if this is run alone for the first time, it is built now.
pub fn counterfoil() -> PathBuf {
    static BUILT: Once = Once::new();
    let path = Path::new(env!("CARGO_BIN_EXE_counterfoil-example-workflow")).with_file_name("counterfoil");
    BUILT.call_once(|| {
        if !path.exists() {
            let target = format!("--target-dir={}", path.ancestors().nth(2).unwrap().display());
            let build = ["build", "--quiet", "-p", "counterfoil", &target];
            let built = Command::new(env!("CARGO")).args(build).status();
            assert!(built.unwrap().success() && path.exists(), "`cargo build -p counterfoil` makes it");
        }
    });
    path
}

fn clean(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COUNTERFOIL_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory).env("NO_COLOR", "1");
    command
}
