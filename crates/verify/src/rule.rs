//! The rules that this crate judges, and the dimension of the verdict that each belongs to (`spec/rules.md`).

use counterfoil_receipt::rules;

rules! {
    /// Every rule beyond the shape of bytes.
    pub enum Rule {
        RoleNotAllowed = "R-ROLE-01" "role-not-allowed",
        SignatureInvalid = "R-SIG-01" "signature-invalid",
        LogMismatch = "R-LOG-01" "log-mismatch",
        GenesisMisplaced = "R-LOG-02" "genesis-misplaced",
        StatementRepeated = "R-LOG-03" "statement-repeated",
        LogLimit = "R-LOG-04" "log-limit",
        NotAnEntry = "R-LOG-05" "not-an-entry",
        ParentUnknown = "R-CHAIN-01" "parent-unknown",
        ParentForeign = "R-CHAIN-02" "parent-foreign",
        RunUnknown = "R-CHAIN-03" "run-unknown",
        ReferenceUnknown = "R-CHAIN-04" "reference-unknown",
        PrevMismatch = "R-CHAIN-05" "prev-mismatch",
        BasisRange = "R-BASIS-01" "basis-range",
        BasisFork = "R-BASIS-02" "basis-fork",
        SnapshotIndex = "R-SNAP-01" "snapshot-index",
        SnapshotTime = "R-SNAP-02" "snapshot-time",
        SnapshotMap = "R-SNAP-03" "snapshot-map",
        KeyUnknown = "R-KEY-01" "key-unknown",
        KeyRole = "R-KEY-02" "key-role",
        KeyPrincipal = "R-KEY-03" "key-principal",
        KeyRetired = "R-KEY-04" "key-retired",
        KeyRevoked = "R-KEY-05" "key-revoked",
        KeyValidity = "R-KEY-06" "key-validity",
        KeyReused = "R-KEY-07" "key-reused",
        KeyChange = "R-KEY-08" "key-change",
        KeyDistrusted = "R-KEY-09" "key-distrusted",
        EndorsementTarget = "R-AUTH-01" "endorsement-target",
        AuthorityNotPinned = "R-AUTH-02" "authority-not-pinned",
        ThresholdUnreachable = "R-AUTH-03" "threshold-unreachable",
        RevocationTarget = "R-REV-01" "revocation-target",
        RevocationSigner = "R-REV-02" "revocation-signer",
        PolicyUnreadable = "R-POL-01" "policy-unreadable",
        DelegationUnreadable = "R-DEL-01" "delegation-unreadable",
        DelegationSigner = "R-DEL-02" "delegation-signer",
        DelegationWidens = "R-DEL-03" "delegation-widens",
        DelegationHolder = "R-DEL-04" "delegation-holder",
        DelegationScope = "R-DEL-05" "delegation-scope",
        DelegationEnded = "R-DEL-06" "delegation-ended",
        DelegationSpent = "R-DEL-07" "delegation-spent",
        NotOwner = "R-OWN-01" "not-owner",
        CancelSigner = "R-CAN-01" "cancel-signer",
        HandoffRecipient = "R-HAND-01" "handoff-recipient",
        SupersedeTarget = "R-PROP-01" "supersede-target",
        DecisionAction = "R-DEC-02" "decision-action",
        LinkApprover = "R-LINK-01" "link-approver",
        TimerUnknown = "R-TIME-01" "timer-unknown",
        TimerEarly = "R-TIME-02" "timer-early",
        TimerOutOfTurn = "R-TIME-03" "timer-out-of-turn",
        ActionDiffers = "R-EXEC-01" "action-differs",
        UseConsumed = "R-EXEC-02" "use-consumed",
        UseExceeded = "R-EXEC-03" "use-exceeded",
        ProposalEnded = "R-EXEC-04" "proposal-ended",
        DecisionNotApproval = "R-EXEC-05" "decision-not-approval",
        QuorumNotMet = "R-EXEC-06" "quorum-not-met",
        Segregation = "R-EXEC-07" "segregation",
        WindowClosed = "R-EXEC-08" "window-closed",
        PolicyNotInForce = "R-EXEC-09" "policy-not-in-force",
        AudienceMismatch = "R-EXEC-10" "audience-mismatch",
        ApprovalRevoked = "R-EXEC-11" "approval-revoked",
        TermsExceedPolicy = "R-EXEC-12" "terms-exceed-policy",
        BreakGlassRefused = "R-EXEC-13" "break-glass-refused",
        RetryRefused = "R-EXEC-14" "retry-refused",
        PolicyDenied = "R-EXEC-15" "policy-denied",
        FreePathRefused = "R-EXEC-16" "free-path-refused",
        PreviewMissing = "R-EXEC-17" "preview-missing",
        OutcomeSigner = "R-OUT-01" "outcome-signer",
        OutcomeSettled = "R-OUT-02" "outcome-settled",
        SettlementOpen = "R-SET-01" "settlement-open",
        BundleHeader = "R-BUN-01" "bundle-header",
        BundleLine = "R-BUN-02" "bundle-line",
        BundleCount = "R-BUN-03" "bundle-count",
        BundleLimit = "R-BUN-04" "bundle-limit",
        PayloadUnused = "R-BUN-05" "payload-unused",
        PayloadMismatch = "R-BUN-06" "payload-mismatch",
        RecordUnused = "R-BUN-07" "record-unused",
        GenesisNotPinned = "R-TRUST-01" "genesis-not-pinned",
        CheckpointSignature = "R-CP-01" "checkpoint-signature",
        CheckpointOrigin = "R-CP-02" "checkpoint-origin",
        CheckpointForm = "R-CP-03" "checkpoint-form",
        CheckpointSnapshot = "R-CP-04" "checkpoint-snapshot",
        InclusionMismatch = "R-INC-01" "inclusion-mismatch",
        ConsistencyMismatch = "R-CONS-01" "consistency-mismatch",
        WitnessQuorum = "R-WIT-01" "witness-quorum",
        CheckpointStale = "R-FRESH-01" "checkpoint-stale",
    }
}

/// What a verdict answers separately (`spec/verification.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Are these the bytes that were signed, in the order that they claim?
    Integrity,
    /// Were the signers entitled: keys, roles, quorum, segregation, policy?
    Authority,
    /// Is what was executed what was approved, within its window and uses?
    Conformity,
    /// Are the records in the log that the reader pins?
    Inclusion,
    /// Is nothing left out?
    Completeness,
    /// Have enough others seen the log's state?
    Witnessed,
    /// Is the log's state recent?
    Freshness,
}

impl Dimension {
    /// Every dimension, in the order in which a verdict lists them.
    pub const ALL: [Self; 7] = [
        Self::Integrity,
        Self::Authority,
        Self::Conformity,
        Self::Inclusion,
        Self::Completeness,
        Self::Witnessed,
        Self::Freshness,
    ];

    /// Its name in trust files, on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Authority => "authority",
            Self::Conformity => "conformity",
            Self::Inclusion => "inclusion",
            Self::Completeness => "completeness",
            Self::Witnessed => "witnessed",
            Self::Freshness => "freshness",
        }
    }

    /// The dimension of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == name)
    }
}

impl std::fmt::Display for Dimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Rule {
    /// The dimension that a violation of this rule fails.
    pub const fn dimension(self) -> Dimension {
        use Rule::*;
        match self {
            SignatureInvalid | LogMismatch | GenesisMisplaced | StatementRepeated | LogLimit | NotAnEntry
            | ParentUnknown | ParentForeign | RunUnknown | ReferenceUnknown | PrevMismatch | BasisRange
            | BasisFork | SnapshotIndex | SnapshotTime | SnapshotMap | BundleHeader | BundleLine
            | BundleCount | BundleLimit | PayloadUnused | PayloadMismatch | RecordUnused => {
                Dimension::Integrity
            }
            RoleNotAllowed | KeyUnknown | KeyRole | KeyPrincipal | KeyRetired | KeyRevoked | KeyValidity
            | KeyReused | KeyChange | KeyDistrusted | EndorsementTarget | AuthorityNotPinned
            | ThresholdUnreachable | RevocationTarget | RevocationSigner | PolicyUnreadable
            | DelegationUnreadable | DelegationSigner | DelegationWidens | DelegationHolder
            | DelegationScope | DelegationEnded | DelegationSpent | NotOwner | CancelSigner
            | HandoffRecipient | DecisionNotApproval | QuorumNotMet | Segregation | PolicyNotInForce
            | AudienceMismatch | ApprovalRevoked | TermsExceedPolicy | BreakGlassRefused | PolicyDenied
            | FreePathRefused | PreviewMissing | LinkApprover | TimerUnknown | TimerEarly => {
                Dimension::Authority
            }
            SupersedeTarget | DecisionAction | ActionDiffers | UseConsumed | UseExceeded | ProposalEnded
            | WindowClosed | RetryRefused | OutcomeSettled | SettlementOpen | TimerOutOfTurn => {
                Dimension::Conformity
            }
            OutcomeSigner => Dimension::Authority,
            GenesisNotPinned | CheckpointSignature | CheckpointOrigin | CheckpointForm
            | CheckpointSnapshot | InclusionMismatch | ConsistencyMismatch => Dimension::Inclusion,
            WitnessQuorum => Dimension::Witnessed,
            CheckpointStale => Dimension::Freshness,
        }
    }
}
