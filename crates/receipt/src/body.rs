//! What each type of record says: one closed object per type (`spec/records.md` §6).

use crate::{
    action::{Action, Json, Map},
    field::{Count, Field, List, Millis, Node, Object, Set, Uses, Whole},
    hashes::{ActionDigest, Commitment, MapRoot, PolicyDigest, RecordId, Root, Statement},
    key::{PublicKey, Role},
    limits,
    malformed::Malformed,
    text::{Amount, Currency, Group, Label, Nonce, Principal, RuleName, Text},
};

/// The origin that no log may have: it starts every signature preimage.
pub const RESERVED_ORIGIN: &str = "counterfoil/v1/record";

/// Ids that a record names, ascending.
pub type Ids<const MAX: usize> = Set<RecordId, MAX>;
/// The fold version of this release.
pub type FoldVersion = Whole<0, 0>;
/// How many authority keys must agree.
pub type Threshold = Whole<1, { limits::ROOTS as u64 }>;

object! {
    /// A payload that is not in the log.
    pub struct Item {
        req "commitment" commitment: Commitment,
        req "label" label: Label,
        req "media_type" media_type: Label,
        req "size" size: Count,
    }
}

object! {
    /// Many payloads under one RFC 6962 root over their commitments.
    pub struct ItemSet {
        req "items" items: Whole<1, { limits::SET_ITEMS }>,
        req "label" label: Label,
        req "root" root: Root,
    }
}

/// A payload, or a set of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// One payload.
    Item(Item),
    /// Many under one root, so that some can be disclosed without the rest.
    Set(ItemSet),
}

/// The payloads that a record names.
pub type Items = List<Evidence, 1, { limits::ITEMS }>;

object! {
    /// The signed checkpoint that the signer acted on.
    pub struct Basis {
        req "root" root: Root,
        req "size" size: Count,
    }
}

object! {
    /// A key and the principal that holds it.
    pub struct Holder {
        req "key" key: PublicKey,
        req "principal" principal: Principal,
    }
}

object! {
    /// An amount of money, or of something else that is counted.
    pub struct Cost {
        req "amount" amount: Amount,
        req "currency" currency: Currency,
    }
}

object! {
    /// Between which log times an approval may be used.
    pub struct Window {
        req "from" from: Millis,
        req "until" until: Millis,
    }
}

/// One principal, or every principal of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// `{"principal":…}`
    Principal(Principal),
    /// `{"group":…}`
    Group(Group),
}

object! {
    /// Entry 0: what this log is.
    pub struct Genesis {
        req "authority" authority: Authority,
        req "fold" fold: FoldVersion,
        req "limits" limits: GenesisLimits,
        req "log" log: LogKeys,
        req "origin" origin: Label,
    }
}

object! {
    /// The authority at the start: its roots, and how many of them must agree.
    pub struct Authority {
        req "roots" roots: List<Holder, 1, { limits::ROOTS }>,
        req "threshold" threshold: Threshold,
    }
}

object! {
    /// The keys that speak for the log: C2SP vkeys for checkpoints, a record key for snapshots and rejections.
    pub struct LogKeys {
        req "note_keys" note_keys: List<Label, 1, { limits::NOTE_KEYS }>,
        req "snapshot" snapshot: Holder,
    }
}

object! {
    /// Limits that this log sets below those of the specification.
    pub struct GenesisLimits {
        req "record_bytes" record_bytes: Whole<1_024, { limits::RECORD_BYTES as u64 }>,
        req "run_records" run_records: Whole<8, { limits::RUN_RECORDS }>,
    }
}

object! {
    /// The last entry of every signed checkpoint.
    pub struct Snapshot {
        req "fold" fold: FoldVersion,
        req "index" index: Count,
        req "map" map: MapRoot,
    }
}

words! {
    /// What a keyring record does to a key.
    pub enum KeyChange {
        Enrol = "enrol",
        Rotate = "rotate",
        Retire = "retire",
    }
}

object! {
    /// One change to one principal.
    pub struct Keyring {
        req "change" change: KeyChange,
        req "groups" groups: Set<Group, { limits::NAMES }>,
        req "key" key: PublicKey,
        opt "name" name: Item,
        opt "not_after" not_after: Millis,
        opt "not_before" not_before: Millis,
        req "principal" principal: Principal,
        opt "replaces" replaces: PublicKey,
        req "role" role: Role,
        opt "threshold" threshold: Threshold,
    }
}

/// The policy document, or its digest where it does not fit a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `{"document":…}`
    Document(Json),
    /// `{"digest":…}`
    Digest(PolicyDigest),
}

object! {
    /// A further signature toward the authority's threshold.
    pub struct Endorsement {
        req "candidate" candidate: RecordId,
    }
}

object! {
    /// What the holder of a key may propose, and pass on.
    pub struct Delegation {
        opt "audience" audience: Audience,
        req "delegate" delegate: Holder,
        req "depth" depth: Whole<0, { limits::DELEGATION_DEPTH }>,
        opt "not_after" not_after: Millis,
        opt "not_before" not_before: Millis,
        req "scope" scope: List<Scope, 1, { limits::SCOPE_ENTRIES }>,
        opt "spend" spend: Spend,
        opt "uses" uses: Whole<1, 1_000_000>,
    }
}

object! {
    /// What a delegate may do: a tool, and what its arguments are held to.
    pub struct Scope {
        opt "arguments" arguments: Json,
        opt "target" target: Label,
        req "tool" tool: Label,
    }
}

object! {
    /// What a delegate may spend.
    pub struct Spend {
        opt "per_action" per_action: Cost,
        opt "total" total: Cost,
    }
}

/// What a revocation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// `{"key":…}`
    Key(PublicKey),
    /// `{"delegation":…}`
    Delegation(RecordId),
}

object! {
    /// The end of a key or delegation.
    pub struct Revocation {
        opt "distrust_from" distrust_from: Count,
        opt "reason" reason: Text,
        req "target" target: RevocationTarget,
    }
}

object! {
    /// Where a trigger came from; source and id together name one event.
    pub struct Event {
        req "id" id: Label,
        opt "kind" kind: Label,
        req "source" source: Label,
    }
}

object! {
    /// Why the run exists, and who owns it first.
    pub struct Trigger {
        opt "content" content: Items,
        req "event" event: Event,
        req "owner" owner: Holder,
        opt "summary" summary: Text,
    }
}

words! {
    /// What an observation is.
    pub enum ObservationKind {
        Evidence = "evidence",
        Triage = "triage",
        Plan = "plan",
        Note = "note",
    }
}

object! {
    /// What an agent saw or means to do.
    pub struct Observation {
        opt "items" items: Items,
        req "kind" kind: ObservationKind,
        opt "summary" summary: Text,
    }
}

words! {
    /// How bad it could get, by the agent's own word.
    pub enum Risk {
        Low = "low",
        Medium = "medium",
        High = "high",
        Critical = "critical",
    }
}

object! {
    /// The exact action that is asked for.
    pub struct Proposal {
        req "action" action: Action,
        req "audience" audience: Audience,
        opt "cost" cost: Cost,
        opt "delegation" delegation: RecordId,
        opt "evidence" evidence: Items,
        opt "metadata" metadata: Map<Label, Label>,
        req "risk" risk: Risk,
        opt "summary" summary: Text,
        opt "supersedes" supersedes: RecordId,
        opt "tags" tags: Set<Label, { limits::NAMES }>,
    }
}

words! {
    /// What a decision says.
    pub enum Ruling {
        Approve = "approve",
        Reject = "reject",
        RequestChanges = "request_changes",
    }
}

words! {
    /// Where the approver saw what they decided on.
    pub enum Surface {
        Terminal = "terminal",
        IndependentPage = "independent_page",
        OperatorPage = "operator_page",
        Link = "link",
        None = "none",
    }
}

object! {
    /// What the approver would rather see.
    pub struct Changes {
        opt "action" action: Action,
        opt "note" note: Text,
    }
}

object! {
    /// A ruling on one proposal, bound to its action, the policy and what was shown.
    pub struct Decision {
        req "action" action: ActionDigest,
        opt "approver" approver: Principal,
        req "basis" basis: Basis,
        opt "changes" changes: Changes,
        req "policy" policy: PolicyDigest,
        req "proposal" proposal: RecordId,
        opt "reason" reason: Text,
        opt "rule" rule: RuleName,
        opt "shown" shown: Item,
        req "surface" surface: Surface,
        opt "uses" uses: Uses,
        req "verdict" verdict: Ruling,
        opt "window" window: Window,
    }
}

object! {
    /// Who is asked next.
    pub struct Escalation {
        req "policy" policy: PolicyDigest,
        req "proposal" proposal: RecordId,
        opt "reason" reason: Text,
        req "rule" rule: RuleName,
        req "step" step: Whole<1, { limits::STEPS }>,
        req "to" to: List<Audience, 1, { limits::NAMES }>,
    }
}

object! {
    /// Withdraws a proposal or one's own decision.
    pub struct Cancel {
        opt "reason" reason: Text,
        req "target" target: RecordId,
    }
}

object! {
    /// Why nobody was asked; demands review after.
    pub struct BreakGlass {
        req "reason" reason: Text,
    }
}

object! {
    /// Before the effect: this use of this proposal starts now, with exactly this action.
    pub struct Execution {
        req "action" action: Action,
        req "basis" basis: Basis,
        opt "break_glass" break_glass: BreakGlass,
        req "decisions" decisions: Ids<{ limits::DECISIONS }>,
        req "nonce" nonce: Nonce,
        req "policy" policy: PolicyDigest,
        req "proposal" proposal: RecordId,
        opt "retries" retries: RecordId,
        req "use" use_number: Uses,
    }
}

words! {
    /// How an execution ended, as far as the runtime knows.
    pub enum Status {
        Succeeded = "succeeded",
        Failed = "failed",
        Unknown = "unknown",
    }
}

words! {
    /// What an execution did to the world.
    pub enum Effects {
        None = "none",
        Partial = "partial",
        Complete = "complete",
        Unknown = "unknown",
    }
}

object! {
    /// How an execution ended.
    pub struct Outcome {
        opt "attestation" attestation: Item,
        opt "detail" detail: Text,
        req "effects" effects: Effects,
        req "execution" execution: RecordId,
        opt "result" result: Item,
        req "status" status: Status,
    }
}

object! {
    /// What was asked for, and why the gate said no.
    pub struct Refusal {
        opt "action" action: Action,
        opt "basis" basis: Basis,
        req "code" code: Label,
        req "count" count: Whole<1, 1_000_000>,
        opt "decisions" decisions: Ids<{ limits::DECISIONS }>,
        opt "detail" detail: Text,
        opt "proposal" proposal: RecordId,
        opt "use" use_number: Uses,
    }
}

object! {
    /// What became of an execution that stayed unknown; never itself unknown.
    pub struct Settlement {
        req "effects" effects: Effects,
        opt "evidence" evidence: Items,
        req "execution" execution: RecordId,
        opt "reason" reason: Text,
        req "status" status: Status,
    }
}

object! {
    /// Who owns the run next, and what is open.
    pub struct Handoff {
        req "basis" basis: Basis,
        opt "items" items: Items,
        req "open" open: Ids<{ limits::OPEN }>,
        opt "summary" summary: Text,
        req "to" to: Holder,
    }
}

object! {
    /// The log's signed answer to a record that it does not admit; never an entry.
    pub struct Rejection {
        req "code" code: Label,
        opt "id" id: RecordId,
        req "rule" rule: Label,
        req "size" size: Count,
        opt "statement" statement: Statement,
    }
}

macro_rules! bodies {
    ($($variant:ident $word:literal $form:ident [$($role:ident)*],)*) => {
        words! {
            /// The type of a record.
            pub enum Type { $($variant = $word,)* }
        }

        /// What a record says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Body { $(#[doc = concat!("`", $word, "`")] $variant(Box<$variant>),)* }

        impl Body {
            /// The type of the record that says this.
            pub const fn kind(&self) -> Type {
                match self { $(Body::$variant(_) => Type::$variant,)* }
            }

            pub(crate) fn read(kind: Type, node: Node<'_>) -> Result<Self, Malformed> {
                let body = match kind { $(Type::$variant => Body::$variant(Box::new($variant::read(node)?)),)* };
                body.is_coherent()?;
                Ok(body)
            }
        }

        impl Type {
            /// The roles whose keys may sign this type (R-ROLE-01).
            pub const fn roles(self) -> &'static [Role] {
                match self { $(Type::$variant => &[$(Role::$role),*],)* }
            }

            /// Which of `log`, `run`, `parents`, `prev` stand in its envelope.
            pub const fn form(self) -> Form {
                match self { $(Type::$variant => Form::$form,)* }
            }
        }

        impl Field for Body {
            fn read(node: Node<'_>) -> Result<Self, Malformed> {
                Err(node.wrong("a body whose type is known"))
            }

            fn write(&self, out: &mut Vec<u8>) {
                match self { $(Body::$variant(body) => body.write(out),)* }
            }
        }

        $(impl From<$variant> for Body {
            fn from(body: $variant) -> Self {
                Body::$variant(Box::new(body))
            }
        })*
    };
}

/// The forms of an envelope (`spec/records.md` §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Neither `log` nor anything else: the genesis.
    Root,
    /// `log` only: triggers, and records that stand alone.
    Single,
    /// `log`, `run` and `parents`.
    Run,
    /// `log` and `prev`.
    Chain,
}

bodies! {
    Genesis "genesis" Root [Authority],
    Snapshot "snapshot" Chain [Log],
    Keyring "keyring" Chain [Authority],
    Policy "policy" Chain [Authority],
    Endorsement "endorsement" Single [Authority],
    Delegation "delegation" Chain [Authority Agent Human],
    Revocation "revocation" Single [Authority Agent Human Runtime Policy],
    Trigger "trigger" Single [Agent Runtime],
    Observation "observation" Run [Agent],
    Proposal "proposal" Run [Agent],
    Decision "decision" Run [Human Policy],
    Escalation "escalation" Run [Policy],
    Cancel "cancel" Run [Agent Human Authority],
    Execution "execution" Run [Runtime],
    Outcome "outcome" Run [Runtime],
    Refusal "refusal" Run [Runtime],
    Settlement "settlement" Run [Human],
    Handoff "handoff" Run [Agent],
    Rejection "rejection" Single [Log],
}

impl Body {
    /// Every payload that the record names, in the order of its members.
    pub fn evidence(&self) -> Vec<Evidence> {
        let items =
            |items: &Option<Items>| items.iter().flat_map(|list| list.0.iter().cloned()).collect::<Vec<_>>();
        let item = |item: &Option<Item>| item.iter().cloned().map(Evidence::Item).collect::<Vec<_>>();
        match self {
            Body::Keyring(body) => item(&body.name),
            Body::Trigger(body) => items(&body.content),
            Body::Observation(body) => items(&body.items),
            Body::Proposal(body) => items(&body.evidence),
            Body::Decision(body) => body.shown.iter().cloned().map(Evidence::Item).collect(),
            Body::Outcome(body) => [item(&body.attestation), item(&body.result)].concat(),
            Body::Settlement(body) => items(&body.evidence),
            Body::Handoff(body) => items(&body.items),
            Body::Genesis(_)
            | Body::Snapshot(_)
            | Body::Policy(_)
            | Body::Endorsement(_)
            | Body::Delegation(_)
            | Body::Revocation(_)
            | Body::Escalation(_)
            | Body::Cancel(_)
            | Body::Execution(_)
            | Body::Refusal(_)
            | Body::Rejection(_) => Vec::new(),
        }
    }

    /// The action that the record carries, if its type carries one.
    pub fn action(&self) -> Option<&Action> {
        match self {
            Body::Proposal(body) => Some(&body.action),
            Body::Execution(body) => Some(&body.action),
            Body::Refusal(body) => body.action.as_ref(),
            Body::Decision(body) => body.changes.as_ref().and_then(|changes| changes.action.as_ref()),
            _ => None,
        }
    }

    /// The checkpoint that the record says its signer acted on, if its type has one.
    pub fn basis(&self) -> Option<&Basis> {
        match self {
            Body::Decision(body) => Some(&body.basis),
            Body::Execution(body) => Some(&body.basis),
            Body::Handoff(body) => Some(&body.basis),
            Body::Refusal(body) => body.basis.as_ref(),
            _ => None,
        }
    }
}

/// Reads an object with exactly one of two members.
fn either<T>(
    node: Node<'_>,
    first: (&str, impl Fn(Node<'_>) -> Result<T, Malformed>),
    second: (&str, impl Fn(Node<'_>) -> Result<T, Malformed>),
) -> Result<T, Malformed> {
    let mut members = node.members()?;
    let value = match (members.take(first.0), members.take(second.0)) {
        (Some(node), None) => (first.1)(node).map_err(|fault| fault.within(first.0))?,
        (None, Some(node)) => (second.1)(node).map_err(|fault| fault.within(second.0))?,
        _ => return Err(node.wrong(&format!("an object with either {} or {}", first.0, second.0))),
    };
    members.finish()?;
    Ok(value)
}

fn write_one<T: Field>(name: &str, value: &T, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.member(name, value);
    object.close();
}

impl Field for Audience {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        either(
            node,
            ("group", |node| Group::read(node).map(Self::Group)),
            ("principal", |node| Principal::read(node).map(Self::Principal)),
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Principal(principal) => write_one("principal", principal, out),
            Self::Group(group) => write_one("group", group, out),
        }
    }
}

impl Field for Policy {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        either(
            node,
            ("digest", |node| PolicyDigest::read(node).map(Self::Digest)),
            ("document", |node| Json::read(node).map(Self::Document)),
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Digest(digest) => write_one("digest", digest, out),
            Self::Document(document) => write_one("document", document, out),
        }
    }
}

impl Field for RevocationTarget {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        either(
            node,
            ("delegation", |node| RecordId::read(node).map(Self::Delegation)),
            ("key", |node| PublicKey::read(node).map(Self::Key)),
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Delegation(delegation) => write_one("delegation", delegation, out),
            Self::Key(key) => write_one("key", key, out),
        }
    }
}

impl Field for Evidence {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        if node.members()?.take("items").is_some() {
            ItemSet::read(node).map(Self::Set)
        } else {
            Item::read(node).map(Self::Item)
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Item(item) => item.write(out),
            Self::Set(set) => set.write(out),
        }
    }
}
