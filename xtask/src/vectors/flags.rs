//! The kinds of bug that failing vectors catch, and what each would let somebody do.

/// Name, bug, effect.
pub const FLAGS: &[(&str, &str, &str)] = &[
    (
        "ArgumentSmuggling",
        "Committed and free paths are not checked against the arguments or each other.",
        "One argument is bound and another is used, under one digest.",
    ),
    (
        "AudienceConfusion",
        "Any runtime may execute what was meant for one.",
        "An approval for one environment is used in another.",
    ),
    (
        "AuthorityForgery",
        "Endorsements, thresholds or pinned roots are not checked.",
        "Somebody enrols keys or sets policy alone.",
    ),
    (
        "Base64Spelling",
        "Base64 is decoded leniently.",
        "One key or signature has several spellings, and one statement several ids.",
    ),
    (
        "BlindRetry",
        "A retry is not held to the policy, or not to the outcome, holder and number of what was tried before.",
        "What had its effect has it again, on one approval.",
    ),
    (
        "BorrowedDelegation",
        "A delegation counts whoever signs, or whoever granted it.",
        "An agent grants itself everything, or acts under what was given to another.",
    ),
    (
        "BreakGlass",
        "Break-glass is accepted whether or not the policy knows it.",
        "A runtime acts without any approval.",
    ),
    (
        "BundleTampering",
        "Lines of a bundle are not read strictly.",
        "Two readers see different things in one file.",
    ),
    ("CancelAbuse", "Anybody may withdraw anything.", "A stranger ends an approval or a proposal."),
    (
        "CanonicalForm",
        "Bytes are normalised before they are hashed, or the form is not checked.",
        "One record has several ids.",
    ),
    (
        "ChainFork",
        "`prev` is not compared with the head of the chain.",
        "A keyring, policy or snapshot is forked silently.",
    ),
    (
        "CheckpointForgery",
        "Origin, form or signature of a checkpoint is not checked.",
        "Another log's tree, or nobody's, counts as this log's.",
    ),
    (
        "DanglingReference",
        "References are not resolved, or not to the right type and run.",
        "A record rests on something that was never said.",
    ),
    (
        "DecisionTerms",
        "An approval without terms, or a rejection with some, is accepted.",
        "An approval never ends.",
    ),
    (
        "DelegationWidening",
        "Links are not compared, or the action with only one of them.",
        "Somebody passes more on than they hold.",
    ),
    ("DoubleExecution", "Uses are not counted per proposal.", "One approval is executed twice."),
    (
        "DuplicateKey",
        "The last, or the first, of two equal names wins.",
        "Two readers see two different records.",
    ),
    (
        "EndedDelegation",
        "A link is looked at when it is granted, and not when it is used.",
        "Somebody acts under a delegation that was revoked.",
    ),
    ("EndedProposal", "What ended a proposal is not looked for.", "Something rejected is executed."),
    (
        "EnvelopeForm",
        "Members of the envelope are ignored where they do not belong.",
        "A record claims a place that nobody checks.",
    ),
    (
        "ExpiredApproval",
        "Windows are not compared with the times that count.",
        "An approval is used after it ended.",
    ),
    (
        "ForgedSignature",
        "The signature is not checked, or not over exactly the record.",
        "Anybody speaks for anybody.",
    ),
    ("Fork", "Roots are not compared with what records and checkpoints say.", "The log shows two histories."),
    (
        "IntegerLikeKeys",
        "Names that look like integers are sorted as numbers.",
        "The bytes that are signed are not RFC 8785.",
    ),
    (
        "InvalidValue",
        "Values are not held to their type and limits.",
        "Readers disagree on what a value means.",
    ),
    (
        "InventedTimer",
        "What the server says of time is believed, or believed too early.",
        "Whoever runs the server approves, or rejects, what people have not decided.",
    ),
    (
        "KeyLifecycle",
        "Enrolment, retirement, revocation and validity are not judged by log position.",
        "A key signs outside its life.",
    ),
    ("KeyReuse", "Key material is not unique.", "One person counts as two."),
    (
        "LinkForgery",
        "A decision that the server signs on somebody's behalf counts as if they had signed it.",
        "Whoever runs the server approves in the name of people who were never asked.",
    ),
    ("LogReplay", "A record is not bound to its log.", "An approval given in one log counts in another."),
    ("MissingMember", "An absent member is taken for a default.", "A limit that was left out is no limit."),
    ("NestingBomb", "Nesting is not limited.", "A reader's stack overflows."),
    ("NumberRange", "Numbers are rounded silently.", "Two amounts compare equal."),
    (
        "Outcome",
        "Outcomes and settlements are not tied to who executed, or can be changed.",
        "A failure becomes a success later.",
    ),
    (
        "OversizedRecord",
        "Size is not limited, or the log's own limit is ignored.",
        "An entry does not fit its tile, or exhausts a reader.",
    ),
    (
        "Overspending",
        "Costs are not added up over a chain, or not read from the action.",
        "Those who share a budget each spend all of it.",
    ),
    ("OwnershipTheft", "Who owns a run is not checked.", "Another agent speaks for the run."),
    (
        "PayloadTampering",
        "Disclosed content is not compared with its commitment.",
        "Somebody is shown other evidence than was recorded.",
    ),
    (
        "PolicyConfusion",
        "A policy is not the one in force, or is not understood and accepted all the same.",
        "A decision counts under rules that nobody set.",
    ),
    (
        "ProofForgery",
        "Proofs are not checked, or leftover hashes are accepted.",
        "A record that was never logged seems to be.",
    ),
    (
        "PolicyRules",
        "Rules of the policy are left out, or what can't be resolved counts for whoever asks.",
        "An action is executed that the policy denies, or with fewer approvals than it wants.",
    ),
    (
        "PreviewSkipped",
        "Whether a parent of the proposal is a preview of the same action that succeeded is not asked.",
        "What nobody has seen the effect of is approved and executed.",
    ),
    (
        "QuorumInflation",
        "Decisions are counted instead of distinct entitled principals.",
        "One person meets a quorum of two.",
    ),
    ("RevocationAbuse", "Anybody may revoke anything.", "A stranger locks out an approver."),
    ("RoleConfusion", "The role is not part of what is checked.", "An agent approves its own request."),
    (
        "SelfApproval",
        "Approvers are compared by key, or not at all, with requester and runtime.",
        "Who asks also allows.",
    ),
    (
        "SignatureMalleability",
        "Ed25519 is verified loosely, or statements are identified by a hash that covers the signature.",
        "One approval is logged twice, under two ids.",
    ),
    (
        "SmuggledRecord",
        "Records that nothing needs are accepted.",
        "A bundle carries claims about others past its reader.",
    ),
    (
        "SnapshotForgery",
        "Snapshots are not checked against position, time and state.",
        "A snapshot serves two trees, or log time runs back.",
    ),
    (
        "StaleCheckpoint",
        "The age of the last checkpoint is not compared with what the reader accepts.",
        "An old state passes for the current one.",
    ),
    (
        "SwappedAction",
        "The executed action is not compared with the approved one.",
        "One thing is approved and another is done.",
    ),
    (
        "TailTruncated",
        "A bundle that ends early is read as far as it goes.",
        "The rejection at the end is cut off.",
    ),
    ("TrailingBytes", "Bytes after the record are ignored.", "Two ids for what reads as one record."),
    ("Unicode", "Text that is not I-JSON is repaired or passed on.", "Two readers see different characters."),
    (
        "UnknownMember",
        "Members that are not understood are ignored.",
        "A condition that somebody signed is not applied.",
    ),
    (
        "UnknownScheme",
        "A key's prefix is ignored, or an unknown one tried as a known one.",
        "Key material is used under rules it was not made for.",
    ),
    (
        "UnknownVersion",
        "Version or type is not checked.",
        "A record is read under rules it was not written for.",
    ),
    (
        "UnsortedList",
        "Lists that are sets are accepted in any order, or with repeats.",
        "One meaning has several digests; a repeat counts twice.",
    ),
    (
        "WitnessQuorum",
        "Cosignatures are not counted against the reader's policy.",
        "A state that nobody else saw passes for witnessed.",
    ),
    ("WrongTrust", "Trust is taken from the bundle.", "Whoever writes the bundle decides what it proves."),
];
