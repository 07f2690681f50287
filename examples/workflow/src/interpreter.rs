//! The interpreter: runs code that was unknown when this program was built, and that nobody trusts, in a process that has nothing.
//!
//! There are two walls. The language has no files, network, clock, randomness or processes; the only functions in it that reach anything are those that
//! are bound here, one for each capability, and they say a line on standard output and read one on standard input. And the
//! process gives up what it could open, write or use before it reads a word of that code, for interpreters have bugs.

use std::{
    io::{self, BufRead as _, Write as _},
    sync::Arc,
};

use clap::Args;
use rune::{
    Context, ContextError, Diagnostics, Module, Source, Sources, Value, Vm,
    alloc::limit,
    compile::NoopSourceLoader,
    diagnostics::Diagnostic,
    runtime::{VmResult, budget},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// Instructions of the language between two ends: a fraction of a second.
const INSTRUCTIONS: usize = 1_000_000;
/// Bytes of the language's values.
const VALUES: usize = 16 << 20;
/// What the process may use: seconds of computing, and bytes of address space, of which the program itself takes most.
const SECONDS: u64 = 2;
/// See there.
const ADDRESSES: u64 = 1 << 30;

/// Run code from standard input; for the runtime's own use.
#[derive(Args, Debug)]
pub struct Interpreter {}

/// What is read first.
#[derive(Deserialize, Serialize)]
pub struct Given {
    /// The names that the code may call.
    pub capabilities: Vec<String>,
    /// The code.
    pub source: String,
}

/// A line that is said.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// It calls a capability, and waits for a line with the answer.
    Call(String, serde_json::Value),
    /// It came to its end, with this.
    Returned(serde_json::Value),
    /// It did not.
    Failed(String),
}

impl Interpreter {
    /// Runs the command. What becomes of the code is said, not returned.
    pub fn run(&self) -> io::Result<()> {
        give_up()?;
        let line = match heard::<Given>().and_then(|given| interpret(&given)) {
            Ok(value) => Line::Returned(value),
            Err(why) => Line::Failed(why),
        };
        tell(&line)
    }
}

/// Gives up all that code needs nothing of: after this the process opens no file or socket, writes no file, and ends where it uses too much.
fn give_up() -> io::Result<()> {
    let limits = [
        (Resource::Nofile, 0),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Cpu, SECONDS),
        (Resource::As, ADDRESSES),
    ];
    for (resource, most) in limits {
        // Whoever started this may have taken more away.
        let most = getrlimit(resource).maximum.map_or(most, |had| had.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Runs the code's `main`. Gives what it returns.
fn interpret(given: &Given) -> Result<serde_json::Value, String> {
    let context = language(&given.capabilities).map_err(|error| error.to_string())?;
    let runtime = context.runtime().map_err(|error| error.to_string())?;
    let mut sources = Sources::new();
    let source = Source::memory(&given.source).map_err(|error| error.to_string())?;
    sources.insert(source).map_err(|error| error.to_string())?;
    let mut diagnostics = Diagnostics::new();
    let built = rune::prepare(&mut sources)
        .with_context(&context)
        .with_diagnostics(&mut diagnostics)
        .with_source_loader(&mut NoopSourceLoader::default())
        .build();
    let unit = built.map_err(|error| {
        let fatal = |diagnostic: &Diagnostic| match diagnostic {
            Diagnostic::Fatal(fatal) => Some(fatal.to_string()),
            _ => None,
        };
        diagnostics.diagnostics().iter().find_map(fatal).unwrap_or_else(|| error.to_string())
    })?;
    let mut vm = Vm::new(Arc::new(runtime), Arc::new(unit));
    let run = || {
        let returned = vm.call(["main"], ()).map_err(|error| error.to_string())?;
        serde_json::to_value(&returned).map_err(|error| error.to_string())
    };
    budget::with(INSTRUCTIONS, limit::with(VALUES, run)).call()
}

/// The language with what computes, and without what prints; and the capabilities. Objects have one order. `HashMap` has another one in each
/// process: a workflow that depends on it asks for something else when it is replayed, and is refused.
fn language(capabilities: &[String]) -> Result<Context, ContextError> {
    let mut context = Context::with_config(false)?;
    let mut bound = Module::new();
    for function in capabilities {
        let name = function.clone();
        bound.function([&**function], move |arguments: Value| ask(&name, &arguments)).build()?;
    }
    context.install(bound)?;
    Ok(context)
}

/// Calls a capability. Whoever is asked ends this process instead of answering if the workflow may not go on: no code can make anything of it.
fn ask(name: &str, arguments: &Value) -> VmResult<Value> {
    let asked = || {
        let arguments = serde_json::to_value(arguments).map_err(|error| format!("{name}: {error}"))?;
        tell(&Line::Call(name.to_owned(), arguments)).map_err(|error| error.to_string())?;
        heard::<Value>()
    };
    match asked() {
        Ok(answer) => VmResult::Ok(answer),
        Err(why) => VmResult::panic(why),
    }
}

fn tell(line: &Line) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn heard<T: for<'de> Deserialize<'de>>() -> Result<T, String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    serde_json::from_str(&line).map_err(|error| error.to_string())
}
