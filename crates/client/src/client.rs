//! Reading what proves itself, and hints.

use std::{io::Read, time::Duration};

use counterfoil_receipt::{
    Commitment, Opening, Principal, RecordId, RunId, UnverifiedRecord,
    bundle::{PayloadLine, read_line},
};
use counterfoil_tlog::tile::TilePath;
use counterfoil_verify::{ProposalStatus, Trust};

use crate::{
    answer::{DelegationView, Delegations, LogAnswer, PolicyView, PrincipalView, RunView, Runs, json},
    approval::{ApprovalEvents, ApprovalQuery, ApprovalView, Approvals},
    error::ClientError,
    http::Http,
    limits,
    pinned::PinnedClient,
    store::CheckpointStore,
};

/// A server of a counterfoil log, without any trust in it.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) http: Http,
}

impl Client {
    /// A client of the server at `base_url`, `http://…` or `https://…`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ClientError::Misuse`] for what is no such address, or a token that no header can carry.
    pub fn new(base_url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        Http::new(base_url, token).map(|http| Self { http })
    }

    /// How long a busy log is asked again; 30 s unless it is set.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.http.patience = patience;
        self
    }

    /// How long one call may take, from the first byte sent to the last byte read; 30 s unless it is set. Bundles have 300 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.http.call = timeout;
        self
    }

    /// Pins the log: from here on every answer is held against `trust`.
    pub fn pin(self, trust: Trust, checkpoints: Box<dyn CheckpointStore>) -> PinnedClient {
        PinnedClient::new(self, trust, checkpoints)
    }

    /// The record with this id; its signature is not checked.
    ///
    /// # Errors
    /// [`ClientError`]; `Untrusted` if the bytes have another id.
    pub fn record(&self, id: RecordId) -> Result<UnverifiedRecord, ClientError> {
        let reply = self.http.get(&format!("/v1/records/{id}"), self.http.call)?;
        let url = reply.url.clone();
        let bytes = reply.ok(limits::RECORD_ANSWER_BYTES)?;
        let record = UnverifiedRecord::parse(&bytes).map_err(|fault| protocol(&url, fault.to_string()))?;
        if record.id() != id {
            return Err(ClientError::Untrusted {
                url,
                why: format!("the record has the id {}", record.id()),
            });
        }
        Ok(record)
    }

    /// The payload with this commitment, which was checked.
    ///
    /// # Errors
    /// [`ClientError`]; `Untrusted` if the payload has another commitment.
    pub fn payload(&self, commitment: Commitment) -> Result<Opening, ClientError> {
        let reply = self.http.get(&format!("/v1/payloads/{commitment}"), self.http.call)?;
        let url = reply.url.clone();
        let mut bytes = reply.ok(limits::PAYLOAD_LINE_BYTES)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        let line: PayloadLine = read_line(&bytes).map_err(|fault| protocol(&url, fault.to_string()))?;
        let opening = line.into_opening();
        if opening.commitment() != commitment {
            return Err(ClientError::Untrusted {
                url,
                why: format!("the payload gives {}", opening.commitment()),
            });
        }
        Ok(opening)
    }

    /// At most `limit` runs (1–1,000), the newest first: those whose trigger stands below `before`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn runs(&self, before: Option<u64>, limit: u64) -> Result<Runs, ClientError> {
        let before = before.map(|before| format!("before={before}&")).unwrap_or_default();
        let path = format!("/v1/runs?{before}limit={limit}");
        self.hint(&path, self.http.call, limits::LISTING_BYTES, Runs::parse)
    }

    /// The records of a run.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn run(&self, run: RunId) -> Result<RunView, ClientError> {
        self.hint(&format!("/v1/runs/{run}"), self.http.call, limits::LISTING_BYTES, RunView::parse)
    }

    /// The records of a run, as soon as there are more than `after`; at the latest after `timeout`, of which at most 60 s
    /// count, with what there is then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn wait_run(&self, run: RunId, after: u64, timeout: Duration) -> Result<RunView, ClientError> {
        let wait = timeout.min(limits::WAIT);
        let path = format!("/v1/runs/{run}?after={after}&wait={}", wait.as_millis());
        self.hint(&path, wait + self.http.call, limits::LISTING_BYTES, RunView::parse)
    }

    /// The bundle of a run as it arrives, unverified. Its length is not limited.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn bundle(&self, run: RunId) -> Result<impl Read + Send + use<>, ClientError> {
        self.http.get(&format!("/v1/runs/{run}/bundle"), limits::BUNDLE)?.ok_reader()
    }

    /// The same as of the log's latest checkpoint, also where no witness has cosigned that yet.
    pub(crate) fn latest_bundle(&self, run: RunId) -> Result<impl Read + Send + use<>, ClientError> {
        self.http.get(&format!("/v1/runs/{run}/bundle?last=latest"), limits::BUNDLE)?.ok_reader()
    }

    /// The genesis that the server names. Compare its id with the one that was handed over another way.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn genesis(&self) -> Result<UnverifiedRecord, ClientError> {
        self.hint("/v1/log", self.http.call, limits::STATE_BYTES, |bytes| {
            let LogAnswer { genesis, .. } = json(bytes)?;
            UnverifiedRecord::parse(genesis.get().as_bytes()).map_err(|fault| fault.to_string())
        })
    }

    /// The size of the log's tree, as the server says.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn size(&self) -> Result<u64, ClientError> {
        self.hint("/v1/log", self.http.call, limits::STATE_BYTES, |bytes| {
            json::<LogAnswer>(bytes).map(|log| log.size)
        })
    }

    /// A principal's keys and groups, as the log sees them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn principal(&self, principal: &Principal) -> Result<PrincipalView, ClientError> {
        let path = format!("/v1/principals/{principal}");
        self.hint(&path, self.http.call, limits::STATE_BYTES, PrincipalView::parse)
    }

    /// The policy in force, as the log sees it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn policy(&self) -> Result<PolicyView, ClientError> {
        self.hint("/v1/policy", self.http.call, limits::STATE_BYTES, PolicyView::parse)
    }

    /// At most `limit` delegations (1–100), the newest first: those to this delegate, or to anybody, that took effect below
    /// `before`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn delegations(
        &self,
        delegate: Option<&Principal>,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Delegations, ClientError> {
        let delegate = delegate.map(|delegate| format!("delegate={delegate}&")).unwrap_or_default();
        let before = before.map(|before| format!("before={before}&")).unwrap_or_default();
        let path = format!("/v1/delegations?{delegate}{before}limit={limit}");
        self.hint(&path, self.http.call, limits::LISTING_BYTES, Delegations::parse)
    }

    /// A delegation with all above it, up to that of the authority, as the log sees them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn delegation(&self, id: RecordId) -> Result<Vec<DelegationView>, ClientError> {
        let path = format!("/v1/delegations/{id}");
        self.hint(&path, self.http.call, limits::LISTING_BYTES, Delegations::parse_chain)
    }

    /// One page of approvals, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn approvals(&self, query: &ApprovalQuery) -> Result<Approvals, ClientError> {
        self.hint(&query.path("/v1/approvals"), self.http.call, limits::LISTING_BYTES, |bytes| json(bytes))
    }

    /// A proposal and what it waits for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn approval(&self, proposal: RecordId) -> Result<ApprovalView, ClientError> {
        self.hint(&format!("/v1/approvals/{proposal}"), self.http.call, limits::LISTING_BYTES, |bytes| {
            json(bytes)
        })
    }

    /// The same as soon as its status is another one, at the latest after `timeout`, of which at most 60 s count.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn approval_unless(
        &self,
        proposal: RecordId,
        status: ProposalStatus,
        timeout: Duration,
    ) -> Result<ApprovalView, ClientError> {
        let (wait, status) = (timeout.min(limits::WAIT), status.as_str());
        let path = format!("/v1/approvals/{proposal}?unless={status}&wait={}", wait.as_millis());
        self.hint(&path, wait + self.http.call, limits::LISTING_BYTES, |bytes| json(bytes))
    }

    /// What changes of the approvals that are asked for: from now on, or after an event of an earlier stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn approval_events(
        &self,
        query: &ApprovalQuery,
        after: Option<u64>,
    ) -> Result<ApprovalEvents<impl Read + Send + use<>>, ClientError> {
        let query = ApprovalQuery { before: None, limit: None, ..query.clone() };
        let path = query.path("/v1/approvals/events");
        let reply = self.http.get_after(&path, limits::EVENTS, after)?;
        Ok(ApprovalEvents::new(reply.url.clone(), reply.ok_reader()?))
    }

    /// A signed note that nobody has opened.
    pub(crate) fn unverified_checkpoint(&self) -> Result<String, ClientError> {
        let limit = counterfoil_receipt::limits::NOTE_BYTES;
        self.hint("/checkpoint", self.http.call, limit, |bytes| {
            std::str::from_utf8(bytes)
                .map(str::to_owned)
                .map_err(|_| "the checkpoint is not UTF-8".to_owned())
        })
    }

    /// A tile; where a partial one is gone, the part of the full one (c2sp.org/tlog-tiles).
    pub(crate) fn tile(&self, path: &TilePath) -> Result<Vec<u8>, ClientError> {
        let reply = self.http.get(&format!("/{path}"), self.http.call)?;
        if reply.status() != 404 || !path.is_partial() {
            return reply.ok(limits::TILE_BYTES);
        }
        let mut full =
            self.http.get(&format!("/{}", path.to_full()), self.http.call)?.ok(limits::TILE_BYTES)?;
        full.truncate(usize::from(path.width()) * counterfoil_tlog::Hash::LEN);
        Ok(full)
    }

    fn hint<T>(
        &self,
        path: &str,
        timeout: Duration,
        limit: usize,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, ClientError> {
        let bytes = self.http.get(path, timeout)?.ok(limit)?;
        read(&bytes).map_err(|why| protocol(&self.http.url(path), why))
    }
}

pub(crate) fn protocol(url: &str, why: impl Into<String>) -> ClientError {
    ClientError::Protocol { url: url.to_owned(), why: why.into() }
}
