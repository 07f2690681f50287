//! Running one command as an action: `counterfoil gate run -- COMMAND`.
//!
//! The action says everything that decides what is run: the arguments, the working directory and the whole environment.
//! The one thing added is `COUNTERFOIL_EXECUTION`, the execution's id, for the command to pass on.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    process::{Command, ExitStatus, Stdio},
    thread,
};

use counterfoil_receipt::{
    Action, Malformed, RecordId,
    action::{Json, Mode},
    body::{Effects, Status},
    text::Label,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::effect::{Done, Effect, ResultPayload};

/// The tool that actions of this kind name.
pub const TOOL: &str = "command";
/// Bytes of each output stream that the result keeps; its digest covers all of it. Half a megabyte of text is more than a
/// person reads, and two of them in JSON escapes stay below the 4 MiB of a payload.
pub const OUTPUT_BYTES: usize = 262_144;
/// The variable that tells the command which execution it is.
pub const EXECUTION_VARIABLE: &str = "COUNTERFOIL_EXECUTION";

/// A command, as an action names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAction {
    /// Program and arguments; at least the program.
    pub argv: Vec<String>,
    /// The working directory, an absolute path.
    pub cwd: String,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
}

/// Why an action is no command.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Not what an action of the tool `command` has.
    #[error("not-a-command: {0}")]
    Shape(String),
    /// It does not fit a record.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// Runs a command, and passes its output on while it runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunCommand {
    /// Whether output is written to this process's own standard streams, too.
    pub pass_on: bool,
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
            mode: Mode::Apply,
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
        let command = Self::read(&action.arguments.to_value())?;
        // An action with anything besides, a target or a precondition, asks for more than running a command.
        if command.to_action()?.to_canonical() != action.to_canonical() {
            return Err(shape("the action says more than a command"));
        }
        Ok(command)
    }

    fn read(arguments: &Value) -> Result<Self, CommandError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let argv = arguments["argv"].as_array().and_then(|argv| argv.iter().map(text).collect());
        let env = arguments["env"].as_object();
        let env =
            env.and_then(|env| env.iter().map(|(name, value)| Some((name.clone(), text(value)?))).collect());
        match (argv, text(&arguments["cwd"]), env) {
            (Some(argv), Some(cwd), Some(env)) => Ok(Self { argv, cwd, env }),
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
        let variable = |name: &str| !name.is_empty() && !name.contains('=') && name != EXECUTION_VARIABLE;
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

impl Effect for RunCommand {
    fn run(&mut self, action: &Action, execution: &RecordId) -> Done {
        let command = match CommandAction::from_action(action) {
            Ok(command) => command,
            Err(error) => return Done::not_started(error.to_string()),
        };
        let mut child = Command::new(&command.argv[0]);
        child
            .args(&command.argv[1..])
            .current_dir(&command.cwd)
            .env_clear()
            .envs(&command.env)
            .env(EXECUTION_VARIABLE, execution.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = match child.spawn() {
            Ok(child) => child,
            Err(error) => return Done::not_started(format!("{} did not start: {error}", command.argv[0])),
        };
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
}

fn done(status: ExitStatus, stdout: &Output, stderr: &Output) -> Done {
    let result = json!({"exit": status.code(), "stderr": stderr.to_json(), "stdout": stdout.to_json()});
    let result = counterfoil_receipt::json::to_canonical(&result).ok().and_then(|content| {
        let label = Label::new("result.json")?;
        Some(ResultPayload { label, media_type: Label::new("application/json")?, content })
    });
    if status.success() {
        return Done { status: Status::Succeeded, effects: Effects::Complete, result, detail: None };
    }
    // A command that fails may have done part of its work.
    Done { status: Status::Failed, effects: Effects::Unknown, result, detail: Some(status.to_string()) }
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
