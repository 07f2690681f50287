"""The registry of spec/rules.md, as data: rule -> (code, dimension)."""

from __future__ import annotations

from dataclasses import dataclass

RULES: dict[str, tuple[str, str]] = {
    "R-JSON-01": ("json-utf8", "integrity"),
    "R-JSON-02": ("json-syntax", "integrity"),
    "R-JSON-03": ("json-not-canonical", "integrity"),
    "R-JSON-04": ("json-duplicate-key", "integrity"),
    "R-JSON-05": ("json-surrogate", "integrity"),
    "R-JSON-06": ("json-number-range", "integrity"),
    "R-JSON-07": ("json-depth", "integrity"),
    "R-JSON-08": ("json-trailing", "integrity"),
    "R-REC-01": ("record-too-large", "integrity"),
    "R-REC-02": ("version-unknown", "integrity"),
    "R-REC-03": ("type-unknown", "integrity"),
    "R-REC-04": ("field-unknown", "integrity"),
    "R-REC-05": ("field-missing", "integrity"),
    "R-REC-06": ("field-invalid", "integrity"),
    "R-REC-07": ("envelope-form", "integrity"),
    "R-REC-08": ("key-malformed", "integrity"),
    "R-REC-09": ("parents-order", "integrity"),
    "R-REC-10": ("list-order", "integrity"),
    "R-ACT-01": ("committed-path", "integrity"),
    "R-ACT-02": ("free-path", "integrity"),
    "R-DEC-01": ("decision-terms", "integrity"),
    "R-DEC-03": ("decision-voice", "integrity"),
    "R-ROLE-01": ("role-not-allowed", "authority"),
    "R-SIG-01": ("signature-invalid", "integrity"),
    "R-SIG-02": ("scheme-unsupported", "integrity"),
    "R-LOG-01": ("log-mismatch", "integrity"),
    "R-LOG-02": ("genesis-misplaced", "integrity"),
    "R-LOG-03": ("statement-repeated", "integrity"),
    "R-LOG-04": ("log-limit", "integrity"),
    "R-LOG-05": ("not-an-entry", "integrity"),
    "R-CHAIN-01": ("parent-unknown", "integrity"),
    "R-CHAIN-02": ("parent-foreign", "integrity"),
    "R-CHAIN-03": ("run-unknown", "integrity"),
    "R-CHAIN-04": ("reference-unknown", "integrity"),
    "R-CHAIN-05": ("prev-mismatch", "integrity"),
    "R-BASIS-01": ("basis-range", "integrity"),
    "R-BASIS-02": ("basis-fork", "integrity"),
    "R-SNAP-01": ("snapshot-index", "integrity"),
    "R-SNAP-02": ("snapshot-time", "integrity"),
    "R-SNAP-03": ("snapshot-map", "integrity"),
    "R-KEY-01": ("key-unknown", "authority"),
    "R-KEY-02": ("key-role", "authority"),
    "R-KEY-03": ("key-principal", "authority"),
    "R-KEY-04": ("key-retired", "authority"),
    "R-KEY-05": ("key-revoked", "authority"),
    "R-KEY-06": ("key-validity", "authority"),
    "R-KEY-07": ("key-reused", "authority"),
    "R-KEY-08": ("key-change", "authority"),
    "R-KEY-09": ("key-distrusted", "authority"),
    "R-AUTH-01": ("endorsement-target", "authority"),
    "R-AUTH-02": ("authority-not-pinned", "authority"),
    "R-AUTH-03": ("threshold-unreachable", "authority"),
    "R-REV-01": ("revocation-target", "authority"),
    "R-REV-02": ("revocation-signer", "authority"),
    "R-POL-01": ("policy-unreadable", "authority"),
    "R-DEL-01": ("delegation-unreadable", "authority"),
    "R-DEL-02": ("delegation-signer", "authority"),
    "R-DEL-03": ("delegation-widens", "authority"),
    "R-DEL-04": ("delegation-holder", "authority"),
    "R-DEL-05": ("delegation-scope", "authority"),
    "R-DEL-06": ("delegation-ended", "authority"),
    "R-DEL-07": ("delegation-spent", "authority"),
    "R-OWN-01": ("not-owner", "authority"),
    "R-CAN-01": ("cancel-signer", "authority"),
    "R-HAND-01": ("handoff-recipient", "authority"),
    "R-PROP-01": ("supersede-target", "conformity"),
    "R-DEC-02": ("decision-action", "conformity"),
    "R-LINK-01": ("link-approver", "authority"),
    "R-TIME-01": ("timer-unknown", "authority"),
    "R-TIME-02": ("timer-early", "authority"),
    "R-TIME-03": ("timer-out-of-turn", "conformity"),
    "R-EXEC-01": ("action-differs", "conformity"),
    "R-EXEC-02": ("use-consumed", "conformity"),
    "R-EXEC-03": ("use-exceeded", "conformity"),
    "R-EXEC-04": ("proposal-ended", "conformity"),
    "R-EXEC-05": ("decision-not-approval", "authority"),
    "R-EXEC-06": ("quorum-not-met", "authority"),
    "R-EXEC-07": ("segregation", "authority"),
    "R-EXEC-08": ("window-closed", "conformity"),
    "R-EXEC-09": ("policy-not-in-force", "authority"),
    "R-EXEC-10": ("audience-mismatch", "authority"),
    "R-EXEC-11": ("approval-revoked", "authority"),
    "R-EXEC-12": ("terms-exceed-policy", "authority"),
    "R-EXEC-13": ("break-glass-refused", "authority"),
    "R-EXEC-14": ("retry-refused", "conformity"),
    "R-EXEC-15": ("policy-denied", "authority"),
    "R-EXEC-16": ("free-path-refused", "authority"),
    "R-EXEC-17": ("preview-missing", "authority"),
    "R-OUT-01": ("outcome-signer", "authority"),
    "R-OUT-02": ("outcome-settled", "conformity"),
    "R-SET-01": ("settlement-open", "conformity"),
    "R-BUN-01": ("bundle-header", "integrity"),
    "R-BUN-02": ("bundle-line", "integrity"),
    "R-BUN-03": ("bundle-count", "integrity"),
    "R-BUN-04": ("bundle-limit", "integrity"),
    "R-BUN-05": ("payload-unused", "integrity"),
    "R-BUN-06": ("payload-mismatch", "integrity"),
    "R-BUN-07": ("record-unused", "integrity"),
    "R-TRUST-01": ("genesis-not-pinned", "inclusion"),
    "R-CP-01": ("checkpoint-signature", "inclusion"),
    "R-CP-02": ("checkpoint-origin", "inclusion"),
    "R-CP-03": ("checkpoint-form", "inclusion"),
    "R-CP-04": ("checkpoint-snapshot", "inclusion"),
    "R-INC-01": ("inclusion-mismatch", "inclusion"),
    "R-CONS-01": ("consistency-mismatch", "inclusion"),
    "R-WIT-01": ("witness-quorum", "witnessed"),
    "R-FRESH-01": ("checkpoint-stale", "freshness"),
}


class RuleError(Exception):
    """A rule of spec/rules.md does not hold."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule} {RULES[rule][0]}: {detail}")
        self.rule = rule
        self.detail = detail


class NotShown(RuleError):
    """What would show that a rule of spec/rules.md holds is not there: it is neither held nor broken."""


@dataclass(frozen=True, order=True)
class Finding:
    """A rule that is broken or not shown to hold, and the entry concerned, if it is one entry."""

    index: int | None
    rule: str
    is_broken: bool = True

    @property
    def code(self) -> str:
        return RULES[self.rule][0]

    @property
    def dimension(self) -> str:
        return RULES[self.rule][1]
