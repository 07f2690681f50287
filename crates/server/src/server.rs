//! A server from its configuration to its end.

use std::{fs, future::Future, net::SocketAddr, path::Path, sync::Arc};

use axum::Router;
use counterfoil_http::stop_signal;
use counterfoil_keys::{NoteKey, RecordKey};
use counterfoil_log::{CheckpointKeys, CreateError, Fatal, Handle, Log, OpenError};
use counterfoil_notify::Couriers;
use counterfoil_receipt::{
    Body, Principal, PublicKey, RecordId, Role, Signer as _, UnverifiedRecord, body::Genesis,
};
use counterfoil_tlog::{LeafIndex, Signer as _, VerifierKey, policy::Policy};
use counterfoil_verify::{Fault, KeyCache, Trust, check_signature};
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore, watch},
};

use crate::{
    access::Access,
    app::{App, Served, mirror_app, raw_app, records_app},
    config::{Config, MirrorConfig, Mode, RecordFiles},
    error::{ServeError, StartError},
    limits,
    links::Links,
    mirror::MirrorView,
    notifier::Notifier,
    payloads::{PayloadError, Payloads},
    problem::with_causes,
    quota::Quotas,
    raw,
    records::{Enrolled, Records, Submission},
    routes::Route,
    rows::{Index, LookupError},
    snapshot_key::unfit,
    submit::Submitter,
    timekeeper::{Timekeeper, Touched},
    view::{LogView, open_files, open_log},
    witnesses::read_policy,
};

/// A server that holds its log and listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    routes: Arc<[Route]>,
    failed: watch::Receiver<bool>,
    close: Close,
    closing: watch::Sender<bool>,
    read_only: Option<Arc<OpenError>>,
    warnings: Vec<String>,
}

/// Closes the log.
pub(crate) type Close = Box<dyn FnOnce() -> Result<(), Arc<Fatal>> + Send>;

/// Creates the log that a configuration describes. The first batch of a log of records is the genesis, whose id it gives; a
/// raw log has none, and begins empty.
///
/// # Errors
/// [`StartError`]; [`OpenError::Exists`] if there is a log already.
pub fn create_log(config: &Config) -> Result<Option<RecordId>, StartError> {
    match &config.mode {
        Mode::Raw { .. } => raw::create(config).map(|()| None),
        Mode::Records(files) => create_records(config, files).map(Some),
    }
}

fn create_records(config: &Config, record_files: &RecordFiles) -> Result<RecordId, StartError> {
    let Parts { genesis, keys, records, signer, .. } = Parts::load(config, record_files)?;
    if let Body::Genesis(body) = genesis.body() {
        snapshot_key_is_named(body, &signer, &record_files.snapshot_key)?;
    }
    let path = &record_files.genesis;
    let refused = |fault: Fault| StartError::GenesisRefused { path: path.clone(), reason: fault.to_string() };
    let record = check_signature(genesis, &mut KeyCache::default()).map_err(|(_, fault)| refused(fault))?;
    let id = record.id();
    let first = Submission { record, document: None, after: None };
    let log = Log::create(open_files(config, keys)?, records, first).map_err(|error| match error {
        CreateError::Refused(refusal) => refused(refusal.fault),
        CreateError::Open(source) => log_error(config, source),
    })?;
    log.close().map_err(|fatal| StartError::Unreadable(with_causes(&*fatal)))?;
    Ok(id)
}

/// The keys under which the checkpoints of a configured log are verified; they sign nothing.
///
/// # Errors
/// [`StartError`] if the genesis, or a raw log's key file, can't be read.
pub fn checkpoint_keys(config: &Config) -> Result<CheckpointKeys, StartError> {
    let Mode::Records(files) = &config.mode else {
        let key = NoteKey::load(&config.note_key)?.key().clone();
        return Ok(CheckpointKeys::new(key.name().to_owned(), vec![], vec![key]));
    };
    let genesis = read_genesis(&files.genesis)?;
    let Body::Genesis(body) = genesis.body() else {
        let reason = format!("it is a {}", genesis.kind());
        return Err(StartError::NoGenesis { path: files.genesis.clone(), reason });
    };
    let keys =
        body.log.note_keys.0.iter().filter_map(|vkey| VerifierKey::parse(vkey.as_str()).ok()).collect();
    Ok(CheckpointKeys::new(body.origin.as_str(), vec![], keys))
}

/// Serves until SIGINT or SIGTERM. `ready` is called once the server listens.
///
/// # Errors
/// [`ServeError`]: the process should then end with a code that is not 0.
pub async fn serve(config: Config, ready: impl FnOnce(&Server)) -> Result<(), ServeError> {
    let signal = stop_signal().map_err(ServeError::Signals)?;
    let server = Server::bind(config).await?;
    ready(&server);
    server.run_until(signal).await
}

/// Serves a mirror until SIGINT or SIGTERM. `ready` is called once the server listens.
///
/// # Errors
/// [`ServeError`]: the process should then end with a code that is not 0.
pub async fn serve_mirror(config: MirrorConfig, ready: impl FnOnce(&Server)) -> Result<(), ServeError> {
    let signal = stop_signal().map_err(ServeError::Signals)?;
    let server = Server::mirror(config).await?;
    ready(&server);
    server.run_until(signal).await
}

impl Server {
    /// Opens the log, verifies all of it, and listens. Port 0 stands for any that is free.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let (listener, address) = listen(config.listen, config.is_local()).await?;
        let closing = watch::Sender::new(false);
        let closed = closing.subscribe();
        let opened = tokio::task::spawn_blocking(move || open(&config, closed)).await;
        let opened = opened.map_err(|error| StartError::Unreadable(error.to_string()))??;
        let Opened { served: (router, routes), failed, close, read_only, warnings } = opened;
        Ok(Self { listener, address, router, routes, failed, close, closing, read_only, warnings })
    }

    /// Reads the directory of a mirror, and listens. Port 0 stands for any that is free.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn mirror(config: MirrorConfig) -> Result<Self, StartError> {
        let (listener, address) = listen(config.listen, config.reads == Access::Local).await?;
        let opened = tokio::task::spawn_blocking(move || MirrorView::open(config)).await;
        let view = opened.map_err(|error| StartError::Unreadable(error.to_string()))??;
        let (failing, failed) = watch::channel(false);
        // There is nothing to close, and nothing that fails for good: the sender is kept to say so.
        let close: Close = Box::new(move || {
            drop(failing);
            Ok(())
        });
        let ((router, routes), closing) = (mirror_app(Arc::new(view)), watch::Sender::new(false));
        Ok(Self {
            listener,
            address,
            router,
            routes,
            failed,
            close,
            closing,
            read_only: None,
            warnings: vec![],
        })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it answers, besides with errors.
    pub fn routes(&self) -> Arc<[Route]> {
        Arc::clone(&self.routes)
    }

    /// Why the log may only be read, if so.
    pub fn read_only(&self) -> Option<&OpenError> {
        self.read_only.as_deref()
    }

    /// What the operator should know all the same: who could not be asked what they have seen of the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Serves until `shutdown` is ready; then finishes what is in flight and closes the log. Serves no longer if the log
    /// fails.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let Self { listener, router, mut failed, close, closing, .. } = self;
        let serving = counterfoil_http::serve(listener, router, limits::CONNECTIONS, closing.subscribe());
        let served = tokio::select! {
            served = serving => served,
            // Who is still not done by then is cut off.
            () = async {
                tokio::select! {
                    () = shutdown => {}
                    // The sender lives as long as the router.
                    _ = failed.wait_for(|failed| *failed) => {}
                }
                closing.send_replace(true);
                tokio::time::sleep(limits::SHUTDOWN).await;
            } => Ok(()),
        };
        let closed = tokio::task::spawn_blocking(close).await;
        match closed {
            Ok(Err(fatal)) => Err(ServeError::Log(fatal)),
            Ok(Ok(())) | Err(_) => served.map_err(ServeError::Accept),
        }
    }
}

/// Listens; where only this machine may do something, only on an address that no other reaches.
async fn listen(address: SocketAddr, is_local: bool) -> Result<(TcpListener, SocketAddr), StartError> {
    if is_local && !address.ip().is_loopback() {
        return Err(StartError::NoToken(address));
    }
    let failed = |io| StartError::Listen { address, io };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// A log that is open, and how it is served.
struct Opened {
    served: Served,
    failed: watch::Receiver<bool>,
    close: Close,
    read_only: Option<Arc<OpenError>>,
    warnings: Vec<String>,
}

impl Opened {
    fn new(served: Served, view: &LogView, close: Close) -> Self {
        let (read_only, warnings) = (view.reader.read_only(), view.warnings.clone());
        Self { served, failed: view.failed.subscribe(), close, read_only, warnings }
    }
}

/// Opens the log of a configuration.
fn open(config: &Config, closing: watch::Receiver<bool>) -> Result<Opened, StartError> {
    match &config.mode {
        Mode::Raw { writes } => {
            let (log, app) = raw::open(config, writes.clone(), closing)?;
            let (view, close) = (Arc::clone(&app.view), app.view.close(log));
            Ok(Opened::new(raw_app(Arc::new(app)), &view, close))
        }
        Mode::Records(files) => {
            let (log, app, timekeeper) = open_records(config, files, closing)?;
            let (view, mut close) = (Arc::clone(&app.view), app.view.close(log));
            // A log that is only read says nothing.
            if view.reader.read_only().is_none() {
                if let Some(timekeeper) = timekeeper {
                    tokio::spawn(timekeeper.run());
                }
                if let Some((notifier, couriers)) = notifier(&app, files)? {
                    tokio::spawn(notifier.run());
                    close = Box::new(move || {
                        let closed = close();
                        drop(couriers);
                        closed
                    });
                }
            }
            Ok(Opened::new(records_app(app), &view, close))
        }
    }
}

/// Who tells people what waits for them, if somebody does.
fn notifier(app: &Arc<App>, files: &RecordFiles) -> Result<Option<(Notifier, Couriers)>, StartError> {
    let notices = files.approvals.as_ref().and_then(|approvals| approvals.notices.clone());
    let Some((notices, links)) = notices.zip(app.links.clone()) else { return Ok(None) };
    let opened = Notifier::open(Arc::clone(app), Arc::new(*notices), links);
    opened.map(Some).map_err(StartError::Notices)
}

/// A log of records, what its handlers work with, and who keeps its time.
type OpenedRecords = (Log<Records>, Arc<App>, Option<Timekeeper>);

fn open_records(
    config: &Config,
    files: &RecordFiles,
    closing: watch::Receiver<bool>,
) -> Result<OpenedRecords, StartError> {
    let policy_key = files.policy_key.as_deref().map(policy_key).transpose()?.map(Arc::new);
    let Parts { genesis, keys, records, signer, enrolled, payloads, touched } = Parts::load(config, files)?;
    let trust = own_trust(config, genesis.id(), &keys)?;
    let (log, view) = open_log(config, keys, records, closing)?;
    let (handle, index) = (log.handle(), Index::new(view.reader.clone()));
    log_starts_with(config, &files.genesis, &index, &genesis)?;
    // A log that is only read is sealed by nobody, and what its journal lacks may still name a payload.
    if view.reader.read_only().is_none() {
        snapshot_key_is_live(&files.snapshot_key, &handle, &signer)?;
        settle(&payloads, &index)?;
    }
    let committed = view.committed.clone();
    let quotas = config.quota.map(Quotas::new);
    let submitter = Submitter {
        log: genesis.id(),
        handle,
        index,
        payloads,
        enrolled,
        quotas,
        open_proposals: files.open_proposals,
        proposing: std::array::from_fn(|_| Mutex::new(())),
        signer,
        committed,
    };
    let app = App {
        log: submitter.log,
        submitter: Arc::new(submitter),
        view: Arc::new(view),
        batches: Semaphore::new(limits::BATCHES),
        receipts: Arc::new(Semaphore::new(limits::RECEIPTS)),
        trust,
        links: files
            .approvals
            .as_ref()
            .zip(policy_key.clone())
            .map(|(approvals, key)| Links::new(genesis.id(), key, &approvals.url, approvals.link_time))
            .map(Arc::new),
    };
    let app = Arc::new(app);
    let timekeeper = policy_key.map(|key| Timekeeper::new(Arc::clone(&app), key, touched));
    Ok((log, app, timekeeper))
}

/// What a log shows under its own keys, its own genesis and the witnesses that it asks.
fn own_trust(config: &Config, log: RecordId, keys: &CheckpointKeys) -> Result<Trust, StartError> {
    let (origin, verifiers) = (keys.origin().to_owned(), keys.verifiers().to_vec());
    let witnesses = match &config.witnesses {
        Some(settings) => read_policy(&settings.policy, &verifiers)?,
        None => Policy::parse(b"quorum none\n").map_err(|error| StartError::Unreadable(error.to_string()))?,
    };
    Ok(Trust::of_own_log(log, origin, verifiers, witnesses))
}

/// The key that says what the policy says when a time comes.
fn policy_key(path: &Path) -> Result<RecordKey, StartError> {
    let key = RecordKey::load(path)?;
    if key.role() == Role::Policy {
        return Ok(key);
    }
    let found = format!("{} of {} as {}", key.key(), key.principal(), key.role());
    Err(StartError::OtherKey {
        path: path.to_owned(),
        found,
        named: format!("a key of role {}", Role::Policy),
    })
}

/// What a configuration names, read and found to belong together.
struct Parts {
    genesis: UnverifiedRecord,
    keys: CheckpointKeys,
    records: Records,
    signer: Arc<RecordKey>,
    enrolled: Enrolled,
    payloads: Arc<Payloads>,
    touched: Touched,
}

impl Parts {
    fn load(config: &Config, files: &RecordFiles) -> Result<Self, StartError> {
        let genesis = read_genesis(&files.genesis)?;
        let Body::Genesis(body) = genesis.body() else {
            let reason = format!("it is a {}", genesis.kind());
            return Err(StartError::NoGenesis { path: files.genesis.clone(), reason });
        };
        let (note_key, signer) = (NoteKey::load(&config.note_key)?, RecordKey::load(&files.snapshot_key)?);
        note_key_is_named(body, &note_key, &config.note_key)?;
        let vkeys = body.log.note_keys.0.iter().filter_map(|vkey| VerifierKey::parse(vkey.as_str()).ok());
        let others = vkeys.filter(|vkey| vkey != note_key.key()).collect();
        let keys = CheckpointKeys::new(body.origin.as_str(), vec![Box::new(note_key)], others);
        let (signer, enrolled) = (Arc::new(signer), Enrolled::default());
        let payloads = Payloads::open(&files.payload_dir);
        let payloads = Arc::new(payloads.map_err(|error| StartError::Payloads(error.to_string()))?);
        let touched = files.policy_key.as_ref().map_or_else(Touched::default, |_| Touched::noting());
        let kept = Arc::clone(&payloads);
        let records = Records::new(Arc::clone(&signer), enrolled.clone(), kept, touched.clone());
        Ok(Self { genesis, keys, records, signer, enrolled, payloads, touched })
    }
}

fn read_genesis(path: &Path) -> Result<UnverifiedRecord, StartError> {
    let bytes = fs::read(path).map_err(|io| StartError::GenesisFile { path: path.to_owned(), io })?;
    UnverifiedRecord::parse(&bytes).map_err(|fault| StartError::no_genesis(path, &fault))
}

/// The log would sign checkpoints that no reader accepts.
fn note_key_is_named(genesis: &Genesis, key: &NoteKey, path: &Path) -> Result<(), StartError> {
    let vkey = key.key().to_string();
    let named: Vec<&str> = genesis.log.note_keys.0.iter().map(AsRef::as_ref).collect();
    if named.contains(&vkey.as_str()) && key.key().name() == genesis.origin.as_str() {
        return Ok(());
    }
    Err(StartError::OtherKey { path: path.to_owned(), found: vkey, named: named.join(", ") })
}

/// The log's first snapshot would be one that no reader accepts.
fn snapshot_key_is_named(genesis: &Genesis, key: &RecordKey, path: &Path) -> Result<(), StartError> {
    let describe = |key: PublicKey, principal: &Principal| format!("{key} of {principal} as {}", Role::Log);
    let named = &genesis.log.snapshot;
    if (key.key(), key.principal(), key.role()) == (named.key, &named.principal, Role::Log) {
        return Ok(());
    }
    let found = format!("{} of {} as {}", key.key(), key.principal(), key.role());
    Err(StartError::OtherKey { path: path.to_owned(), found, named: describe(named.key, &named.principal) })
}

/// The log could not seal a batch.
fn snapshot_key_is_live(
    path: &Path,
    handle: &Handle<Records>,
    signer: &Arc<RecordKey>,
) -> Result<(), StartError> {
    let key = Arc::clone(signer);
    let unfit = handle.with_app(move |records, _| unfit(records.state(), &key));
    match unfit.map_err(|error| StartError::Unreadable(with_causes(&error)))? {
        None => Ok(()),
        Some(reason) => Err(StartError::SnapshotKey { path: path.to_owned(), found: signer.key(), reason }),
    }
}

fn log_starts_with(
    config: &Config,
    path: &Path,
    index: &Index,
    genesis: &UnverifiedRecord,
) -> Result<(), StartError> {
    let first =
        index.reader().entry(LeafIndex(0)).map_err(|error| StartError::Unreadable(with_causes(&error)))?;
    let (found, configured) = (RecordId::of(&first), genesis.id());
    if found == configured {
        return Ok(());
    }
    Err(StartError::OtherGenesis { dir: config.log_dir.clone(), found, path: path.to_owned(), configured })
}

/// Settles what a crash left of submissions.
fn settle(payloads: &Payloads, index: &Index) -> Result<(), StartError> {
    payloads.recover(|name| index.naming(name).map(|index| index.is_some()).map_err(Unsettled::from)).map_err(
        |error| match error {
            Unsettled::Payloads(error) => StartError::Payloads(error.to_string()),
            Unsettled::Index(error) => StartError::Unreadable(with_causes(&error)),
        },
    )
}

enum Unsettled {
    Payloads(PayloadError),
    Index(LookupError),
}

impl From<PayloadError> for Unsettled {
    fn from(error: PayloadError) -> Self {
        Self::Payloads(error)
    }
}

impl From<LookupError> for Unsettled {
    fn from(error: LookupError) -> Self {
        Self::Index(error)
    }
}

pub(crate) fn log_error(config: &Config, source: OpenError) -> StartError {
    StartError::Log { dir: config.log_dir.clone(), source }
}
