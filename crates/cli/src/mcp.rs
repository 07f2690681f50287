//! `counterfoil mcp`: the gate in front of a server of tools, and the server of our own.

use std::{
    io::{stdin, stdout},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Command as Process,
    time::Duration,
};

use clap::{Args, Subcommand};
use counterfoil_client::SystemClock;
use counterfoil_gate::PolicyPin;
use counterfoil_keys::RecordKey;
use counterfoil_mcp::{Desk, NotAsked, Settings, Shared, Times, limits::ROUNDS, stdio, tools_of};
use counterfoil_receipt::{Role, body::Risk, hashes::SchemaDigest, text::Label};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, Outcome},
    gate::{self, driver},
    interrupt::Interrupt,
    mcp_http::Listen,
    mcp_install, mcp_serve, output,
    remote::{self, Actor},
    signing::{self, key_failure},
    tether::Tether,
    text::printable,
    time,
};

/// How often a client that wants to know is told that its call waits: the shortest patience that was seen is 60 s.
const PROGRESS: Duration = Duration::from_secs(10);

/// The most definitions of one matcher.
const DEFINITIONS: usize = 64;

/// Govern what an agent does through MCP: each call of a tool is an action, and runs as the policy and people allow.
#[derive(Args, Debug)]
pub struct Mcp {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Gate(Gate),
    Tools(Tools),
    Serve(mcp_serve::Serve),
    Install(mcp_install::Install),
    Uninstall(mcp_install::Uninstall),
}

/// Stand between an MCP client and its server: put this in the place of the server's command.
///
/// Each call of a tool is proposed with the agent's key, as NAME/TOOL with the tool's definition and arguments; what the policy allows
/// runs, what it denies is refused, and what needs approval waits. Nothing runs that is not logged first. What else reads from the server, or
/// asks the client, is NAME:METHOD to the policy, such as NAME:resources/read, and passes only where that allows it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example, in a client's configuration:
  {\"mcpServers\": {\"files\": {\"command\": \"counterfoil\", \"args\": [\"mcp\", \"gate\", \"-C\", \"/home/ana/work\", \"--name\", \"files\", \"--\",
    \"npx\", \"-y\", \"@modelcontextprotocol/server-filesystem\", \"/home/ana/notes\"]}}}

In front of a server that is reached by an address, for clients that then use http://127.0.0.1:8931/mcp:
  counterfoil mcp gate --name files --listen 127.0.0.1:8931 --upstream https://files.example/mcp")]
struct Gate {
    /// What policies call the server: the tool T is NAME/T there
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The key that proposes [default: DIR/keys/agent.key]; --key names the one that executes
    #[arg(long, value_name = "FILE")]
    agent_key: Option<PathBuf>,
    /// The risk that proposals claim: low, medium, high or critical
    #[arg(long, default_value = "medium", value_parser = |word: &str| Risk::parse(word).ok_or("one of low, medium, high, critical"))]
    risk: Risk,
    /// How long a call waits for people before the client is told to ask again; clients give up at 60 s
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = time::parse_duration)]
    hold: u64,
    /// How often a client of the revision 2026-07-28 goes on waiting so long by itself, before it is told to ask again; 0 to 9
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=i64::from(ROUNDS)))]
    rounds: u32,
    /// Hold to this policy: while another one is in force, refuse everything
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    http: Listen,
    /// The command of the server and its arguments
    #[arg(last = true, required_unless_present_any = ["listen", "upstream"], value_name = "COMMAND")]
    command: Vec<String>,
}

/// Print the tools of a server with the digests of their definitions, as a matcher for a policy.
///
/// Starts the server, asks it for its tools, and ends it; no key and no log is needed. A rule with these digests is about the tools as they are
/// defined now: one that is defined otherwise is another tool to it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  counterfoil mcp tools --name files -- npx -y @modelcontextprotocol/server-filesystem /home/ana/notes")]
struct Tools {
    /// What policies call the server: the tool T is NAME/T there
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The command of the server and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Mcp {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::Gate(command) => command.run(context),
            Command::Tools(command) => command.run(context),
            Command::Serve(command) => command.run(context),
            Command::Install(command) => command.run(context),
            Command::Uninstall(command) => command.run(context),
        }
    }
}

impl Gate {
    fn run(&self, context: &Context) -> Outcome {
        let name = checked_name(&self.name)?;
        // Keys are read now, so that what is wrong with them is seen; the log is asked once a tool is called.
        self.keys(context)?;
        let pin = gate::pin(self.policy.as_deref())?;
        let session = session_name()?;
        say_if_nobody_answers(context);
        let (gate, at) = (self.clone(), context.clone());
        let open = move || {
            gate.desk(&at, (name.clone(), session.clone()), pin.clone())
                .map_err(|failure| not_asked(&failure))
        };
        let times = Times { hold: Duration::from_millis(self.hold), rounds: self.rounds, progress: PROGRESS };
        let note = Box::new(|said: &str| output::note(&format!("mcp gate: {}\n", printable(said))));
        let shared = Shared::new(Box::new(open), times, note);
        // A signal is heeded once the outcome of what runs is recorded.
        let interrupt = Interrupt::default();
        interrupt.watch().map_err(|error| {
            Failure::new("signals", format!("signals can't be held back: {error}"), "try again")
        })?;
        let told_to_end = || interrupt.happened();
        if let Some(ended) = self.http.run(&shared, &told_to_end) {
            return ended;
        }
        let (mut server, _tether) = server(&self.command)?;
        let ended = stdio::serve(&mut server, stdin(), stdout(), shared, &told_to_end).map_err(|error| {
            let message = format!("the server {} did not start: {error}", printable(&self.command[0]));
            Failure::new("server-not-started", message, "check the command after --")
        })?;
        Ok(ended.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok()).unwrap_or(0))
    }

    fn keys(&self, context: &Context) -> Outcome<(RecordKey, RecordKey)> {
        let path = self.agent_key.clone().unwrap_or_else(|| context.file("keys").join("agent.key"));
        let agent = RecordKey::load(&path).map_err(|error| key_failure(&error))?;
        let runtime = signing::key(context, Role::Runtime)?;
        for (key, role) in [(&agent, Role::Agent), (&runtime, Role::Runtime)] {
            if key.role() != role {
                let message =
                    format!("the key of {} is one of role {}, not {role}", key.principal(), key.role());
                return Err(Failure::new(
                    "role-not-allowed",
                    message,
                    "name others with --agent-key and --key",
                ));
            }
        }
        Ok((agent, runtime))
    }

    /// The desk, with what an earlier gate left open settled.
    fn desk(
        &self,
        context: &Context,
        (server, session): (Label, String),
        pin: Option<PolicyPin>,
    ) -> Outcome<Desk> {
        let (agent, runtime) = self.keys(context)?;
        let (gate, _) = driver(context, Actor { client: remote::connect(context)?, key: runtime })?;
        let gate = gate.holding_to(pin);
        let principal = agent.principal().clone();
        let asking = counterfoil_gate::Desk::new(gate, Box::new(agent), principal, Box::new(SystemClock));
        let desk = Desk::new(
            asking,
            Settings { server, risk: self.risk, session, log: remote::server_url(context)? },
        );
        desk.find_earlier().map_err(|fault| Failure::new(fault.code, printable(&fault.why), ""))?;
        Ok(desk)
    }
}

/// Says so if the log does not answer: the gate starts all the same, at once, and refuses until it does.
fn say_if_nobody_answers(context: &Context) {
    let context = context.clone();
    std::thread::spawn(move || {
        let asked = remote::client(&context).and_then(|client| client.size().map_err(Failure::from));
        if let Err(failure) = asked {
            output::note(&format!(
                "mcp gate: no answer from the log, and every call is refused until there is one: {}\n",
                failure.message()
            ));
        }
    });
}

impl Tools {
    fn run(&self, context: &Context) -> Outcome {
        let name = checked_name(&self.name)?;
        let (mut server, _tether) = server(&self.command)?;
        let mut tools = tools_of(&mut server).map_err(|why| {
            let message =
                format!("{} has no list of tools: {}", printable(&self.command[0]), printable(&why));
            Failure::new("no-tools", message, "check the command after --")
        })?;
        // Where a tool is defined otherwise, one line of what is printed is another.
        tools.sort();
        if context.json {
            let tools: Vec<_> = tools
                .iter()
                .map(|(tool, definition)| json!({"tool": format!("{name}/{tool}"), "definition": definition.to_string()}))
                .collect();
            output::print_json(&json!({"tools": tools}))?;
        } else {
            output::print(&snippet(&name, &tools))?;
        }
        Ok(0)
    }
}

/// A matcher for a rule of a policy in TOML.
fn snippet(name: &Label, tools: &[(String, SchemaDigest)]) -> String {
    let lists = tools.chunks(DEFINITIONS).map(|tools| {
        let lines = tools.iter().map(|(tool, digest)| format!("    \"{digest}\", # {}\n", printable(tool)));
        format!("  {{ definition = [\n{}  ] }},\n", lines.collect::<String>())
    });
    let lists: Vec<String> = lists.collect();
    let definitions = match &lists[..] {
        [one] => one.clone(),
        _ => format!("  {{ any = [\n{}  ] }},\n", lists.concat()),
    };
    format!(
        "# The tools of {name} as they are defined now, {} of them: keep those that the rule is to be about.\nmatch.all = [\n  {{ tool = \"{name}/*\" }},\n{definitions}]\n",
        tools.len()
    )
}

/// A server that ends with this process, and with the tether. What this process is given for the log is none of the server's.
fn server(command: &[String]) -> Outcome<(Process, Tether)> {
    let tether = Tether::start()?;
    let mut server = Process::new(&command[0]);
    server.args(&command[1..]).process_group(tether.group().as_raw_pid());
    let own = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERFOIL_"));
    for (name, _) in own {
        server.env_remove(name);
    }
    Ok((server, tether))
}

fn checked_name(name: &str) -> Outcome<Label> {
    server_name(name).ok_or_else(|| {
        let message = format!("--name {} is no label without a slash or colon", printable(name));
        Failure::new("field-invalid", message, "such as --name files")
    })
}

/// What a policy can call a server: behind it comes a slash before its tools, and a colon before its other methods.
pub fn server_name(name: &str) -> Option<Label> {
    Label::new(name).filter(|name| !name.as_str().contains(['/', ':']))
}

fn session_name() -> Outcome<String> {
    let bytes = counterfoil_keys::random::<8>().map_err(|error| key_failure(&error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn not_asked(failure: &Failure) -> NotAsked {
    NotAsked { code: failure.code().to_owned(), why: failure.message().to_owned() }
}
