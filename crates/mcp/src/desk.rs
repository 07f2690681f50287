//! Where calls become actions: proposed with the agent's key, executed with the runtime's, if the policy and people allow it.
//!
//! Each call has a run of its own: trigger, proposal, what is decided, execution, outcome. So its receipt is a bundle by itself, and
//! what a call costs does not grow with what was called before (`spec/decisions/`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use counterfoil_client::{ApprovalQuery, ClientError, Clock, PinnedClient, Session, SubmitError, seal};
use counterfoil_gate::{Effect, Ended, Gate, GateError};
use counterfoil_receipt::{
    Action, ActionDigest, Opening, Place, Principal, RecordId, Role, RunId, Signer,
    action::{Connector, Json, Map as Committed, Mode},
    body::{Audience, Event, Holder, Proposal, Risk, Trigger},
    bundle::PayloadLine,
    json,
    limits::NAMES,
    text::{Label, Pointer, Text},
};
use counterfoil_verify::ProposalStatus;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{limits, tools::Tool};

/// A call of a tool, as the client asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The server's name for the tool.
    pub name: String,
    /// The tool when it was called.
    pub tool: Tool,
    /// The arguments.
    pub arguments: Map<String, Value>,
}

/// What makes two calls the same: tool, definition and arguments.
pub type CallDigest = [u8; 32];

/// What a gate says of itself and of what it asks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the operator calls the server. Actions name their tools `SERVER/TOOL`.
    pub server: Label,
    /// Who executes: the principal of the runtime's key.
    pub runtime: Principal,
    /// The risk that proposals claim.
    pub risk: Risk,
    /// What this connection is called in triggers.
    pub session: String,
}

/// The agent's key and the gate of the runtime.
pub struct Desk {
    /// What lets actions pass.
    pub gate: Gate<PinnedClient>,
    /// Signs triggers and proposals.
    pub agent: Box<dyn Signer + Send + Sync>,
    /// Whose key that is.
    pub principal: Principal,
    /// The clock.
    pub clock: Box<dyn Clock + Send + Sync>,
    /// What proposals say.
    pub settings: Settings,
    /// Proposals of earlier gates that nobody has decided, or nobody has used: the same call means one of these.
    pub earlier: Mutex<HashMap<ActionDigest, (RunId, RecordId)>>,
}

/// A call that is proposed.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its run.
    pub run: RunId,
    /// Its proposal.
    pub proposal: RecordId,
    /// Its action.
    pub action: Action,
    /// Whether an earlier gate proposed it.
    pub earlier: bool,
}

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
        let arguments = json::to_canonical(&Value::Object(self.arguments.clone()))
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
        let malformed = |what: &str| NotAsked::new("arguments", what.to_owned());
        let mut plain = self.arguments.clone();
        let (mut committed, mut openings) = (Vec::new(), Vec::new());
        while size(&plain)? > limits::PLAIN_BYTES {
            let sizes = plain.iter().map(|(name, value)| Ok((canonical(value)?.len(), name.clone())));
            let sizes: BTreeMap<usize, String> = sizes.collect::<Result<_, NotAsked>>()?;
            let Some(name) = sizes.into_values().next_back().filter(|_| committed.len() < NAMES) else {
                return Err(malformed("more large arguments than a record can commit to"));
            };
            let value = plain.remove(&name).unwrap_or_default();
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            let label = Label::new(pointer.as_str()).zip(Label::new("application/json"));
            let (label, media_type) =
                label.ok_or_else(|| malformed("the name of a large argument is no label"))?;
            let sealed = seal(label, media_type, canonical(&value)?)
                .map_err(|fault| NotAsked::new("arguments", fault.to_string()))?;
            let pointer = Pointer::new(pointer)
                .ok_or_else(|| malformed("the name of a large argument is no pointer"))?;
            committed.push((pointer, sealed.item.commitment));
            openings.push(sealed.opening);
        }
        let arguments = Json::from_value(&Value::Object(plain))
            .map_err(|fault| NotAsked::new("arguments", fault.to_string()))?;
        let tool = Label::new(format!("{server}/{}", self.name));
        let action = Action {
            arguments,
            committed: if committed.is_empty() { None } else { Committed::new(committed) },
            connector: Some(Connector { name: server.clone(), schema: self.tool.definition }),
            free: None,
            mode: Mode::Apply,
            precondition: None,
            target: None,
            tool: tool.ok_or_else(|| NotAsked::new("tool", "the tool's name is no label".to_owned()))?,
        };
        Ok((action, openings))
    }
}

impl Desk {
    /// Looks for what earlier gates of the same agent and server proposed, and what still waits. What the log lists is a hint: what runs is
    /// verified as everything is.
    ///
    /// # Errors
    /// [`NotAsked`] if the log gives no answer.
    pub fn find_earlier(&self) -> Result<(), NotAsked> {
        let failed = |fault: ClientError| NotAsked::new(fault.code(), fault.to_string());
        let log = self.gate.log().hints().map_err(failed)?;
        let mut found = HashMap::new();
        for status in [ProposalStatus::Open, ProposalStatus::Approved] {
            let mut before = None;
            for _ in 0..limits::EARLIER_PAGES {
                let query = ApprovalQuery {
                    status: Some(status),
                    principal: Some(self.principal.clone()),
                    tool: Some(format!("{}/*", self.settings.server)),
                    before,
                    ..ApprovalQuery::default()
                };
                let page = log.approvals(&query).map_err(failed)?;
                let theirs = page.approvals.into_iter().filter(|one| one.proposer == self.principal);
                found.extend(theirs.map(|one| (one.action.digest, (one.run, one.proposal))));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
        }
        *self.earlier.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Proposes a call, in a run of its own, unless an earlier gate did.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub fn propose(&self, call: &Call, request: &str) -> Result<Asked, NotAsked> {
        let (action, openings) = call.to_action(&self.settings.server)?;
        let earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner).remove(&action.digest());
        if let Some((run, proposal)) = earlier {
            return Ok(Asked { run, proposal, action, earlier: true });
        }
        let log = self.gate.log();
        let session = Session {
            client: log,
            signer: &*self.agent,
            principal: self.principal.clone(),
            role: Role::Agent,
            clock: &*self.clock,
        };
        let genesis = log.trust().genesis();
        let text = |text: &str| {
            Label::new(text).ok_or_else(|| NotAsked::new("session", format!("{text:?} is no label")))
        };
        let trigger = Trigger {
            content: None,
            event: Event {
                id: text(&format!("{}/{request}", self.settings.session))?,
                kind: Some(text("tools/call")?),
                source: text(&format!("mcp:{}", self.settings.server))?,
            },
            owner: Holder { key: self.agent.key(), principal: self.principal.clone() },
            summary: None,
        };
        let failed = |fault: ClientError| NotAsked::new(fault.code(), fault.to_string());
        let trigger = session.sign(Place::Single { log: genesis }, trigger).map_err(failed)?;
        let run = RunId::started_by(trigger.id());
        let proposal = Proposal {
            action: action.clone(),
            audience: Audience::Principal(self.settings.runtime.clone()),
            cost: None,
            delegation: None,
            evidence: None,
            metadata: None,
            risk: self.settings.risk,
            summary: Text::new(format!("A call of {} through MCP.", action.tool)),
            supersedes: None,
            tags: None,
        };
        let place = Place::Run { log: genesis, run, parents: vec![trigger.id()] };
        let proposal = session.sign(place, proposal).map_err(failed)?;
        let id = proposal.id();
        let payloads: Vec<PayloadLine> =
            openings.into_iter().map(|opening| PayloadLine::disclosing(opening, None)).collect();
        let answers =
            log.submit_batch(&[trigger, proposal], &payloads, &[]).map_err(|fault| not_asked(&fault))?;
        for answer in answers {
            answer.map_err(|fault| not_asked(&fault))?;
        }
        Ok(Asked { run, proposal: id, action, earlier: false })
    }

    /// Runs the effect of a proposed call if that may be now.
    ///
    /// # Errors
    /// [`GateError`]: nothing ran.
    pub fn attempt(&self, asked: &Asked, effect: &mut dyn Effect) -> Result<Ended, GateError> {
        self.gate.run(asked.run, asked.proposal, &asked.action, effect)
    }
}

fn not_asked(fault: &SubmitError) -> NotAsked {
    let code = match fault {
        SubmitError::Rejected(rejected) => rejected.code.as_str(),
        SubmitError::NotSubmitted(cause)
        | SubmitError::Failed(cause)
        | SubmitError::NotKept { cause, .. } => cause.code(),
    };
    NotAsked::new(code, fault.to_string())
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
