//! The log's server under the reader's trust, and somebody who signs.

use counterfoil_client::{
    Client, ClientError, FileCheckpoints, Included, PinnedClient, Rejected, Session, SubmitError,
    SystemClock, View,
};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{DraftError, Role, RunId};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, NOT_SHOWN, Outcome, VIOLATED},
    input::shown,
    output::{self, unwritable},
    signing,
    text::printable,
    trust,
};

/// Where the address comes from if nothing names it: the server's own default.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7450";

/// A key in use against a log.
pub struct Actor {
    /// The log.
    pub client: PinnedClient,
    /// The key.
    pub key: RecordKey,
}

impl Actor {
    /// Loads the key that `--key` names, or that of `role`, and pins the log.
    pub fn new(context: &Context, role: Role) -> Outcome<Self> {
        let key = signing::key(context, role)?;
        if context.key.is_none() && key.role() != role {
            let message =
                format!("{} is a key of role {}", shown(&signing::key_path(context, role)), key.role());
            return Err(Failure::new(
                "role-not-allowed",
                message,
                format!("name a key of role {role} with --key"),
            ));
        }
        Ok(Self { client: connect(context)?, key })
    }

    /// A session of this actor.
    pub fn session(&self) -> Session<'_> {
        Session {
            client: &self.client,
            signer: &self.key,
            principal: self.key.principal().clone(),
            role: self.key.role(),
            clock: &SystemClock,
        }
    }

    /// Fetches and verifies a run.
    pub fn view(&self, run: RunId) -> Outcome<View> {
        self.session().view(run).map_err(|error| client_failure(&error))
    }
}

/// The server, without trust in it.
pub fn client(context: &Context) -> Outcome<Client> {
    let url = server_url(context)?;
    let token = std::env::var("COUNTERFOIL_TOKEN").ok().filter(|token| !token.is_empty());
    Client::new(&url, token.as_deref()).map_err(|error| client_failure(&error))
}

/// The server under the trust file, held to every checkpoint that this working directory has seen.
pub fn connect(context: &Context) -> Outcome<PinnedClient> {
    let trust = trust::load(&context.trust_path())?;
    let seen = context.file("seen");
    std::fs::create_dir_all(&seen).map_err(|error| unwritable(&seen, &error))?;
    let log = trust.genesis().to_string().replace(':', "-");
    let checkpoints = FileCheckpoints::new(seen.join(format!("{log}.checkpoint")));
    Ok(client(context)?.pin(trust, Box::new(checkpoints)))
}

/// The address that was named, or that the working directory's server listens on.
fn server_url(context: &Context) -> Outcome<String> {
    if let Some(url) = &context.server {
        return Ok(url.clone());
    }
    let path = context.file("counterfoil.toml");
    if !path.exists() {
        return Ok(DEFAULT_SERVER.to_owned());
    }
    let text = crate::input::read_text(&path, "server configuration", 1 << 20)?;
    let table: Option<toml::Table> = toml::from_str(&text).ok();
    let listen = table.as_ref().map(|table| table.get("server").and_then(|server| server.get("listen")));
    let Some(listen) = listen.map(|listen| listen.and_then(|listen| listen.as_str())) else {
        let message = format!("{} is no TOML", shown(&path));
        return Err(Failure::new("config-malformed", message, "name the server with --server URL"));
    };
    // Who listens everywhere is reached here.
    let reachable = |listen: &str| listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    Ok(listen.map_or(DEFAULT_SERVER.to_owned(), |listen| format!("http://{}", reachable(listen))))
}

/// What a client's error means for a person.
pub fn client_failure(error: &ClientError) -> Failure {
    let text = error.to_string();
    let code = error.code().to_owned();
    let why = text.strip_prefix(&code).and_then(|why| why.strip_prefix(": ")).unwrap_or(&text);
    let (status, hint) = match error {
        ClientError::Unreachable { .. } => {
            (2, "start it with `counterfoil serve`, or name another with --server URL")
        }
        ClientError::Busy { .. } => (2, "try again: nothing was logged"),
        ClientError::Refused(problem) => {
            return Failure::new(
                code,
                printable(&problem.detail),
                printable(problem.hint.as_deref().unwrap_or("")),
            );
        }
        ClientError::Protocol { .. } => (2, "check that --server names a counterfoil server"),
        ClientError::TooLarge { .. } => (2, "ask its operator"),
        ClientError::Untrusted { .. } => {
            (VIOLATED, "don't rely on this server; check that it and the trust file name one log")
        }
        ClientError::Fork(_) => (VIOLATED, "keep both checkpoints: together they convict the log"),
        ClientError::Stale { .. } => (NOT_SHOWN, "ask again, or ask another copy of the log"),
        ClientError::NotShown { .. } => {
            (NOT_SHOWN, "look at it with `counterfoil bundle` and `counterfoil verify`")
        }
        ClientError::Store(_) => (2, "check the directory `seen` of the working directory"),
        ClientError::Draft(DraftError::Sign(fault)) => return signing::no_signature(fault),
        ClientError::Draft(DraftError::Malformed(fault)) => return signing::malformed("the record", fault),
        ClientError::Misuse(_) => (2, "add --help to see what the command takes"),
        ClientError::Random(_) => (2, "try again"),
        ClientError::Clock => (2, "set the clock of this machine"),
    };
    Failure::new(code, printable(why), hint).with_status(status)
}

/// What a submission without inclusion means.
pub fn submit_failure(error: &SubmitError) -> Failure {
    match error {
        SubmitError::Rejected(rejected) => rejection(rejected),
        SubmitError::Failed(cause) => {
            let failure = client_failure(cause);
            if !error.may_be_logged() {
                return failure;
            }
            let message = format!("{}; the record may have been logged", failure.message());
            let hint = "look with `counterfoil resume RUN` before you repeat it";
            Failure::new(failure.code(), message, hint).with_status(failure.status())
        }
    }
}

/// What the log's signed refusal means.
pub fn rejection(rejected: &Rejected) -> Failure {
    let message = format!("the log does not admit the record ({}), and signed that", rejected.rule);
    Failure::new(printable(&rejected.code), printable(&message), crate::advice::when_refused(&rejected.code))
        .with_status(VIOLATED)
}

/// Says that a record is in the log.
pub fn report(context: &Context, what: &str, run: Option<RunId>, included: &Included) -> Outcome {
    if context.json {
        output::print_json(&included_json(what, run, included))?;
    } else {
        let (style, size) = (context.style, included.checkpoint.head().size);
        let head = format!("{} {what} {}\n", style.good("logged"), included.id);
        let place = format!("       entry {}, proven in the tree of size {size}\n", included.index);
        output::print(&format!("{head}{}", style.dim(&place)))?;
    }
    Ok(0)
}

/// That a record is in the log, for a program.
pub fn included_json(what: &str, run: Option<RunId>, included: &Included) -> serde_json::Value {
    let head = included.checkpoint.head();
    json!({
        "type": what,
        "id": included.id.to_string(),
        "index": included.index,
        "run": run.map(|run| run.to_string()),
        "checkpoint": {"size": head.size.0, "root": head.root.to_string()},
    })
}
