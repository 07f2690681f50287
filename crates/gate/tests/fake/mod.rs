//! A log in memory that answers the gate, truthfully or not, and can stop at any step.
#![allow(dead_code)]

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use counterfoil_client::{ClientError, Clock};
use counterfoil_gate::{Config, Done, Gate, Log, LogError, Submitted};
use counterfoil_receipt::{
    Action, Body, Opening, RecordId, RunId, Type, UnverifiedRecord,
    body::{Effects, Ruling, Status},
    field::Millis,
};
use counterfoil_testkit::{Actor, Scenario, witness};
use counterfoil_verify::{Dimension, Trust, Verdict, verify};

/// What a log does wrong with an execution that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    Honest,
    /// Says that the execution is logged, and drops it.
    Drops,
    /// Says that it is logged, and goes on showing the state before.
    ShowsTheStateBefore,
    /// Shows another run.
    ShowsAnotherRun,
    /// Puts another execution of the same use before it.
    SecondExecution,
    /// Puts a rejection of the proposal before it.
    RejectBefore,
    /// Puts a cancel of the proposal before it.
    CancelBefore,
    /// Logs it long after its window.
    Late,
    /// Signs that it does not admit the execution, and admits it.
    RejectsAndAdmits,
    /// Gives no answer after it admitted the execution.
    SilentAfter,
    /// Gives no answer, and does not admit it.
    SilentBefore,
    /// Is gone when evidence is asked for again.
    GoneAfter,
    /// Shows a bundle with a byte that is wrong.
    DamagedBundle,
    /// Admits whatever it is given.
    AdmitsAnything,
}

/// What happens where evidence is asked for that a witness cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Nobody answers.
    Silent,
    /// It has not cosigned yet.
    Late,
    /// It has.
    Cosigns,
}

pub struct World {
    pub scenario: Scenario,
    pub run: RunId,
    pub other_run: RunId,
    pub proposal: RecordId,
    pub action: Action,
    pub lie: Lie,
    pub reachable: bool,
    /// Whether it says of every run that it has none such.
    pub hides_runs: bool,
    /// What it says to outcomes of one execution.
    pub outcomes_of: Option<(RecordId, LogError)>,
    /// What happens where evidence is asked for that a witness cosigned, one after another; none where nobody demands that.
    pub witness: Option<VecDeque<Witness>>,
    /// Stop (as a process that is killed) at the step of this number, counted down.
    pub crash_in: Option<u32>,
    pub steps: u32,
    /// What happens beside the next submission.
    pub on_submit: Option<Box<dyn FnOnce() + Send>>,
    frozen: Option<Vec<u8>>,
    lied: bool,
}

#[derive(Clone)]
pub struct FakeLog(pub Arc<Mutex<World>>, Vec<Dimension>);

/// The log's own time, and how far before it this clock is.
pub struct FakeClock(pub Arc<Mutex<World>>, i64);

/// What a test panics with where a process would be killed.
pub struct Killed;

impl FakeLog {
    /// A log with one proposal, approved by whoever `approve` says.
    pub fn new(mut scenario: Scenario, approve: impl FnOnce(&mut Scenario, RunId, RecordId)) -> Self {
        let run = scenario.trigger();
        let other_run = scenario.trigger();
        let action = counterfoil_testkit::action("db.vacuum", serde_json::json!({"full": true}));
        let proposal = scenario.propose(run, action.clone());
        approve(&mut scenario, run, proposal);
        let world = World {
            scenario,
            run,
            other_run,
            proposal,
            action,
            lie: Lie::Honest,
            reachable: true,
            hides_runs: false,
            outcomes_of: None,
            witness: None,
            crash_in: None,
            steps: 0,
            on_submit: None,
            frozen: None,
            lied: false,
        };
        Self(Arc::new(Mutex::new(world)), vec![Dimension::Integrity])
    }

    /// The same, approved by two people.
    pub fn approved() -> Self {
        Self::new(Scenario::new(), |scenario, run, proposal| {
            scenario.approve(run, proposal);
        })
    }

    pub fn lying(lie: Lie) -> Self {
        let log = Self::approved();
        log.world(|world| world.lie = lie);
        log
    }

    pub fn world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub fn gate(&self, dir: &Path) -> Gate<FakeLog> {
        let gate = self.world(|world| world.scenario.cast.gate.clone());
        self.gate_of(&gate, dir)
    }

    pub fn gate_of(&self, actor: &Actor, dir: &Path) -> Gate<FakeLog> {
        self.gate_at(actor, dir, 0)
    }

    /// A gate on a machine whose clock goes by so many milliseconds before that of the log.
    pub fn gate_at(&self, actor: &Actor, dir: &Path, ahead: i64) -> Gate<FakeLog> {
        let config = Config {
            dir: dir.to_owned(),
            signer: Box::new(Key(actor.clone())),
            runtime: actor.principal.clone(),
            clock: Box::new(FakeClock(self.0.clone(), ahead)),
            outcome_patience: Duration::ZERO,
            refusal_pause: Duration::from_secs(3_600),
        };
        Gate::new(self.clone(), config).unwrap()
    }

    /// Records of this type in the log, in order.
    pub fn records(&self, kind: Type) -> Vec<UnverifiedRecord> {
        self.world(|world| {
            let records =
                world.scenario.ledger.entries().iter().map(|bytes| UnverifiedRecord::parse(bytes).unwrap());
            records.filter(|record| record.kind() == kind).collect()
        })
    }

    /// Status and effects of every outcome in the log.
    pub fn outcomes(&self) -> Vec<(Status, Effects)> {
        self.records(Type::Outcome)
            .iter()
            .map(|record| match record.body() {
                Body::Outcome(body) => (body.status, body.effects),
                _ => unreachable!(),
            })
            .collect()
    }
}

impl World {
    fn step(&mut self) {
        self.steps += 1;
        match &mut self.crash_in {
            Some(0) => {
                self.crash_in = None;
                std::panic::panic_any(Killed);
            }
            Some(left) => *left -= 1,
            None => {}
        }
    }

    /// What this runtime trusts.
    fn trust(&self) -> Trust {
        let mut trust = self.scenario.ledger.trust();
        if self.witness.is_some() {
            let vkey = counterfoil_tlog::Signer::key(&witness("seen")).to_string();
            trust.witnesses = trust.witnesses.replace("none", "seen");
            trust
                .witnesses
                .insert_str(trust.witnesses.find("quorum").unwrap(), &format!("witness seen {vkey}\n"));
        }
        trust.trust()
    }

    fn bundle(&self, run: RunId) -> Vec<u8> {
        self.scenario.ledger.bundle(run)
    }

    fn admit(&mut self, record: &UnverifiedRecord) -> Result<u64, LogError> {
        let ledger = &mut self.scenario.ledger;
        if let Some(index) = ledger.state().index_of(&record.id()) {
            return Ok(index);
        }
        match ledger.append(record.bytes()) {
            Ok(_) => {
                ledger.wait(1_000);
                ledger.close();
                Ok(ledger.state().index_of(&record.id()).unwrap())
            }
            Err(refused) => Err(LogError::Rejected { code: refused.code.to_owned() }),
        }
    }

    fn before(&mut self, lie: Lie) {
        let (run, proposal) = (self.run, self.proposal);
        let scenario = &mut self.scenario;
        match lie {
            Lie::SecondExecution => {
                let decisions = scenario.ledger.state().run(&run).unwrap().approvals(&proposal);
                let body = scenario.execution(run, proposal, &decisions);
                let gate = scenario.cast.gate.clone();
                scenario.ledger.add(&gate, Some(run), body);
            }
            Lie::RejectBefore => {
                let ana = scenario.cast.ana.clone();
                scenario.decide(run, proposal, &ana, Ruling::Reject);
            }
            Lie::CancelBefore => {
                let scout = scenario.cast.scout.clone();
                let cancel = counterfoil_receipt::body::Cancel { reason: None, target: proposal };
                scenario.ledger.add(&scout, Some(run), cancel);
            }
            Lie::Late => scenario.ledger.wait(2 * counterfoil_testkit::WINDOW),
            _ => {}
        }
    }

    /// Puts a record into the log whether it may stand there or not.
    fn force(&mut self, record: &UnverifiedRecord) -> u64 {
        let ledger = &mut self.scenario.ledger;
        let index = ledger.size();
        let _ = ledger.force(record.bytes());
        ledger.close();
        index
    }

    fn submit(&mut self, record: &UnverifiedRecord) -> Result<u64, LogError> {
        let silent = LogError::Unknown("no answer".to_owned());
        if !self.reachable {
            return Err(silent);
        }
        if let (Body::Outcome(body), Some((execution, error))) = (record.body(), &self.outcomes_of)
            && body.execution == *execution
        {
            return Err(error.clone());
        }
        if self.lie == Lie::AdmitsAnything {
            return Ok(self.force(record));
        }
        if record.kind() != Type::Execution || self.lied {
            return self.admit(record);
        }
        self.lied = self.lie != Lie::Honest;
        match self.lie {
            Lie::Honest | Lie::AdmitsAnything => self.admit(record),
            Lie::Drops => Ok(self.scenario.ledger.size()),
            Lie::ShowsTheStateBefore => {
                self.frozen = Some(self.bundle(self.run));
                self.admit(record)
            }
            Lie::SecondExecution | Lie::RejectBefore | Lie::CancelBefore | Lie::Late => {
                self.before(self.lie);
                Ok(self.force(record))
            }
            Lie::RejectsAndAdmits => {
                self.admit(record)?;
                Err(LogError::Rejected { code: "use-consumed".to_owned() })
            }
            Lie::SilentAfter => self.admit(record).and(Err(silent)),
            Lie::SilentBefore => Err(silent),
            Lie::ShowsAnotherRun | Lie::DamagedBundle => self.admit(record),
            Lie::GoneAfter => {
                self.reachable = false;
                let ledger = &mut self.scenario.ledger;
                let index = ledger.size();
                ledger.append(record.bytes()).unwrap();
                ledger.close();
                Ok(index)
            }
        }
    }

    fn evidence(&self, run: RunId) -> Result<Vec<u8>, LogError> {
        if !self.reachable {
            return Err(LogError::Unknown("no answer".to_owned()));
        }
        if self.hides_runs || self.scenario.ledger.state().run(&run).is_none() {
            return Err(LogError::NoRun(format!("{run} is not in the log")));
        }
        Ok(match self.lie {
            Lie::ShowsAnotherRun if self.lied => self.bundle(self.other_run),
            Lie::DamagedBundle if self.lied => {
                let mut bundle = self.bundle(run);
                let middle = bundle.len() / 2;
                bundle[middle] ^= 1;
                bundle
            }
            _ => self.frozen.clone().unwrap_or_else(|| self.bundle(run)),
        })
    }
}

impl Log for FakeLog {
    fn evidence(&self, run: RunId, now: Millis) -> Result<Verdict, LogError> {
        self.world(|world| {
            world.step();
            let trust = world.trust();
            world.evidence(run).map(|bundle| verify(&bundle, &trust, now.get()))
        })
    }

    fn witnessed(&self, run: RunId, now: Millis) -> Result<Verdict, LogError> {
        match self.world(|world| world.witness.as_mut().and_then(VecDeque::pop_front)) {
            Some(Witness::Silent) => return Err(LogError::Unknown("no answer".to_owned())),
            Some(Witness::Cosigns) => self.world(|world| {
                let seconds = world.scenario.ledger.now() / 1_000;
                world.scenario.ledger.cosign(&witness("seen"), seconds);
            }),
            Some(Witness::Late) | None => {}
        }
        self.evidence(run, now)
    }

    fn submit(&self, record: &UnverifiedRecord, _: &[Opening]) -> Result<u64, LogError> {
        self.world(|world| {
            world.step();
            let answer = world.submit(record);
            if let Some(then) = world.on_submit.take() {
                then();
            }
            world.step();
            answer
        })
    }

    /// Shows every other run with the answers; the others are asked for.
    fn submit_and_show(
        &self,
        records: &[(&UnverifiedRecord, &[Opening])],
        run: RunId,
        clock: &dyn Clock,
    ) -> Submitted {
        let answers = self.submit_all(records);
        let is_shown = run.as_bytes()[0].is_multiple_of(2) && answers.iter().all(Result::is_ok);
        Submitted { answers, shown: is_shown.then(|| self.evidence(run, clock.now().unwrap())) }
    }

    fn wait(&self, _: RunId, _: u64, _: Duration) -> Result<(), LogError> {
        self.world(|world| {
            let (run, proposal) = (world.run, world.proposal);
            world.scenario.approve(run, proposal);
        });
        Ok(())
    }

    fn require(&self) -> &[Dimension] {
        &self.1
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Result<Millis, ClientError> {
        let world = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = world.scenario.ledger.now().saturating_add_signed(self.1);
        Millis::new(now).ok_or(ClientError::Clock)
    }
}

struct Key(Actor);

impl counterfoil_receipt::Signer for Key {
    fn key(&self) -> counterfoil_receipt::PublicKey {
        self.0.key()
    }

    fn sign(
        &self,
        preimage: &[u8],
    ) -> Result<counterfoil_receipt::Signature, counterfoil_receipt::SignError> {
        self.0.signer().sign(preimage)
    }
}

/// What an effect that worked says.
pub fn succeeded() -> Done {
    Done { status: Status::Succeeded, effects: Effects::Complete, result: None, detail: None }
}
