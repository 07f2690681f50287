//! Every limit of a policy document, with its reason (`spec/limits.md`, `spec/policy.md`).

/// Bytes of a document: a thousand rules of a kilobyte each.
pub const DOCUMENT_BYTES: usize = 1_048_576;
/// Rules of a policy: one for each tool of a large catalogue. A thousand are evaluated in 100 µs.
pub const RULES: usize = 1_000;
/// Members of `costs`, and of `free`: one for each tool that spends or leaves something open.
pub const SOURCES: usize = 256;
/// Matchers of one rule, nested ones included: more are several rules.
pub const RULE_MATCHERS: usize = 128;
/// Matchers of a policy: eight for each of [`RULES`], and some to spare. What evaluation costs at most follows from it.
pub const MATCHERS: usize = 8_192;
/// Levels of matchers: `any` of `all` of `not` is three; with a record around them 8 stay below the nesting of JSON.
pub const MATCHER_DEPTH: usize = 8;
/// Elements of one list of a matcher: matchers, values, principals.
pub const ELEMENTS: usize = 64;
/// Arguments that one entry of a scope bounds: as many as items of a record.
pub const SCOPE_ARGUMENTS: usize = 64;
/// Bytes of a glob: as long as the tools and targets that it is about.
pub const GLOB_BYTES: usize = counterfoil_receipt::limits::LABEL_BYTES;
/// Stars of a glob: each is one more search through the string.
pub const GLOB_STARS: usize = 8;
/// Requirements of a rule: half of the approvers that it may want.
pub const REQUIREMENTS: usize = 8;
/// Approvers that a rule may want, all its requirements together: as many decisions as an execution names.
pub const APPROVERS: usize = counterfoil_receipt::limits::DECISIONS;
/// Steps of an escalation: as many as a record can number.
pub const STEPS: usize = counterfoil_receipt::limits::STEPS as usize;
/// Principals whom a step asks, and groups: an escalation names both in one list of 32.
pub const ASKED: usize = 16;
/// Groups, tags and pointers of one list: as many as a principal, a proposal and an action have.
pub const NAMES: usize = counterfoil_receipt::limits::NAMES;
/// Uses that a rule lets a proposal have.
pub const USES: u64 = counterfoil_receipt::limits::USES;
/// Retries of a use: what is unknown so often is looked at by a person.
pub const RETRIES: u64 = 16;
/// The longest window that a rule may let a decision grant, in milliseconds.
pub const WINDOW_MILLIS: u64 = counterfoil_receipt::limits::WINDOW_MILLIS;
