//! A log with the standard cast, and the runs that they play.

use counterfoil_receipt::{
    Action, ActionDigest, PolicyDigest, RecordId, Role, RunId,
    action::{Json, Mode},
    body::{
        Audience, Authority, Changes, Decision, Delegation, Effects, Event, Execution, Genesis,
        GenesisLimits, Handoff, KeyChange, Keyring, LogKeys, Observation, ObservationKind, Outcome, Policy,
        Proposal, Risk, Ruling, Scope, Status, Surface, Trigger, Window,
    },
    field::{List, Millis, Set, Whole},
    text::{Group, Label, Nonce, Text},
};
use serde_json::{Value, json};

use crate::{Actor, Cast, Ledger};

/// The origin of every scenario's log.
pub const ORIGIN: &str = "counterfoil.example/log";
/// How long approvals last in a scenario, in milliseconds: as long as its policy allows.
pub const WINDOW: u64 = 3_600_000;

/// A ledger and the cast whose keys it knows.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The log.
    pub ledger: Ledger,
    /// Who signs.
    pub cast: Cast,
    /// The delegation under which `scout` proposes, if under one.
    pub delegation: Option<RecordId>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self::new()
    }
}

impl Scenario {
    /// A log with everybody enrolled, under the policy of [`policy_document`] with two approvers.
    pub fn new() -> Self {
        Self::under(policy_document(2))
    }

    /// The same under another policy.
    pub fn under(policy: Value) -> Self {
        let mut scenario = Self::founded(|_| {});
        scenario.enrol_cast();
        scenario.set_policy(policy);
        scenario.ledger.close();
        scenario
    }

    /// A log with nobody enrolled and no policy, whose genesis is the standard one after `change`.
    pub fn founded(change: impl FnOnce(&mut Genesis)) -> Self {
        let cast = Cast::standard();
        let mut genesis = genesis(&cast);
        change(&mut genesis);
        Self { ledger: Ledger::new(ORIGIN, genesis, &cast.root, &cast.log), cast, delegation: None }
    }

    /// Enrols everybody whom the genesis does not name.
    pub fn enrol_cast(&mut self) {
        let Cast { ana, bo, scout, fixer, gate, engine, .. } = self.cast.clone();
        for (actor, groups) in [
            (&ana, &["sre"][..]),
            (&bo, &["sre"]),
            (&scout, &[]),
            (&fixer, &[]),
            (&gate, &["prod"]),
            (&engine, &[]),
        ] {
            self.enrol(actor, groups);
        }
    }

    /// Enrols one key.
    pub fn enrol(&mut self, actor: &Actor, groups: &[&str]) -> RecordId {
        let root = self.cast.root.clone();
        self.ledger.add(&root, None, enrolment(actor, groups))
    }

    /// Puts a policy into force.
    pub fn set_policy(&mut self, document: Value) -> RecordId {
        let root = self.cast.root.clone();
        self.ledger.add(&root, None, Policy::Document(Json::from_value(&document).expect("a document")))
    }

    /// The digest of the policy in force.
    pub fn policy(&self) -> PolicyDigest {
        self.ledger.state().policy_in_force().expect("a policy in force").0
    }

    /// Starts a run that `scout` owns.
    pub fn trigger(&mut self) -> RunId {
        let (gate, scout) = (self.cast.gate.clone(), self.cast.scout.clone());
        let event = self.ledger.size().to_string();
        RunId::started_by(self.ledger.add(&gate, None, trigger_body(&scout, &event)))
    }

    /// `scout` records what it saw, with one item and one set of two.
    pub fn observe(&mut self, run: RunId) -> RecordId {
        use counterfoil_receipt::body::Evidence;
        let item = self.ledger.item("alert.json", "application/json", br#"{"disk":"full"}"#);
        let set = self.ledger.item_set("traces", &[("trace-1", b"first"), ("trace-2", b"second")]);
        let body = Observation {
            items: Some(List(vec![Evidence::Item(item), Evidence::Set(set)])),
            kind: ObservationKind::Evidence,
            summary: Some(text("The disk of db-1 is full.")),
        };
        let scout = self.cast.scout.clone();
        self.ledger.add(&scout, Some(run), body)
    }

    /// What `scout` proposes: `action`, for `gate` to execute.
    pub fn proposal(&self, action: Action) -> Proposal {
        Proposal {
            action,
            audience: Audience::Principal(self.cast.gate.principal.clone()),
            cost: None,
            delegation: self.delegation,
            evidence: None,
            metadata: None,
            risk: Risk::High,
            summary: Some(text("Make room.")),
            supersedes: None,
            tags: Set::new([label("database")]),
        }
    }

    /// `scout` proposes an action, and the batch is closed.
    pub fn propose(&mut self, run: RunId, action: Action) -> RecordId {
        let (scout, body) = (self.cast.scout.clone(), self.proposal(action));
        let proposal = self.ledger.add(&scout, Some(run), body);
        self.ledger.close();
        proposal
    }

    /// What a decision on a proposal says, on the last checkpoint: an approval for one use.
    pub fn decision(&mut self, run: RunId, proposal: RecordId, verdict: Ruling) -> Decision {
        let shown = self.ledger.item("shown.txt", "text/plain", b"tool db.vacuum, target db-1");
        let approves = verdict == Ruling::Approve;
        let from = self.ledger.now();
        Decision {
            action: self.digest(run, &proposal),
            approver: None,
            basis: self.ledger.basis(),
            changes: (verdict == Ruling::RequestChanges)
                .then(|| Changes { action: None, note: Some(text("Not the whole database.")) }),
            policy: self.policy(),
            proposal,
            reason: None,
            rule: None,
            shown: Some(shown),
            surface: Surface::Terminal,
            uses: approves.then(|| number(1)),
            verdict,
            window: approves.then(|| Window { from: millis(from), until: millis(from + WINDOW) }),
        }
    }

    /// Somebody decides.
    pub fn decide(&mut self, run: RunId, proposal: RecordId, by: &Actor, verdict: Ruling) -> RecordId {
        let body = self.decision(run, proposal, verdict);
        self.ledger.add(by, Some(run), body)
    }

    /// `ana` and `bo` approve, and the batch is closed.
    pub fn approve(&mut self, run: RunId, proposal: RecordId) -> Vec<RecordId> {
        let Cast { ana, bo, .. } = self.cast.clone();
        let decisions = [ana, bo].map(|human| self.decide(run, proposal, &human, Ruling::Approve));
        self.ledger.close();
        decisions.to_vec()
    }

    /// What the execution of a proposal's first use says, on the last checkpoint.
    pub fn execution(&self, run: RunId, proposal: RecordId, decisions: &[RecordId]) -> Execution {
        let state = self.ledger.state();
        let proposed = state.run(&run).and_then(|run| run.proposal(&proposal)).expect("a proposal");
        Execution {
            action: proposed.action.clone(),
            basis: self.ledger.basis(),
            break_glass: None,
            decisions: Set::new(decisions.iter().copied()).expect("few decisions"),
            nonce: Nonce::new(format!("nonce-of-scenario-{:04}", self.ledger.size())).expect("a nonce"),
            policy: self.policy(),
            proposal,
            retries: None,
            use_number: number(1),
        }
    }

    /// `gate` executes, and the batch is closed.
    pub fn execute(&mut self, run: RunId, proposal: RecordId, decisions: &[RecordId]) -> RecordId {
        let (gate, body) = (self.cast.gate.clone(), self.execution(run, proposal, decisions));
        let execution = self.ledger.add(&gate, Some(run), body);
        self.ledger.close();
        execution
    }

    /// What `gate` reports.
    pub fn outcome(&self, execution: RecordId, status: Status) -> Outcome {
        let effects = match status {
            Status::Succeeded => Effects::Complete,
            Status::Failed => Effects::None,
            Status::Unknown => Effects::Unknown,
        };
        Outcome { attestation: None, detail: None, effects, execution, result: None, status }
    }

    /// `gate` reports.
    pub fn report(&mut self, run: RunId, execution: RecordId, status: Status) -> RecordId {
        let (gate, mut body) = (self.cast.gate.clone(), self.outcome(execution, status));
        body.result = Some(self.ledger.item("result.txt", "text/plain", b"freed 12 GB"));
        self.ledger.add(&gate, Some(run), body)
    }

    /// What a handoff to `fixer` says.
    pub fn handoff(&self, run: RunId) -> Handoff {
        let basis = self.ledger.basis();
        let state = self.ledger.state().run(&run).expect("a run");
        let index = |id: &RecordId| self.ledger.state().index_of(id).expect("an entry");
        let covered = state.open().into_iter().filter(|id| index(id) < basis.size.get());
        Handoff {
            open: Set::new(covered).expect("few open"),
            basis,
            items: None,
            summary: Some(text("Nothing left to do.")),
            to: self.cast.fixer.holder(),
        }
    }

    /// `scout` gives the run to `fixer`, and the batch is closed.
    pub fn hand_over(&mut self, run: RunId) -> RecordId {
        let (scout, body) = (self.cast.scout.clone(), self.handoff(run));
        let handoff = self.ledger.add(&scout, Some(run), body);
        self.ledger.close();
        handoff
    }

    /// A run in which a proposal is approved by two people, executed and succeeds.
    pub fn approved_run(&mut self) -> RunId {
        let run = self.trigger();
        self.observe(run);
        let mut action = action("db.vacuum", json!({"full": true}));
        let token = self.ledger.commit("/token", br#""s3cret""#);
        action.committed = counterfoil_receipt::action::Map::new([(pointer("/token"), token)]);
        action.free = Set::new([pointer("/attempt")]);
        let proposal = self.propose(run, action);
        let decisions = self.approve(run, proposal);
        self.conclude(run, proposal, &decisions);
        run
    }

    /// A run whose proposal is rejected, and whose runtime refuses to execute it.
    pub fn rejected_run(&mut self) -> RunId {
        use counterfoil_receipt::body::Refusal;
        let run = self.trigger();
        self.observe(run);
        let proposal = self.propose(run, action("db.drop", json!({"table": "orders"})));
        let Cast { ana, gate, .. } = self.cast.clone();
        self.decide(run, proposal, &ana, Ruling::Reject);
        self.ledger.close();
        let refusal = Refusal {
            action: None,
            basis: Some(self.ledger.basis()),
            code: label("proposal-ended"),
            count: number(1),
            decisions: None,
            detail: None,
            proposal: Some(proposal),
            use_number: None,
        };
        self.ledger.add(&gate, Some(run), refusal);
        self.hand_over(run);
        run
    }

    /// A run whose first proposal is sent back, and whose second is approved, executed and succeeds.
    pub fn revised_run(&mut self) -> RunId {
        let run = self.trigger();
        self.observe(run);
        let first = self.propose(run, action("db.delete", json!({"older_than_days": 1})));
        let Cast { bo, scout, .. } = self.cast.clone();
        self.decide(run, first, &bo, Ruling::RequestChanges);
        let mut revised = self.proposal(action("db.delete", json!({"older_than_days": 365})));
        revised.supersedes = Some(first);
        let second = self.ledger.add(&scout, Some(run), revised);
        self.ledger.close();
        let decisions = self.approve(run, second);
        self.conclude(run, second, &decisions);
        run
    }

    fn conclude(&mut self, run: RunId, proposal: RecordId, decisions: &[RecordId]) {
        let execution = self.execute(run, proposal, decisions);
        self.report(run, execution, Status::Succeeded);
        self.hand_over(run);
    }

    fn digest(&self, run: RunId, proposal: &RecordId) -> ActionDigest {
        self.ledger.state().run(&run).and_then(|run| run.proposal(proposal)).expect("a proposal").digest
    }
}

/// The enrolment of a key.
pub fn enrolment(actor: &Actor, groups: &[&str]) -> Keyring {
    let groups = groups.iter().map(|group| Group::new(*group).expect("a group"));
    Keyring {
        change: KeyChange::Enrol,
        groups: Set::new(groups).expect("few groups"),
        key: actor.key(),
        name: None,
        not_after: None,
        not_before: None,
        principal: actor.principal.clone(),
        replaces: None,
        role: actor.role,
        threshold: None,
    }
}

/// A trigger of a run that `owner` owns.
pub fn trigger_body(owner: &Actor, event: &str) -> Trigger {
    Trigger {
        content: None,
        event: Event { id: label(event), kind: Some(label("alert")), source: label("monitor.example") },
        owner: owner.holder(),
        summary: None,
    }
}

fn genesis(cast: &Cast) -> Genesis {
    Genesis {
        authority: Authority {
            roots: List(vec![cast.root.holder(), cast.spare_root.holder()]),
            threshold: number(1),
        },
        fold: number(0),
        limits: GenesisLimits { record_bytes: number(65_535), run_records: number(1_000) },
        log: LogKeys { note_keys: List(vec![label(&Ledger::vkey(ORIGIN))]), snapshot: cast.log.holder() },
        origin: label(ORIGIN),
    }
}

/// A policy under which `count` people of the group `sre` must approve, for two uses and an hour at the most.
pub fn policy_document(count: u64) -> Value {
    json!({
        "break_glass": false,
        "language": "counterfoil-policy/0",
        "rule": {"count": count, "groups": ["sre"], "role": Role::Human.as_str(), "segregation": true, "uses": 2, "window": WINDOW},
    })
}

/// An action of this tool on the target `db-1`.
pub fn action(tool: &str, arguments: Value) -> Action {
    Action {
        arguments: Json::from_value(&arguments).expect("arguments"),
        committed: None,
        connector: None,
        free: None,
        mode: Mode::Apply,
        precondition: None,
        target: Some(label("db-1")),
        tool: label(tool),
    }
}

/// A delegation of these tools, that may be passed on so often, without any other bound.
pub fn delegation(delegate: &Actor, tool: &str, depth: u64) -> Delegation {
    Delegation {
        audience: None,
        delegate: delegate.holder(),
        depth: number(depth),
        not_after: None,
        not_before: None,
        scope: List(vec![Scope { arguments: None, target: None, tool: label(tool) }]),
        spend: None,
        uses: None,
    }
}

/// A label.
pub fn label(text: &str) -> Label {
    Label::new(text).expect("a label")
}

/// A text.
pub fn text(text: &str) -> Text {
    Text::new(text).expect("a text")
}

/// A JSON Pointer.
pub fn pointer(text: &str) -> counterfoil_receipt::text::Pointer {
    counterfoil_receipt::text::Pointer::new(text).expect("a pointer")
}

fn number<const MIN: u64, const MAX: u64>(value: u64) -> Whole<MIN, MAX> {
    Whole::new(value).expect("a number within its bounds")
}

fn millis(value: u64) -> Millis {
    number(value)
}
