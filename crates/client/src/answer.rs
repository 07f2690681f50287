//! The JSON answers of `spec/http.md`: hints, until something proves them.

use counterfoil_receipt::{
    PolicyDigest, Principal, PublicKey, RecordId, Role, RunId,
    action::Json,
    body::{Delegation, Type},
    bundle::read_line,
    text::Group,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a log is asked to do before it answers a submission (`spec/log.md`, "Promises"). Of what is only stored there is no
/// proof yet, so this client does not ask for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// To integrate it into a signed tree.
    #[default]
    Integrated,
    /// To show it in its public checkpoint.
    Published,
    /// To have a quorum of witnesses cosign it.
    Witnessed,
}

impl Promise {
    /// As it is asked for.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrated => "integrated",
            Self::Published => "published",
            Self::Witnessed => "witnessed",
        }
    }

    /// The status of an answer that keeps it.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Integrated => "included",
            Self::Published | Self::Witnessed => self.as_str(),
        }
    }
}

/// Runs, as the log lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// By trigger index, the newest first.
    pub runs: Vec<RunSummary>,
    /// The `before` of the next page; `None` if there is none.
    pub next: Option<u64>,
}

/// One run in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// The index of its trigger.
    pub index: u64,
    /// The index of its last record.
    pub last: u64,
    /// How many records it has.
    pub records: u64,
    /// The run.
    pub run: RunId,
    /// The time that its trigger claims, in milliseconds.
    pub time: u64,
}

/// The records of a run, as the log lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Its records, by index.
    pub records: Vec<Logged>,
    /// The size of the log's tree.
    pub size: u64,
}

/// A record in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The record.
    pub id: RecordId,
    /// Its index.
    pub index: u64,
    /// Its type.
    pub kind: Type,
}

/// A principal, as the log sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalView {
    /// Their groups.
    pub groups: Vec<Group>,
    /// Their keys.
    pub keys: Vec<KeyView>,
    /// What their next keyring record names as `prev`.
    pub prev: RecordId,
}

/// Delegations, as the log lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegations {
    /// The newest first.
    pub delegations: Vec<DelegationView>,
    /// The `before` of the next page; `None` if there is none.
    pub next: Option<u64>,
}

/// A delegation in effect, as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationView {
    /// Its id.
    pub id: RecordId,
    /// The index at which it took effect.
    pub index: u64,
    /// The delegation that it narrows; `None` for one of the authority.
    pub narrows: Option<RecordId>,
    /// Who passed it on; `None` for one of the authority.
    pub issuer: Option<Principal>,
    /// What it says.
    pub body: Delegation,
    /// Why nothing more can be done under it.
    pub ended: Option<String>,
    /// What was spent under it.
    pub spent: String,
    /// How many executions stand under it.
    pub used: u64,
}

/// A key, as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// The key.
    pub key: PublicKey,
    /// Its role.
    pub role: Role,
    /// `live`, `retired` or `revoked`.
    pub status: String,
}

/// The policy in force, as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyView {
    /// Its digest; `None` before the first.
    pub digest: Option<PolicyDigest>,
    /// The document.
    pub document: Option<Json>,
    /// What the next policy record names as `prev`.
    pub prev: RecordId,
}

/// An inclusion, or that the record of this line was rejected.
#[derive(Deserialize)]
pub(crate) struct InclusionAnswer<'a> {
    pub status: String,
    #[serde(default)]
    pub checkpoint: String,
    #[serde(default)]
    pub id: String,
    pub index: Option<u64>,
    #[serde(default)]
    pub proof: Vec<String>,
    #[serde(borrow)]
    pub rejection: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct LogAnswer<'a> {
    #[serde(borrow)]
    pub genesis: &'a RawValue,
    pub size: u64,
}

#[derive(Deserialize)]
struct RunsJson {
    runs: Vec<RunJson>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct RunJson {
    index: u64,
    last: u64,
    records: u64,
    run: String,
    time: u64,
}

#[derive(Deserialize)]
struct RunViewJson {
    records: Vec<LoggedJson>,
    run: String,
    size: u64,
}

#[derive(Deserialize)]
struct LoggedJson {
    id: String,
    index: u64,
    r#type: String,
}

#[derive(Deserialize)]
struct PrincipalJson {
    groups: Vec<String>,
    keys: Vec<KeyJson>,
    prev: String,
}

#[derive(Deserialize)]
struct DelegationsJson<'a> {
    #[serde(borrow)]
    delegations: Vec<DelegationJson<'a>>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct ChainJson<'a> {
    #[serde(borrow)]
    chain: Vec<DelegationJson<'a>>,
}

#[derive(Deserialize)]
struct DelegationJson<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
    ended: Option<String>,
    id: String,
    index: u64,
    issuer: Option<String>,
    narrows: Option<String>,
    spent: String,
    used: u64,
}

#[derive(Deserialize)]
struct KeyJson {
    key: String,
    role: String,
    status: String,
}

#[derive(Deserialize)]
struct PolicyJson<'a> {
    digest: Option<String>,
    #[serde(borrow)]
    document: Option<&'a RawValue>,
    prev: String,
}

impl Runs {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let RunsJson { runs, next } = json(bytes)?;
        let read = |RunJson { index, last, records, run, time }| {
            Some(RunSummary { index, last, records, run: RunId::parse(&run)?, time })
        };
        Ok(Self { runs: all(runs, "runs", read)?, next })
    }
}

impl RunView {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let RunViewJson { records, run, size } = json(bytes)?;
        let run = RunId::parse(&run).ok_or("run is no run id")?;
        let read = |logged: LoggedJson| {
            Some(Logged {
                id: RecordId::parse(&logged.id)?,
                index: logged.index,
                kind: Type::parse(&logged.r#type)?,
            })
        };
        Ok(Self { run, records: all(records, "records", read)?, size })
    }
}

impl PrincipalView {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let PrincipalJson { groups, keys, prev } = json(bytes)?;
        let read = |key: KeyJson| {
            Some(KeyView {
                key: PublicKey::parse(&key.key).ok()?,
                role: Role::parse(&key.role)?,
                status: key.status,
            })
        };
        Ok(Self {
            groups: all(groups, "groups", Principal::new)?,
            keys: all(keys, "keys", read)?,
            prev: RecordId::parse(&prev).ok_or("prev is no record id")?,
        })
    }
}

impl Delegations {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let DelegationsJson { delegations, next } = json(bytes)?;
        Ok(Self { delegations: all(delegations, "delegations", DelegationView::read)?, next })
    }

    /// One with all above it.
    pub(crate) fn parse_chain(bytes: &[u8]) -> Result<Vec<DelegationView>, String> {
        let ChainJson { chain } = json(bytes)?;
        all(chain, "chain", DelegationView::read)
    }
}

impl DelegationView {
    fn read(json: DelegationJson<'_>) -> Option<Self> {
        let DelegationJson { body, ended, id, index, issuer, narrows, spent, used } = json;
        Some(Self {
            id: RecordId::parse(&id)?,
            index,
            narrows: narrows.map_or(Some(None), |id| RecordId::parse(&id).map(Some))?,
            issuer: issuer.map_or(Some(None), |name| Principal::new(name).map(Some))?,
            body: read_line(body.get().as_bytes()).ok()?,
            ended,
            spent,
            used,
        })
    }
}

impl PolicyView {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let PolicyJson { digest, document, prev } = json(bytes)?;
        let digest = digest
            .map(|digest| PolicyDigest::parse(&digest).ok_or("digest is no policy digest"))
            .transpose()?;
        let document = document.map(|document| {
            Json::parse_document(document.get().as_bytes()).map_err(|fault| fault.to_string())
        });
        let document = document.transpose()?;
        if document.as_ref().map(|document| PolicyDigest::of(document.as_str().as_bytes())) != digest {
            return Err("the document does not have the digest".to_owned());
        }
        Ok(Self { digest, document, prev: RecordId::parse(&prev).ok_or("prev is no record id")? })
    }
}

/// Reads JSON that decides nothing.
pub(crate) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("the answer is not what was asked for: {error}"))
}

fn all<T, U>(list: Vec<T>, what: &str, read: impl Fn(T) -> Option<U>) -> Result<Vec<U>, String> {
    list.into_iter()
        .map(read)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{what} holds what is not of its type"))
}
