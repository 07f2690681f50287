//! Tells people what waits for them, and what became of it.
//!
//! What there is to tell follows from the log; how far it was told is kept beside the outbox. Whoever is killed in between tells it
//! again, and the outbox, which knows its messages by their ids, does not.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use counterfoil_notify::{
    Addressed, ChannelName, Config, Couriers, Field, Kind, Message, Outbox, OutboxError, UnixMillis,
    UnverifiedMessage, limits as notify_limits, text,
};
use counterfoil_receipt::{Principal, RecordId, RunId};
use counterfoil_verify::{ProposalState, ProposalStatus, Proposed, Run, State};
use sha2::{Digest as _, Sha256};

use crate::{
    app::{App, blocking},
    limits,
    links::Links,
    notices::Notices,
    problem::{Kind as Problems, Problem},
    submit::now,
};

/// How long what is no question is worth telling, in milliseconds.
const NEWS: u64 = 86_400_000;
/// The least time that a question is, in milliseconds.
const QUESTION: u64 = 60_000;

/// Tells what a log's proposals wait for.
pub(crate) struct Notifier {
    app: Arc<App>,
    notices: Arc<Notices>,
    links: Arc<Links>,
    outbox: Arc<Outbox>,
    told: Told,
    /// As of which change of policy or keys all live proposals were looked at.
    ruled: Option<u64>,
    /// Live proposals below this index are to be looked at still.
    left: Option<u64>,
}

/// How far it was told: the last change of a proposal, and the proposal's index.
struct Told {
    file: PathBuf,
    after: (u64, u64),
}

/// A proposal, as it is told of.
struct News {
    id: RecordId,
    run: RunId,
    action: counterfoil_receipt::ActionDigest,
    tool: String,
    target: Option<String>,
    proposer: Principal,
    risk: &'static str,
    status: ProposalStatus,
    expires_at: Option<u64>,
    /// Who may decide, and whether by link.
    asked: Vec<(Principal, bool)>,
    escalated: bool,
}

impl Notifier {
    /// Opens the outbox, and starts to deliver what is in it.
    ///
    /// # Errors
    /// What can't be opened, and why.
    pub(crate) fn open(
        app: Arc<App>,
        notices: Arc<Notices>,
        links: Arc<Links>,
    ) -> Result<(Self, Couriers), String> {
        let failed = |error: OutboxError| crate::problem::with_causes(&error);
        let outbox = Outbox::open(&notices.outbox_dir, notices.channels()?, Config::default());
        let outbox = Arc::new(outbox.map_err(failed)?);
        let file = notices.outbox_dir.join("told");
        let size = app.view.published().head.size.0;
        // Who begins to tell asks about what is open, and is silent on what is over.
        let after = match read_told(&file)? {
            Some((index, _)) if index >= size => {
                let file = file.display();
                return Err(format!(
                    "{file}: is ahead of this log, and so of another: choose another outbox_dir"
                ));
            }
            Some(after) => after,
            None => (size.saturating_sub(1), u64::MAX),
        };
        let couriers = Couriers::start(Arc::clone(&outbox)).map_err(failed)?;
        let told = Told { file, after };
        Ok((Self { app, notices, links, outbox, told, ruled: None, left: None }, couriers))
    }

    /// Goes on until the server is told to stop, or the log fails.
    pub(crate) async fn run(mut self) {
        let mut closing = self.app.view.closing.clone();
        let mut committed = self.app.view.committed.clone();
        loop {
            committed.mark_unchanged();
            let wait = match self.tell().await {
                Ok(true) => continue,
                Ok(false) => None,
                Err(_) if self.app.view.reader.failure().is_some() => return,
                // An outbox that is full or a log that is busy is asked again.
                Err(_) => Some(limits::TELL_RETRY),
            };
            let waited = async {
                match wait {
                    None => committed.changed().await.is_ok(),
                    Some(wait) => {
                        tokio::time::sleep(wait).await;
                        true
                    }
                }
            };
            tokio::select! {
                goes_on = waited => if !goes_on { return },
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
    }

    /// Tells some of what there is to tell; whether there may be more.
    async fn tell(&mut self) -> Result<bool, Problem> {
        let (notices, links) = (Arc::clone(&self.notices), Arc::clone(&self.links));
        let (after, left, before) = (self.told.after, self.left, self.ruled);
        let looked = self.app.inspect(move |records, _| {
            let state = records.state();
            let ruled = state.ruled();
            // A walk that began is walked to its end, in turns with what changed.
            let (ruled, left) = match left {
                Some(left) => (before, Some(left)),
                None if before == Some(ruled) => (before, None),
                None => (Some(ruled), Some(u64::MAX)),
            };
            let few = (limits::TELL_ASKED / (notices.people.len() + 1)).clamp(1, limits::TELL);
            let news = |some: &[Proposed]| {
                some.iter().filter_map(|one| News::of(state, *one, &notices, &links)).collect::<Vec<_>>()
            };
            let changed: Vec<Proposed> = state.changed_proposals(after).take(few).collect();
            let live: Vec<Proposed> =
                left.map_or_else(Vec::new, |before| state.live_proposals(before).take(few).collect());
            let mut told = news(&changed);
            // Of what is no question, it was told when it became so.
            let is_new = |one: &News| {
                one.status == ProposalStatus::Open && !changed.iter().any(|changed| changed.id == one.id)
            };
            told.extend(news(&live).into_iter().filter(is_new));
            (ruled, left, changed, live, told)
        });
        let (ruled, left, changed, live, news) = looked.await?;
        let mut messages = Vec::new();
        for one in news {
            messages.extend(one.messages(&self.notices, &self.links)?);
        }
        let outbox = Arc::clone(&self.outbox);
        blocking(move || {
            for some in messages.chunks(notify_limits::BATCH) {
                outbox.enqueue(some).map_err(|error| Problems::Unreadable.because(error.to_string()))?;
            }
            Ok(())
        })
        .await?;
        self.ruled = ruled;
        self.left = left.and_then(|_| live.last()).map(|last| last.index);
        if let Some(last) = changed.last() {
            self.told.after = (last.changed, last.index);
            // What can't be written is told again, and known.
            let _ = self.told.write();
        }
        Ok(!changed.is_empty() || left.is_some())
    }
}

impl News {
    fn of(state: &State, proposed: Proposed, notices: &Notices, links: &Links) -> Option<Self> {
        let run: &Run = state.run(&proposed.run)?;
        let proposal: &ProposalState = run.proposal(&proposed.id)?;
        let approval = state.approval(run, &proposed.id)?;
        // What the policy decided by itself waited for nobody.
        if approval.rules.is_empty() && proposal.decisions.is_empty() {
            return None;
        }
        let signer = links.signer();
        let is_open = approval.status == ProposalStatus::Open;
        let asked = notices.people.keys().filter(|_| is_open);
        let asked = asked.filter(|person| state.may_decide(run, &proposed.id, person));
        let asked = asked
            .map(|person| (person.clone(), state.link_counts(run, &proposed.id, person, &signer).is_ok()));
        Some(Self {
            id: proposed.id,
            run: proposed.run,
            action: proposal.digest,
            tool: proposal.action.tool.to_string(),
            target: proposal.action.target.as_ref().map(|target| target.as_str().to_owned()),
            proposer: proposal.proposer.clone(),
            risk: proposal.risk.as_str(),
            status: approval.status,
            expires_at: approval.expires_at,
            asked: asked.collect(),
            escalated: proposal.timers.iter().any(|fired| fired.step.is_some()),
        })
    }

    /// What is told of it, and on which channels.
    fn messages(&self, notices: &Notices, links: &Links) -> Result<Vec<Addressed>, Problem> {
        let mut messages = Vec::new();
        let now = now();
        if self.status == ProposalStatus::Open {
            let until =
                self.expires_at.unwrap_or(u64::MAX).min(links.end(now)).max(now.saturating_add(QUESTION));
            for (person, by_link) in &self.asked {
                let failed = |why: &dyn std::fmt::Display| Problems::Unreadable.because(why.to_string());
                let url = if *by_link {
                    links.link(self.id, self.action, person, now).map_err(|why| failed(&why.0))?
                } else {
                    links.review_url(&self.id)
                };
                let kind = if self.escalated { Kind::Escalated } else { Kind::Requested };
                let title = format!("{person}, decide: {}", self.what());
                let channels = notices.people.get(person).cloned().unwrap_or_default();
                messages.extend(self.message(kind, &tag(person), title, url, until, channels));
            }
            let title = format!("Waits for a decision: {}", self.what());
            messages.extend(self.told_all(Kind::Requested, title, until, notices, links));
        } else {
            let kind = match self.status {
                ProposalStatus::Cancelled | ProposalStatus::Superseded | ProposalStatus::Expired => {
                    Kind::Cancelled
                }
                ProposalStatus::Executing
                | ProposalStatus::Succeeded
                | ProposalStatus::Failed
                | ProposalStatus::Unknown => Kind::Executed,
                _ => Kind::Decided,
            };
            let word = self.status.as_str().replace('_', " ");
            let title = format!("{word}: {}", self.what());
            messages.extend(self.told_all(kind, title, now.saturating_add(NEWS), notices, links));
        }
        Ok(messages)
    }

    fn told_all(
        &self,
        kind: Kind,
        title: String,
        until: u64,
        notices: &Notices,
        links: &Links,
    ) -> Option<Addressed> {
        self.message(
            kind,
            self.status.as_str(),
            title,
            links.review_url(&self.id),
            until,
            notices.tell.clone(),
        )
    }

    fn message(
        &self,
        kind: Kind,
        what: &str,
        title: String,
        url: String,
        until: u64,
        channels: Vec<ChannelName>,
    ) -> Option<Addressed> {
        let field = |name: &str, value: &str| Field {
            name: name.to_owned(),
            value: text::line(value, notify_limits::FIELD_VALUE_BYTES),
        };
        let mut fields = vec![
            field("status", self.status.as_str()),
            field("tool", &self.tool),
            field("proposed by", self.proposer.as_str()),
            field("risk", self.risk),
            field("run", &self.run.to_string()),
            field("proposal", &self.id.to_string()),
        ];
        if let Some(target) = &self.target {
            fields.insert(2, field("target", target));
        }
        let id = self.id.to_string();
        let message = UnverifiedMessage {
            fields,
            id: format!("{}.{what}", id.trim_start_matches("sha256:")),
            kind,
            not_after: UnixMillis(until),
            text: String::new(),
            title: text::line(&title, notify_limits::TITLE_BYTES),
            url: Some(url),
        };
        // Everything in it is within the limits of a message.
        let message = Message::new(message).ok()?;
        (!channels.is_empty()).then_some(Addressed { channels, message })
    }

    fn what(&self) -> String {
        match &self.target {
            Some(target) => format!("{} on {target}", self.tool),
            None => self.tool.clone(),
        }
    }
}

impl Told {
    fn write(&self) -> io::Result<()> {
        let new = self.file.with_extension("new");
        let mut file = fs::File::create(&new)?;
        writeln!(file, "{} {}", self.after.0, self.after.1)?;
        file.sync_all()?;
        fs::rename(new, &self.file)
    }
}

/// How far it was told; `None` if nobody was told before.
fn read_told(file: &PathBuf) -> Result<Option<(u64, u64)>, String> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let numbers = text.trim_end().split_once(' ').and_then(|(a, b)| a.parse().ok().zip(b.parse().ok()));
    numbers.map(Some).ok_or_else(|| {
        format!(
            "{}: is damaged: delete it, and what waits is told again, but not what became of the rest",
            file.display()
        )
    })
}

/// What tells a person apart in the id of a message, whatever their name is spelled with.
fn tag(person: &Principal) -> String {
    let digest = Sha256::digest(person.as_str().as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
