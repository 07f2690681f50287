//! Running one command as an action: `counterfoil gate run -- COMMAND`.
//!
//! The action says everything that decides what is run: the arguments, the working directory and the whole environment.
//! What is added is `COUNTERFOIL_EXECUTION`, the execution's id, and `COUNTERFOIL_IDEMPOTENCY_KEY`, the id of the first execution of the
//! same use, for the command to pass on; and for a preview `COUNTERFOIL_PREVIEW`, which says that it is to change nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use counterfoil_receipt::{
    Action, Malformed,
    action::{Json, Mode},
    body::{Effects, Status},
    text::Label,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::effect::{Attempt, Done, Effect, ResultPayload};

/// The tool that actions of this kind name.
pub const TOOL: &str = "command";
/// Bytes of each output stream that the result keeps; its digest covers all of it. Half a megabyte of text is more than a
/// person reads, and two of them in JSON escapes stay below the 4 MiB of a payload.
pub const OUTPUT_BYTES: usize = 262_144;
/// The variable that tells the command which execution it is.
pub const EXECUTION_VARIABLE: &str = "COUNTERFOIL_EXECUTION";
/// The variable that tells the command what the effect is to be known by, the same however often it is tried.
pub const KEY_VARIABLE: &str = "COUNTERFOIL_IDEMPOTENCY_KEY";

/// The variable that is `1` where the command is to change nothing, and to say what it would do.
pub const PREVIEW_VARIABLE: &str = "COUNTERFOIL_PREVIEW";

/// A command, as an action names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAction {
    /// Program and arguments; at least the program.
    pub argv: Vec<String>,
    /// The working directory, an absolute path.
    pub cwd: String,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Whether it is to do something, or to say what it would do.
    pub mode: Mode,
}

/// Why an action is no command, or none that could start.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Not what an action of the tool `command` has.
    #[error("not-a-command: {0}")]
    Shape(String),
    /// It does not fit a record.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// Its working directory is not there.
    #[error("directory-missing: there is no directory {0}")]
    NoDirectory(String),
    /// Its program is not there.
    #[error("program-missing: there is no program {program} in {places}")]
    NoProgram {
        /// The first word of the command.
        program: String,
        /// Where it was looked for: a directory, or the command's `PATH`.
        places: String,
    },
    /// What its first word names may not be executed.
    #[error("program-not-executable: {0} is no file that may be executed")]
    NotExecutable(String),
}

/// Runs a command, and passes its output on while it runs.
#[derive(Default)]
pub struct RunCommand<'a> {
    /// Whether output is written to this process's own standard streams, too.
    pub pass_on: bool,
    /// Whether the command changes nothing where [`PREVIEW_VARIABLE`] says so. Of one of which this is not known nothing is previewed.
    pub previews: bool,
    /// The process group that the command joins, on Unix; `None` for that of this process.
    pub group: Option<i32>,
    /// Called once the command has started.
    pub started: Option<&'a mut dyn FnMut()>,
}

impl CommandAction {
    /// The action to propose, and to bring to the gate.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn to_action(&self) -> Result<Action, CommandError> {
        self.is_sound()?;
        let arguments = json!({"argv": self.argv, "cwd": self.cwd, "env": self.env});
        Ok(Action {
            arguments: Json::from_value(&arguments)?,
            committed: None,
            connector: None,
            free: None,
            mode: self.mode,
            precondition: None,
            target: None,
            tool: Label::new(TOOL).ok_or_else(|| shape("tool"))?,
        })
    }

    /// Reads the command that an action names, and no other action.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn from_action(action: &Action) -> Result<Self, CommandError> {
        let command = Self { mode: action.mode, ..Self::read(&action.arguments.to_value())? };
        // An action with anything besides, a target or a precondition, asks for more than running a command.
        if command.to_action()?.to_canonical() != action.to_canonical() {
            return Err(shape("the action says more than a command"));
        }
        Ok(command)
    }

    /// Whether it could start now: its directory is there, and its program, where the system will look for it.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn can_start(&self) -> Result<(), CommandError> {
        let program = self.argv.first().ok_or_else(|| shape("argv is empty"))?;
        let cwd = Path::new(&self.cwd);
        if !cwd.is_dir() {
            return Err(CommandError::NoDirectory(self.cwd.clone()));
        }
        let path = self.env.get("PATH").map_or("", String::as_str);
        let candidates: Vec<PathBuf> = if program.contains('/') {
            vec![cwd.join(program)]
        } else {
            path.split(':').map(|dir| cwd.join(dir).join(program)).collect()
        };
        if candidates.iter().any(|candidate| is_executable(candidate)) {
            return Ok(());
        }
        if let Some(found) = candidates.iter().find(|candidate| candidate.exists()) {
            return Err(CommandError::NotExecutable(found.display().to_string()));
        }
        let places = if program.contains('/') { &self.cwd } else { path };
        Err(CommandError::NoProgram { program: program.clone(), places: places.to_owned() })
    }

    fn read(arguments: &Value) -> Result<Self, CommandError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let argv = arguments["argv"].as_array().and_then(|argv| argv.iter().map(text).collect());
        let env = arguments["env"].as_object();
        let env =
            env.and_then(|env| env.iter().map(|(name, value)| Some((name.clone(), text(value)?))).collect());
        match (argv, text(&arguments["cwd"]), env) {
            (Some(argv), Some(cwd), Some(env)) => Ok(Self { argv, cwd, env, mode: Mode::Apply }),
            _ => Err(shape("arguments are argv, cwd and env")),
        }
    }

    fn is_sound(&self) -> Result<(), CommandError> {
        let program =
            self.argv.first().filter(|program| !program.is_empty()).ok_or_else(|| shape("argv is empty"))?;
        if !program.contains('/') && !self.env.contains_key("PATH") {
            return Err(shape("a program without a slash needs PATH in env: it decides what is run"));
        }
        if !self.cwd.starts_with('/') {
            return Err(shape("cwd is no absolute path"));
        }
        let is_ours = |name: &str| [EXECUTION_VARIABLE, KEY_VARIABLE, PREVIEW_VARIABLE].contains(&name);
        let variable = |name: &str| !name.is_empty() && !name.contains('=') && !is_ours(name);
        if self.env.keys().any(|name| !variable(name)) {
            return Err(shape("env names what is no variable, or one that the gate sets"));
        }
        let mut words = self.argv.iter().chain([&self.cwd]).chain(self.env.keys()).chain(self.env.values());
        if words.any(|word| word.contains('\0')) {
            return Err(shape("a word holds a zero byte"));
        }
        Ok(())
    }
}

impl Effect for RunCommand<'_> {
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        let command = match CommandAction::from_action(action) {
            Ok(command) => command,
            Err(error) => return Done::not_started(error.to_string()),
        };
        if command.mode == Mode::Preview && !self.previews {
            return Done::not_started("it is a preview, and the command would do it");
        }
        let mut child = match self.start(&command, attempt) {
            Ok(child) => child,
            Err(error) => return Done::not_started(format!("{} did not start: {error}", command.argv[0])),
        };
        if let Some(started) = &mut self.started {
            started();
        }
        let pass_on = self.pass_on;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = thread::scope(|scope| {
            let errors = scope.spawn(|| Output::read(stderr, pass_on.then(io::stderr)));
            let stdout = Output::read(stdout, pass_on.then(io::stdout));
            (stdout, errors.join().unwrap_or_default())
        });
        match child.wait() {
            Ok(status) => done(status, &stdout, &stderr),
            Err(error) => Done::unknown(format!("the command's end is not known: {error}")),
        }
    }
    fn previews(&self) -> bool {
        self.previews
    }
}

impl RunCommand<'_> {
    fn start(&self, command: &CommandAction, attempt: &Attempt) -> io::Result<Child> {
        let mut child = Command::new(&command.argv[0]);
        child
            .args(&command.argv[1..])
            .current_dir(&command.cwd)
            .env_clear()
            .envs(&command.env)
            .env(EXECUTION_VARIABLE, attempt.execution.to_string())
            .env(KEY_VARIABLE, attempt.idempotency_key.to_string())
            .envs((command.mode == Mode::Preview).then_some((PREVIEW_VARIABLE, "1")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        if let Some(group) = self.group {
            std::os::unix::process::CommandExt::process_group(&mut child, group);
        }
        child.spawn()
    }
}

fn done(status: ExitStatus, stdout: &Output, stderr: &Output) -> Done {
    let result = json!({
        "exit": status.code(), "signal": signal(status), "stderr": stderr.to_json(), "stdout": stdout.to_json(),
    });
    let result = counterfoil_receipt::json::to_canonical(&result).ok().and_then(|content| {
        let label = Label::new("result.json")?;
        Some(ResultPayload { label, media_type: Label::new("application/json")?, content })
    });
    if status.success() {
        return Done { status: Status::Succeeded, effects: Effects::Complete, result, detail: None };
    }
    let how =
        status.code().map_or_else(|| format!("ended by {status}"), |code| format!("exit status {code}"));
    // A command that fails may have done part of its work.
    Done { status: Status::Failed, effects: Effects::Unknown, result, detail: Some(how) }
}

/// The signal that ended a command.
#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}

/// Whether somebody may execute this file; whether it is this process is for the system to say.
#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file())
}

/// What a command wrote to one stream.
#[derive(Default)]
struct Output {
    head: Vec<u8>,
    size: u64,
    digest: Sha256,
}

impl Output {
    fn read(from: Option<impl Read>, mut onto: Option<impl Write>) -> Self {
        let mut output = Self::default();
        let Some(mut from) = from else { return output };
        let mut buffer = [0; 8_192];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => return output,
                Ok(read) => &buffer[..read],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return output,
            };
            output.size += read.len() as u64;
            output.digest.update(read);
            let room = OUTPUT_BYTES - output.head.len();
            output.head.extend_from_slice(&read[..read.len().min(room)]);
            // A terminal that is gone is no reason to stop the command.
            if onto.as_mut().is_some_and(|onto| onto.write_all(read).and_then(|()| onto.flush()).is_err()) {
                onto = None;
            }
        }
    }

    /// Size and digest of all of it, and as much of it as is kept: characters that JSON can't carry are replaced.
    fn to_json(&self) -> Value {
        let digest = self.digest.clone().finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let replaced = String::from_utf8_lossy(&self.head).replace(is_noncharacter, "\u{fffd}");
        json!({"sha256": digest, "size": self.size, "text": replaced})
    }
}

/// What I-JSON refuses in strings (RFC 7493 §2.1).
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

fn shape(why: &str) -> CommandError {
    CommandError::Shape(why.to_owned())
}
