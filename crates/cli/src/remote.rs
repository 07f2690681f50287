//! The log's server under the reader's trust, and somebody who signs.

use std::io::ErrorKind;

use counterfoil_client::{
    Client, ClientError, FileCheckpoints, Included, PinnedCheckpoint, PinnedClient, Problem, Rejected,
    Session, SubmitError, SystemClock, Verified, View,
};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{Body, DraftError, Place, Role, RunId, body::Type, field::Millis};
use counterfoil_verify::{Dimension, Run, Trust, Verdict};
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
        Ok(self.session().view(run)?)
    }

    /// The same for a gate, to which a server that does not answer shows nothing.
    pub fn evidence(&self, run: RunId) -> Outcome<View> {
        self.session().view(run).map_err(no_answer)
    }

    /// Signs and submits a record that belongs to no run.
    pub fn submit(&self, context: &Context, place: Place, body: impl Into<Body>) -> Outcome {
        let record = signing::sign(&self.key, place, body)?;
        report(context, record.kind(), None, self.session().submit(&record, &[]))
    }

    /// Says what became of a record of a run; also if it was logged and changes nothing there.
    pub fn report(
        &self,
        context: &Context,
        kind: Type,
        run: RunId,
        submitted: Result<Included, SubmitError>,
    ) -> Outcome {
        let without_effect = |included: &Included| {
            let view = self.session().view(run).ok()?;
            let effects = view.verdict().without_effect();
            effects.iter().find(|(at, _)| *at == included.index).map(|(_, why)| why.clone())
        };
        let why = submitted.as_ref().ok().and_then(without_effect);
        say(context, kind, Some(run), submitted, why.as_deref())
    }
}

/// The server, without trust in it.
pub fn client(context: &Context) -> Outcome<Client> {
    let url = server_url(context)?;
    let token = std::env::var("COUNTERFOIL_TOKEN").ok().filter(|token| !token.is_empty());
    Ok(Client::new(&url, token.as_deref())?)
}

/// A run as of the latest checkpoint; where the trust file or the policy demands a quorum of witnesses behind it, and that one does not have
/// it, as of the newest that has it.
pub fn fetch_demanded(client: &PinnedClient, run: RunId, now: Millis) -> Result<Verified, ClientError> {
    let latest = client.fetch_verified(run, now)?;
    let state = latest.verdict.state();
    let proposals = state.run(&run).map(Run::proposals).unwrap_or_default();
    let by_policy = proposals.iter().flat_map(|(_, proposal)| state.demanded(proposal));
    let mut demanded = client.trust().require().iter().copied().chain(by_policy);
    let is_demanded = demanded.any(|dimension| dimension == Dimension::Witnessed);
    if !is_demanded || latest.verdict.answer(Dimension::Witnessed).passes() {
        return Ok(latest);
    }
    client.fetch_evidence(run, now)
}

/// The server under the trust file, held to every checkpoint that this working directory has seen.
pub fn connect(context: &Context) -> Outcome<PinnedClient> {
    let trust = trust::load(&context.trust_path())?;
    let seen = context.file("seen");
    std::fs::create_dir_all(&seen).map_err(|error| unwritable(&seen, &error))?;
    let checkpoints = checkpoints(context, &trust);
    Ok(client(context)?.pin(trust, Box::new(checkpoints)))
}

/// Where the last checkpoint is kept that this working directory has seen of a log.
fn checkpoints(context: &Context, trust: &Trust) -> FileCheckpoints {
    let log = trust.genesis().to_string().replace(':', "-");
    FileCheckpoints::new(context.file("seen").join(format!("{log}.checkpoint")))
}

/// That a bundle that came some other way than from a server is of the log that this working directory has seen, and not older.
pub fn is_current(context: &Context, trust: &Trust, verdict: &Verdict) -> Outcome<()> {
    let Some(seen) = PinnedCheckpoint::seen(&checkpoints(context, trust), trust)? else { return Ok(()) };
    let (seen, mut heads) = (seen.head(), verdict.checkpoints().iter().map(|shown| shown.head));
    let same_size = heads.clone().find(|head| head.size == seen.size);
    if let Some(shown) = same_size.filter(|shown| shown.root != seen.root) {
        let message = format!(
            "the log signed two trees of size {}: with the root {} in the bundle, and with {} as this directory has seen it",
            seen.size,
            shown.root.to_base64(),
            seen.root.to_base64()
        );
        let hint = "keep the bundle and the directory `seen`: together they convict the log";
        return Err(Failure::new("log-forked", message, hint).with_status(VIOLATED));
    }
    match heads.next_back() {
        Some(last) if last.size < seen.size => {
            Err(ClientError::Stale { shown: last.size, seen: seen.size }.into())
        }
        Some(last) if same_size.is_none() && last.size > seen.size => {
            let size = seen.size;
            output::note(&format!(
                "not shown: whether the bundle continues the tree of size {size} that this directory has seen\n"
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The address that was named, or that the working directory's server listens on.
pub fn server_url(context: &Context) -> Outcome<String> {
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
    let reachable = |listen: &str| match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    };
    Ok(listen.map_or(DEFAULT_SERVER.to_owned(), |listen| format!("http://{}", reachable(listen))))
}

/// A server that does not answer shows nothing, and is no fault of whoever asked.
pub fn no_answer(error: ClientError) -> Failure {
    let is_silent = match &error {
        ClientError::Unreachable { .. }
        | ClientError::NoAnswer { .. }
        | ClientError::Busy { .. }
        | ClientError::Protocol { .. }
        | ClientError::TooLarge { .. } => true,
        ClientError::Refused(problem) => problem.status == 429 || problem.status >= 500,
        ClientError::OtherLog { .. }
        | ClientError::Untrusted { .. }
        | ClientError::Fork(_)
        | ClientError::Stale { .. }
        | ClientError::NotShown { .. }
        | ClientError::Store { .. }
        | ClientError::Draft(_)
        | ClientError::Misuse(_)
        | ClientError::Random(_)
        | ClientError::Clock => false,
    };
    let failure = Failure::from(error);
    if is_silent { failure.with_status(NOT_SHOWN) } else { failure }
}

impl From<ClientError> for Failure {
    /// What a client's error means for a person.
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        let code = error.code().to_owned();
        let why = text.strip_prefix(&code).and_then(|why| why.strip_prefix(": ")).unwrap_or(&text);
        let (status, hint) = match &error {
            ClientError::Unreachable { .. } => {
                (2, "start it with `counterfoil serve`, or name another with --server URL")
            }
            ClientError::NoAnswer { .. } => (2, "try again; if it stays so, ask the server's operator"),
            ClientError::OtherLog { .. } => {
                (2, "name the server of your log with --server, or that log's trust file with --trust")
            }
            ClientError::Busy { .. } => (2, "try again: nothing was logged"),
            ClientError::Refused(problem) => {
                return Self::new(code, printable(&problem.detail), refused_hint(problem));
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
            ClientError::Store { io, .. } => (2, store_hint(io)),
            ClientError::Draft(DraftError::Sign(fault)) => return signing::no_signature(fault),
            ClientError::Draft(DraftError::Malformed(fault)) => {
                return signing::malformed("the record", fault);
            }
            ClientError::Misuse(_) => (2, "add --help to see what the command takes"),
            ClientError::Random(_) => (2, "try again"),
            ClientError::Clock => (2, "set the clock of this machine"),
        };
        Self::new(code, printable(why), hint).with_status(status)
    }
}

impl From<SubmitError> for Failure {
    /// What a submission without inclusion, or one that could not be kept in mind, means for a person.
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejected) => rejection(&rejected),
            SubmitError::NotSubmitted(cause) => cause.into(),
            SubmitError::Failed(cause) => {
                let hint = "look with `counterfoil resume RUN` before you repeat it";
                let failure = Self::from(cause);
                let message = format!("{}; the record may have been logged", failure.message());
                Self::new(failure.code(), message, hint).with_status(failure.status())
            }
            SubmitError::NotKept { included, cause } => Self::from(cause).after(&is_logged(&included)),
        }
    }
}

/// What a person does about a server's refusal. The server's own hints are for whoever speaks HTTP.
fn refused_hint(problem: &Problem) -> String {
    let hint = match problem.code.as_str() {
        "token-required" => {
            "put the server's read token, or one of your own, into the variable COUNTERFOIL_TOKEN"
        }
        "token-expired" => "have the server's operator make another: `counterfoil tokens new`",
        "token-scope" => {
            "have the server's operator make one with the scope that is named: `counterfoil tokens new --scope SCOPE`"
        }
        "proposal-unknown" => "check the id; list the proposals with `counterfoil approvals list`",
        "run-unknown" => "a run's id is that of its trigger: list them with `counterfoil runs`",
        _ => return printable(problem.hint.as_deref().unwrap_or("")),
    };
    hint.to_owned()
}

fn store_hint(io: &std::io::Error) -> &'static str {
    match io.kind() {
        ErrorKind::InvalidData => {
            "the file was damaged here, by no server: put a copy of it back; without one, move it away, and compare the log's \
             next checkpoint with somebody else's"
        }
        ErrorKind::StorageFull => "free some space",
        _ => "check the directory `seen` of the working directory, its owner and the disk",
    }
}

/// What the log's signed refusal means.
fn rejection(rejected: &Rejected) -> Failure {
    let message = format!("the log does not admit the record ({}), and signed that", rejected.rule);
    Failure::new(printable(&rejected.code), printable(&message), crate::advice::when_refused(&rejected.code))
        .with_status(VIOLATED)
}

/// Says what became of a submission.
pub fn report(
    context: &Context,
    kind: Type,
    run: Option<RunId>,
    submitted: Result<Included, SubmitError>,
) -> Outcome {
    say(context, kind, run, submitted, None)
}

/// The id of a record that is in the log is said whatever else fails: nobody else can tell it.
fn say(
    context: &Context,
    kind: Type,
    run: Option<RunId>,
    submitted: Result<Included, SubmitError>,
    without_effect: Option<&str>,
) -> Outcome {
    let included = match &submitted {
        Ok(included) => included,
        Err(SubmitError::NotKept { included, .. }) => included,
        Err(_) => return submitted.map(|_| 0).map_err(Failure::from),
    };
    let said = if context.json {
        let mut json = included_json(kind, run, included);
        if let Some(why) = without_effect {
            json["without_effect"] = why.into();
        }
        output::print_json(&json)
    } else {
        let (style, size) = (context.style, included.checkpoint.head().size);
        let place = format!("       entry {}, proven in the tree of size {size}\n", included.index);
        let effect = without_effect
            .map_or(String::new(), |why| format!("       it changes nothing: {}\n", printable(why)));
        let head = format!("{} {kind} {}\n", style.good("logged"), included.id);
        output::print(&format!("{head}{}{}", style.dim(&place), style.open(&effect)))
    };
    said.map_err(|failure| failure.after(&is_logged(included)))?;
    submitted.map(|_| 0).map_err(Failure::from)
}

fn is_logged(included: &Included) -> String {
    format!("the record {} is logged, as entry {}; but ", included.id, included.index)
}

/// That a record is in the log, for a program.
pub fn included_json(kind: Type, run: Option<RunId>, included: &Included) -> serde_json::Value {
    let head = included.checkpoint.head();
    // A trigger starts the run that has its id.
    let run = if kind == Type::Trigger { Some(RunId::started_by(included.id)) } else { run };
    json!({
        "type": kind.as_str(),
        "id": included.id.to_string(),
        "index": included.index,
        "run": run.map(|run| run.to_string()),
        "checkpoint": {"size": head.size.0, "root": head.root.to_string()},
    })
}
