//! Where calls become actions: proposed with the agent's key, executed with the runtime's, if the policy and people allow it.
//!
//! Each call has a run of its own: trigger, proposal, what is decided, execution, outcome. So its receipt is a bundle by itself, and
//! what a call costs does not grow with what was called before (`spec/decisions/`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use counterfoil_client::seal;
use counterfoil_gate::{Ask, AskError, Asked, Refusal};
use counterfoil_policy::{Evidence, Policy};
use counterfoil_receipt::{
    Action, Opening, PolicyDigest, RecordId, RunId,
    action::{Connector, Json, Map as Committed, Mode},
    body::Risk,
    json,
    limits::NAMES,
    text::{Label, Pointer, Text},
};
use counterfoil_verify::{Answer, Dimension, RunState};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{limits, policy::Says, pool::spawn, tools::Tool};

/// The argument of an action that has what the client answered.
pub const RESPONSES: &str = "counterfoil/inputResponses";
/// The argument of an action that has the digest of the server's state.
pub const STATE: &str = "counterfoil/requestState";

/// For how long it is believed which policy is in force.
const BELIEVED: Duration = Duration::from_secs(limits::POLICY_SECONDS);

/// A call of a tool, as the client asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The server's name for the tool.
    pub name: String,
    /// The tool when it was called.
    pub tool: Tool,
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// What the client answers to what an earlier call of it was answered with, if that wanted something.
    pub inputs: Option<Inputs>,
}

/// What goes on with a call whose result wanted input (2026-07-28, `input_required`).
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// By the server's names for what it asked.
    pub responses: Option<Map<String, Value>>,
    /// The server's own word on where it was, given back as it came.
    pub state: Option<String>,
}

/// What makes two calls the same: tool, definition and arguments.
pub type CallDigest = [u8; 32];

/// What a gate says of itself and of what it asks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the operator calls the server. Actions name their tools `SERVER/TOOL`.
    pub server: Label,
    /// The risk that proposals claim.
    pub risk: Risk,
    /// What this connection is called in triggers.
    pub session: String,
    /// The server of the log, where people look at what waits for them.
    pub log: String,
}

/// The agent's key and the gate of the runtime, for the tools of one server.
pub struct Desk {
    /// Where calls are asked for.
    pub asking: counterfoil_gate::Desk,
    /// What proposals say.
    pub settings: Settings,
    /// What the policy says, and when that was asked; nothing where the log gave no answer.
    says: Mutex<Option<(Instant, Option<Arc<Says>>)>>,
    /// What verified evidence says of it, and when that was asked; also that there was none.
    in_force: Mutex<Option<(Instant, Shown)>>,
    /// The run of this connection, once there is one: in it is recorded what is refused and was never proposed.
    connection: Mutex<Option<RunId>>,
}

/// What verified evidence says of the policy, or why there is none.
type Shown = Result<Arc<Says>, NotAsked>;

/// Why a call is not even proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAsked {
    /// The stable code.
    pub code: String,
    /// For a person.
    pub why: String,
}

impl Call {
    /// What makes two calls the same.
    ///
    /// # Errors
    /// [`NotAsked`] for arguments that no record can hold.
    pub fn digest(&self) -> Result<CallDigest, NotAsked> {
        let arguments = json::to_canonical(&Value::Object(self.bound()))
            .map_err(|fault| NotAsked::new("arguments", fault.to_string()))?;
        let mut digest = Sha256::new().chain_update(self.tool.definition.as_bytes());
        digest.update((self.name.len() as u64).to_be_bytes());
        Ok(digest.chain_update(&self.name).chain_update(arguments).finalize().into())
    }

    /// The action that this call is, and what opens its commitments.
    ///
    /// # Errors
    /// [`NotAsked`] for what no record can hold.
    fn to_action(&self, server: &Label) -> Result<(Action, Vec<Opening>), NotAsked> {
        let connector = Connector { name: server.clone(), schema: self.tool.definition };
        action(format!("{server}/{}", self.name), Some(connector), self.bound())
    }

    /// The arguments of an approved action of this call; what it commits to is taken from the call, whose content was compared.
    pub(crate) fn approved(&self, action: &Action) -> Map<String, Value> {
        let mut approved = match serde_json::from_str(action.arguments.as_str()) {
            Ok(Value::Object(arguments)) => arguments,
            _ => Map::new(),
        };
        let committed = action.committed.iter().flat_map(|committed| committed.iter());
        for path in committed.map(|(path, _)| path.as_str()) {
            let own = self.arguments.iter().find(|(name, _)| pointer(name) == path);
            approved.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        }
        approved.retain(|name, _| ![RESPONSES, STATE].contains(&name.as_str()));
        approved
    }

    /// What the action binds: the arguments, and what answers to an earlier result, under names that no argument may have.
    fn bound(&self) -> Map<String, Value> {
        let mut bound = self.arguments.clone();
        let Some(Inputs { responses, state }) = &self.inputs else { return bound };
        if let Some(responses) = responses {
            bound.insert(RESPONSES.to_owned(), Value::Object(responses.clone()));
        }
        if let Some(state) = state {
            let digest = Sha256::digest(state.as_bytes());
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            bound.insert(STATE.to_owned(), format!("sha256:{digest}").into());
        }
        bound
    }
}

/// An action, and what opens its commitments.
fn action(
    tool: String,
    connector: Option<Connector>,
    mut plain: Map<String, Value>,
) -> Result<(Action, Vec<Opening>), NotAsked> {
    let malformed = |what: &str| NotAsked::new("arguments", what.to_owned());
    let (mut committed, mut openings) = (Vec::new(), Vec::new());
    while size(&plain)? > limits::PLAIN_BYTES {
        let sizes = plain.iter().map(|(name, value)| Ok((canonical(value)?.len(), name.clone())));
        let sizes: BTreeMap<usize, String> = sizes.collect::<Result<_, NotAsked>>()?;
        let Some(name) = sizes.into_values().next_back().filter(|_| committed.len() < NAMES) else {
            return Err(malformed("more large arguments than a record can commit to"));
        };
        let value = plain.remove(&name).unwrap_or_default();
        let pointer = pointer(&name);
        let label = Label::new(pointer.as_str()).zip(Label::new("application/json"));
        let (label, media_type) =
            label.ok_or_else(|| malformed("the name of a large argument is no label"))?;
        let sealed = seal(label, media_type, canonical(&value)?)
            .map_err(|fault| NotAsked::new("arguments", fault.to_string()))?;
        let pointer =
            Pointer::new(pointer).ok_or_else(|| malformed("the name of a large argument is no pointer"))?;
        committed.push((pointer, sealed.item.commitment));
        openings.push(sealed.opening);
    }
    let arguments = Json::from_value(&Value::Object(plain))
        .map_err(|fault| NotAsked::new("arguments", fault.to_string()))?;
    let action = Action {
        arguments,
        committed: if committed.is_empty() { None } else { Committed::new(committed) },
        connector,
        free: None,
        mode: Mode::Apply,
        precondition: None,
        target: None,
        tool: Label::new(tool)
            .ok_or_else(|| NotAsked::new("tool", "the tool's name is no label".to_owned()))?,
    };
    Ok((action, openings))
}

impl Desk {
    /// A desk for the tools of one server.
    pub fn new(asking: counterfoil_gate::Desk, settings: Settings) -> Self {
        Self {
            asking,
            settings,
            says: Mutex::default(),
            in_force: Mutex::default(),
            connection: Mutex::default(),
        }
    }

    /// Logs outcomes soon after their effects, on a thread of its own, for as long as the desk is there.
    ///
    /// # Errors
    /// [`NotAsked`] if there is no thread for it.
    pub(crate) fn log_outcomes(desk: &Arc<Self>) -> Result<(), NotAsked> {
        let desk = Arc::downgrade(desk);
        let logging = spawn(move || {
            while let Some(desk) = desk.upgrade() {
                let gate = &desk.asking.gate;
                if gate.wait_for_outcomes(limits::LINGER, limits::OUTCOMES) && !gate.log_outcomes() {
                    thread::sleep(BELIEVED);
                }
            }
        });
        logging.map_err(|fault| NotAsked::new("mcp-thread", fault.to_string()))
    }

    /// Where people look at a proposal.
    pub fn review_url(&self, proposal: &RecordId) -> String {
        format!("{}/review/{proposal}", self.settings.log.trim_end_matches('/'))
    }

    /// Whether a call of a tool could pass with some arguments, as far as the log lists its policy; that it could where that is not known.
    pub fn lists(&self, name: &str, tool: &Tool) -> bool {
        let call = Call { name: name.to_owned(), tool: *tool, arguments: Map::new(), inputs: None };
        let Ok((action, _)) = call.to_action(&self.settings.server) else { return false };
        self.says().is_none_or(|says| says.lists(&action, self.settings.risk, self.asking.principal()))
    }

    /// Which policy is in force, if any is, as the log lists it; `None` where that is not known.
    pub fn policy_listed(&self) -> Option<Option<PolicyDigest>> {
        self.says().map(|says| says.digest())
    }

    /// How the tool of a call is defined, to be said where the policy asks for definitions, as far as the log listed it.
    pub fn definition_of(&self, action: &Action) -> String {
        let known = self.says.try_lock().ok().and_then(|says| says.as_ref()?.1.clone());
        known.map_or_else(String::new, |says| says.definition_of(action))
    }

    /// Why a call is refused without being proposed, if it is: the policy would deny it whoever approved it. The refusal is on record, equal
    /// ones with their number, in the run that is given with it.
    ///
    /// # Errors
    /// [`NotAsked`] if it is not known whether it is on record.
    pub fn refuses(&self, ask: &Ask) -> Result<Option<(Refusal, RunId)>, NotAsked> {
        let denied = self.says().and_then(|says| says.denies(&ask.action, ask.risk, self.asking.principal()));
        let Some(refusal) = denied else { return Ok(None) };
        let run = self.connection()?;
        self.asking.gate.refuse(run, &ask.action, &refusal).map_err(AskError::Gate)?;
        Ok(Some((refusal, run)))
    }

    /// Records that a tool was called which the server has not: equal ones with their number, whatever their arguments.
    ///
    /// # Errors
    /// [`NotAsked`] if it is not on record.
    pub fn refuse_unknown(&self, tool: &str, code: &str, why: &str) -> Result<(), NotAsked> {
        let (action, _) = action(format!("{}/{tool}", self.settings.server), None, Map::new())?;
        let refusal = Refusal { code: code.to_owned(), detail: why.to_owned() };
        self.asking.gate.refuse(self.connection()?, &action, &refusal).map_err(AskError::Gate)?;
        Ok(())
    }

    /// Whether a request that is no call passes: whether the policy in force allows it. If not, the refusal is on record, equal ones with their
    /// number.
    ///
    /// # Errors
    /// [`NotAsked`], also if the log does not show which policy is in force.
    pub fn passes(&self, method: &str, params: &Map<String, Value>) -> Result<(), NotAsked> {
        let action = self.passage(method, params)?;
        let in_force = self.in_force()?;
        let Some(refusal) = in_force.keeps_back(&action, self.settings.risk, self.asking.principal()) else {
            return Ok(());
        };
        self.asking.gate.refuse(self.connection()?, &action, &refusal).map_err(AskError::Gate)?;
        Err(NotAsked { code: refusal.code, why: refusal.detail })
    }

    /// Whether such a request passes by what is known already, without asking the log or waiting for anything.
    pub fn is_known_to_pass(&self, method: &str, params: &Map<String, Value>) -> bool {
        let Ok(in_force) = self.in_force.try_lock() else { return false };
        let Some((_, Ok(says))) = in_force.as_ref().filter(|(asked, _)| asked.elapsed() < BELIEVED) else {
            return false;
        };
        let action = self.passage(method, params);
        action.is_ok_and(|action| {
            says.keeps_back(&action, self.settings.risk, self.asking.principal()).is_none()
        })
    }

    /// Whether some request of one of these methods could pass, as far as the log lists its policy; that it could where that is not known.
    pub fn offers(&self, methods: &[&str]) -> bool {
        let Some(says) = self.says() else { return true };
        methods.iter().any(|method| {
            let action = self.passage(method, &Map::new());
            action.is_ok_and(|action| says.offers(&action, self.settings.risk, self.asking.principal()))
        })
    }

    /// Whether no request of this method could pass, by what the log listed last; nothing is asked.
    pub fn is_known_not_to_offer(&self, method: &str) -> bool {
        let known = self.says.try_lock().ok().and_then(|says| says.as_ref()?.1.clone());
        let action = self.passage(method, &Map::new());
        known
            .zip(action.ok())
            .is_some_and(|(says, action)| !says.offers(&action, self.settings.risk, self.asking.principal()))
    }

    /// A request as an action: no name of a tool of this server begins like this one.
    fn passage(&self, method: &str, params: &Map<String, Value>) -> Result<Action, NotAsked> {
        let mut arguments = params.clone();
        arguments.remove("_meta");
        action(format!("{}:{method}", self.settings.server), None, arguments).map(|(action, _)| action)
    }

    /// The policy in force, as verified evidence of this connection's run shows it, at most so many seconds ago. Only one thread asks.
    fn in_force(&self) -> Shown {
        let mut in_force = lock(&self.in_force);
        if let Some((_, known)) = in_force.as_ref().filter(|(asked, _)| asked.elapsed() < BELIEVED) {
            return known.clone();
        }
        let shown = self.connection().and_then(|run| {
            self.asking.gate.shown(run).map_err(|fault| NotAsked::new("no-evidence", fault.to_string()))
        });
        let says = shown.map(|evidence| {
            let state = evidence.state();
            let (digest, policy) = state.policy_in_force().unzip();
            let differs = self.asking.gate.policy_differs(digest);
            let groups = state.groups(self.asking.principal()).to_vec();
            // A rule names what it demands as verdicts name it.
            let passing = Dimension::ALL.into_iter();
            let passing = passing.filter(|one| matches!(evidence.answer(*one), Answer::Pass(_)));
            let passing = passing.filter_map(|one| Evidence::parse(&one.to_string())).collect();
            Arc::new(Says::new(digest, policy.cloned(), groups, differs).on(passing))
        });
        *in_force = Some((Instant::now(), says.clone()));
        says
    }

    /// Whether the log shows that nothing is left of what was approved; not where it gives no answer.
    pub(crate) fn is_used_up(&self, asked: &Asked) -> bool {
        let Ok(evidence) = self.asking.gate.shown(asked.run) else { return false };
        let Ok(state) = RunState::of(&evidence, asked.run, &[]) else { return false };
        let budget = state.budget();
        budget.uses.iter().any(|uses| uses.proposal == asked.proposal && uses.left == 0)
    }

    /// The run of this connection.
    fn connection(&self) -> Result<RunId, NotAsked> {
        let mut connection = lock(&self.connection);
        if let Some(run) = *connection {
            return Ok(run);
        }
        let Settings { server, session, .. } = &self.settings;
        let mut event = Ask::event(&format!("mcp:{server}"), session)?;
        event.kind = Label::new("connection");
        let run = self.asking.start(event)?;
        *connection = Some(run);
        Ok(run)
    }

    /// The policy in force, as the log lists it; `None` where the log does not answer, and for a while after.
    fn says(&self) -> Option<Arc<Says>> {
        if let Some(known) = lock(&self.says).as_ref().filter(|(asked, _)| asked.elapsed() < BELIEVED) {
            return known.1.clone();
        }
        let says = self.ask_what_it_says().map(Arc::new);
        *lock(&self.says) = Some((Instant::now(), says.clone()));
        says
    }

    fn ask_what_it_says(&self) -> Option<Says> {
        let log = self.asking.gate.log().hints().ok()?;
        let (policy, agent) = (log.policy().ok()?, log.principal(self.asking.principal()).ok()?);
        let document = policy.document.as_ref().map(|document| document.as_str().as_bytes());
        let differs = self.asking.gate.policy_differs(policy.digest);
        let read = document.and_then(|document| Policy::parse(document).ok());
        Some(Says::new(policy.digest, read, agent.groups, differs))
    }

    /// Looks for what earlier gates of the same agent and server proposed, and what still waits.
    ///
    /// # Errors
    /// [`NotAsked`] if the log gives no answer.
    pub fn find_earlier(&self) -> Result<(), NotAsked> {
        Ok(self.asking.find_earlier(&format!("{}/*", self.settings.server))?)
    }

    /// What a call asks for: the request of this connection is its event.
    ///
    /// # Errors
    /// [`NotAsked`] for what no record can hold.
    pub fn ask(&self, call: &Call, request: &str) -> Result<Ask, NotAsked> {
        let Settings { server, risk, session, .. } = &self.settings;
        let (action, openings) = call.to_action(server)?;
        let mut ask = Ask::new(&format!("mcp:{server}"), &format!("{session}/{request}"), action, *risk)?;
        ask.event.kind = Label::new("tools/call");
        ask.summary = Text::new(format!("A call of {} through MCP.", ask.action.tool));
        ask.openings = openings;
        ask.changes_nothing = call.tool.read_only;
        Ok(ask)
    }
}

impl From<AskError> for NotAsked {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotAsked { code, why } => Self { code, why },
            AskError::Gate(fault) => Self::new("gate", fault.to_string()),
        }
    }
}

/// The path of an argument.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// What is behind a mutex; nothing here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn canonical(value: &Value) -> Result<Vec<u8>, NotAsked> {
    json::to_canonical(value).map_err(|fault| NotAsked::new("arguments", fault.to_string()))
}

fn size(members: &Map<String, Value>) -> Result<usize, NotAsked> {
    canonical(&Value::Object(members.clone())).map(|bytes| bytes.len())
}

impl NotAsked {
    fn new(code: impl Into<String>, why: String) -> Self {
        Self { code: code.into(), why }
    }
}
