//! Malformed input: what was wrong with the bytes, where, and under which rule.

use std::fmt;

use crate::json::JsonError;

/// Declares an enum of rules: each with its id in `spec/rules.md` and its stable code.
#[macro_export]
macro_rules! rules {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $id:literal $code:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = concat!($id, ": `", $code, "`")] $(#[$doc])* $variant,)* }

        impl $name {
            /// Every rule, in the order of the registry.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The rule's id in `spec/rules.md`.
            pub const fn id(self) -> &'static str {
                match self { $($name::$variant => $id,)* }
            }

            /// The stable machine-readable code.
            pub const fn code(self) -> &'static str {
                match self { $($name::$variant => $code,)* }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.code())
            }
        }
    };
}

rules! {
    /// The rules that bytes alone can break (`spec/rules.md`, "Bytes and shape").
    pub enum Code {
        JsonUtf8 = "R-JSON-01" "json-utf8",
        JsonSyntax = "R-JSON-02" "json-syntax",
        JsonNotCanonical = "R-JSON-03" "json-not-canonical",
        JsonDuplicateKey = "R-JSON-04" "json-duplicate-key",
        JsonSurrogate = "R-JSON-05" "json-surrogate",
        JsonNumberRange = "R-JSON-06" "json-number-range",
        JsonDepth = "R-JSON-07" "json-depth",
        JsonTrailing = "R-JSON-08" "json-trailing",
        RecordTooLarge = "R-REC-01" "record-too-large",
        VersionUnknown = "R-REC-02" "version-unknown",
        TypeUnknown = "R-REC-03" "type-unknown",
        FieldUnknown = "R-REC-04" "field-unknown",
        FieldMissing = "R-REC-05" "field-missing",
        FieldInvalid = "R-REC-06" "field-invalid",
        EnvelopeForm = "R-REC-07" "envelope-form",
        KeyMalformed = "R-REC-08" "key-malformed",
        ParentsOrder = "R-REC-09" "parents-order",
        ListOrder = "R-REC-10" "list-order",
        CommittedPath = "R-ACT-01" "committed-path",
        FreePath = "R-ACT-02" "free-path",
        DecisionTerms = "R-DEC-01" "decision-terms",
        DecisionVoice = "R-DEC-03" "decision-voice",
        SchemeUnsupported = "R-SIG-02" "scheme-unsupported",
    }
}

/// Input that is not a well-formed record. Holds the rule, the place and the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The rule that the bytes break.
    pub code: Code,
    /// Where: a path of member names such as `body.action.tool`, or a byte offset.
    pub at: String,
    /// What stands there and what was expected.
    pub detail: String,
}

impl Malformed {
    /// A finding without a place; readers further out prepend theirs with [`Malformed::within`].
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, at: String::new(), detail: detail.into() }
    }

    /// The same finding, one member further in.
    pub(crate) fn within(mut self, member: &str) -> Self {
        self.at = if self.at.is_empty() { member.to_owned() } else { format!("{member}.{}", self.at) };
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Malformed {}

impl From<JsonError> for Malformed {
    /// One scan of the text judges these rules together:
    ///
    /// R-JSON-01: the text is UTF-8 without byte order mark
    /// R-JSON-02: it is one JSON object by RFC 8259
    /// R-JSON-03: it is spelled as RFC 8785 spells it
    /// R-JSON-04: no object has two members of one name
    /// R-JSON-05: strings hold no lone surrogate and no noncharacter
    /// R-JSON-06: integers lie in ±(2⁵³−1), other numbers in the range of a double
    /// R-JSON-07: nesting is at most 32
    /// R-JSON-08: nothing follows the object
    /// R-REC-01: at most 65,535 bytes
    fn from(fault: JsonError) -> Self {
        let code = match fault {
            JsonError::TooLarge { .. } => Code::RecordTooLarge,
            JsonError::TooDeep { .. } => Code::JsonDepth,
            JsonError::TooManyMembers { .. } => Code::FieldUnknown,
            JsonError::Utf8 { .. } | JsonError::ByteOrderMark => Code::JsonUtf8,
            JsonError::Syntax { .. } | JsonError::NotObject { .. } | JsonError::Control { .. } => {
                Code::JsonSyntax
            }
            JsonError::Trailing { .. } => Code::JsonTrailing,
            JsonError::DuplicateKey { .. } => Code::JsonDuplicateKey,
            JsonError::Surrogate { .. } | JsonError::Noncharacter { .. } => Code::JsonSurrogate,
            JsonError::NumberRange { .. } => Code::JsonNumberRange,
            JsonError::Whitespace { .. }
            | JsonError::KeyOrder { .. }
            | JsonError::Escape { .. }
            | JsonError::NumberForm { .. }
            | JsonError::Disagreement { .. } => Code::JsonNotCanonical,
        };
        Self::new(code, fault.to_string())
    }
}
