//! How what is text in requests and answers is spelled, for the OpenAPI document ([`crate::openapi`]). The text is `spec/`.

use counterfoil_policy::limits::GLOB_BYTES;
use counterfoil_receipt::{
    Role,
    body::{Risk, Ruling, Status, Surface, Type},
};
use counterfoil_verify::{ProposalStatus, Reviewed};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat, Type as Is},
};

use crate::problem::Kind;

/// Declares types that stand for text of one form. They have no values: the document names them, and nothing else does.
macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident = $pattern:literal, $example:literal;)*) => {$(
        $(#[doc = $doc])*
        pub(crate) enum $name {}

        impl ToSchema for $name {}
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(Is::String).pattern(Some($pattern));
                text.description(Some(concat!($($doc),*).trim())).examples([$example]).into()
            }
        }
    )*};
}

texts! {
    /// SHA-256, as ids, digests, commitments and roots are spelled.
    Hash = r"^sha256:[0-9a-f]{64}$", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// 32 bytes of a proof, in standard base64.
    ProofHash = r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    /// An Ed25519 public key.
    Key = r"^ed25519:[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$", "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    /// A principal or a group.
    Name = r"^[a-z0-9][a-z0-9._-]{0,63}$", "ana";
    /// An amount, in decimal.
    Amount = r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$", "12.50";
    /// The number of an entry, in decimal.
    EntryNumber = r"^(0|[1-9][0-9]{0,19})$", "0";
    /// A path of c2sp.org/tlog-tiles below `/tile/`. Its slashes are sent as they are, which OpenAPI can't say.
    TileName = r"^(entries|[0-9]|[1-5][0-9]|6[0-3])/(x[0-9]{3}/)*[0-9]{3}(\.p/([1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?$", "entries/000.p/1";
    /// The token of a link.
    LinkToken = r"^[A-Za-z0-9_-]+$", "AQ";
}

/// A glob of `spec/policy.md`.
pub(crate) enum Pattern {}

impl ToSchema for Pattern {}
impl PartialSchema for Pattern {
    fn schema() -> RefOr<Schema> {
        // At most 8 stars; the length is in bytes, which a schema can't say.
        let glob = ObjectBuilder::new().schema_type(Is::String).pattern(Some(r"^[^*]*(\*[^*]*){0,8}$"));
        let glob = glob.min_length(Some(1)).max_length(Some(GLOB_BYTES));
        glob.description(Some("A glob of at most 256 bytes: `*` stands for any string.")).into()
    }
}

/// Declares types that stand for one of a few words.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident = $words:expr;)*) => {$(
        $(#[doc = $doc])*
        pub(crate) enum $name {}

        impl ToSchema for $name {}
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let word = ObjectBuilder::new().schema_type(Is::String).enum_values(Some($words));
                word.description(Some(concat!($($doc),*).trim())).into()
            }
        }
    )*};
}

words! {
    /// The role of a key.
    RoleName = Role::ALL.iter().map(|role| role.as_str());
    /// The type of a record.
    TypeName = Type::ALL.iter().map(|kind| kind.as_str());
    /// What a decision says.
    Verdict = Ruling::ALL.iter().map(|ruling| ruling.as_str());
    /// Where somebody decided.
    SurfaceName = Surface::ALL.iter().map(|surface| surface.as_str());
    /// How an execution ended.
    Ended = Status::ALL.iter().map(|status| status.as_str());
    /// What was said afterwards of an execution under break-glass.
    ReviewName = Reviewed::ALL.iter().map(|reviewed| reviewed.as_str());
    /// What the proposer claims.
    RiskName = Risk::ALL.iter().map(|risk| risk.as_str());
    /// A state of `spec/runs.md`, section 4.
    State = ProposalStatus::ALL.iter().map(|status| status.as_str());
    /// What a key is now.
    KeyStatus = ["live", "retired", "revoked"];
    /// What the policy will say by itself.
    TimerSays = ["approve", "reject", "escalate"];
    /// What a log does without its witnesses.
    FailMode = ["open", "closed"];
    /// What an inclusion shows.
    Promised = ["included", "published", "witnessed"];
    /// Of what is durable and not evidence yet.
    OnlyStored = ["stored"];
    /// Of what was not admitted.
    OnlyRejected = ["rejected"];
    /// What is wrong, for programs: it never changes.
    Code = Kind::ALL.iter().map(|kind| kind.code());
    /// Whether the log goes on.
    Condition = ["ok", "failed", "read-only"];
}

/// Where an entry stands, or how many there are.
pub(crate) enum Index {}

impl ToSchema for Index {}
impl PartialSchema for Index {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Is::Integer).minimum(Some(0_usize)).maximum(Some(usize::MAX)).into()
    }
}

/// Bytes as they are.
pub(crate) enum Bytes {}

impl ToSchema for Bytes {}
impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Is::String).format(Some(format)).into()
    }
}

/// A signed record.
pub(crate) enum Record {}

impl ToSchema for Record {}
impl PartialSchema for Record {
    fn schema() -> RefOr<Schema> {
        let text = |pattern: &str| ObjectBuilder::new().schema_type(Is::String).pattern(Some(pattern));
        let of = |name: &str| Ref::from_schema_name(name);
        let signer = ObjectBuilder::new().property("key", of("Key")).property("principal", of("Name"));
        let signer = signer.property("role", of("RoleName"));
        let signer = ["key", "principal", "role"].into_iter().fold(signer, ObjectBuilder::required);
        let parents = utoipa::openapi::ArrayBuilder::new().items(of("Hash"));
        let record = ObjectBuilder::new()
            .description(Some(
                "A signed record, canonical JSON without a line feed. Each type has a schema of its own in `spec/schema/`; \
                 the text is `spec/records.md`.",
            ))
            .property("v", ObjectBuilder::new().schema_type(Is::String).enum_values(Some(["counterfoil/1"])))
            .property("type", of("TypeName"))
            .property("log", of("Hash"))
            .property("run", of("Hash"))
            .property("parents", parents)
            .property("prev", of("Hash"))
            .property("time", of("Index"))
            .property("signer", signer)
            .property("body", ObjectBuilder::new())
            .property("sig", text(r"^[A-Za-z0-9_-]{85}[AQgw]$"));
        ["v", "type", "time", "signer", "body", "sig"]
            .into_iter()
            .fold(record, ObjectBuilder::required)
            .into()
    }
}

/// A payload line of a bundle.
pub(crate) enum Payload {}

impl ToSchema for Payload {}
impl PartialSchema for Payload {
    fn schema() -> RefOr<Schema> {
        let base64url = || ObjectBuilder::new().schema_type(Is::String).pattern(Some(r"^[A-Za-z0-9_-]*$"));
        let line = ObjectBuilder::new()
            .description(Some(
                "A payload, with what opens its commitment: `spec/bundle.md`, in unpadded base64url.",
            ))
            .property("commitment", Ref::from_schema_name("Hash"))
            .property("content", base64url())
            .property("label", ObjectBuilder::new().schema_type(Is::String))
            .property("salt", base64url());
        ["commitment", "content", "label", "salt"].into_iter().fold(line, ObjectBuilder::required).into()
    }
}
