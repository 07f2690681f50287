"""Checks every vector of test-vectors/ against this implementation of the specification.

    python3 check.py ../

Prints counts for each kind of vector and every difference; exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

from bundles import verify
from fold import Fold
from merkle import Growing, leaf_hash
import policy as language
from records import Record, action_digest, parse_record, policy_digest
from rules import RULES, RuleError
from strictjson import canonical
from trust import TrustError, parse_trust

SCHEMAS = Path(__file__).resolve().parent.parent.parent / "spec" / "schema"
KINDS = {"records": "record", "logs": "log", "bundles": "bundle", "policy": "policy"}


class Schemas:
    """The JSON Schemas of one folder, by name: spec/schema for records, test-vectors/schema for vectors."""

    def __init__(self, folder: Path) -> None:
        registry: Registry[Any] = Registry()
        self.validators: dict[str, Any] = {}
        for path in sorted(folder.glob("*.schema.json")):
            text = json.loads(path.read_text())
            text.setdefault("$id", "file:///" + path.name)
            registry = registry.with_resource(text["$id"], Resource.from_contents(text))
            self.validators[path.name.removesuffix(".schema.json")] = text
        for name, text in self.validators.items():
            self.validators[name] = jsonschema.Draft202012Validator(text, registry=registry)

    def accepts(self, name: str, value: Any) -> bool:
        return bool(self.validators[name].is_valid(value))


def differences(got: dict[str, Any], want: dict[str, Any]) -> list[str]:
    names = sorted(got.keys() | want.keys())
    return [f"{one}: here {got.get(one)!r}, vector {want.get(one)!r}" for one in names if got.get(one) != want.get(one)]


def describe(record: Record) -> dict[str, Any]:
    """What a records/ vector says about a valid record."""
    result: dict[str, Any] = {
        "valid": True,
        "id": record.id,
        "statement": record.statement,
        "type": record.type,
        "signature_valid": True,
    }
    # In a decision, `action` is a digest already; the vector has that of the action in `changes`.
    action = record.body.get("changes", record.body).get("action")
    if isinstance(action, dict):
        result["action_digest"] = action_digest(action)
    if record.type == "policy":
        result["policy_digest"] = record.body.get("digest") or policy_digest(record.body["document"])
    return result


def check_record(vector: dict[str, Any], schemas: Schemas) -> list[str]:
    data = base64.b64decode(vector["record"], validate=True)
    want = vector["expect"]
    try:
        record = parse_record(data)
    except RuleError as error:
        got = {"valid": False, "rule": error.rule, "code": RULES[error.rule][0]}
        return differences(got, want)
    problems = differences(describe(record), want)
    if canonical(record.value) != data:
        problems.append("the JCS library writes other bytes")
    if not schemas.accepts(record.type, record.value):
        problems.append("spec/schema refuses the record")
    return problems


def check_log(vector: dict[str, Any]) -> list[str]:
    entries = [base64.b64decode(one, validate=True) for one in vector["entries"]]
    tree = Growing()
    documents = {one["policy"]: one["document"] for one in vector.get("documents", [])}
    fold = Fold(documents=documents, root_at=lambda size: tree.roots[size])
    for index, data in enumerate(entries):
        fold.entry(index, data)
        tree.append(leaf_hash(data))
    got = {(one.index, one.rule, one.code) for one in fold.findings}
    want = {(one["index"], one["rule"], one["code"]) for one in vector["expect"]}
    problems = [f"only here: {one}" for one in sorted(got - want)]
    return problems + [f"only in the vector: {one}" for one in sorted(want - got)]


def check_bundle(vector: dict[str, Any], folder: Path) -> list[str]:
    data = (folder / vector["bundle"]).read_bytes()
    want = vector["expect"]
    try:
        trust = parse_trust((folder / vector["trust"]).read_text())
    except TrustError as error:
        return [f"trust file: {error}"]
    verdict = verify(data, trust, vector["now"])
    problems = []
    if verdict.conclusion != want["conclusion"]:
        problems.append(f"conclusion: here {verdict.conclusion}, vector {want['conclusion']}")
    problems += differences(verdict.answers, want["answers"])
    here = Counter((one.rule, one.code, one.index) for one in verdict.findings)
    there = Counter((one["rule"], one["code"], one.get("index")) for one in want["findings"])
    problems += [f"only here: {one}" for one in (here - there).elements()]
    return problems + [f"only in the vector: {one}" for one in (there - here).elements()]


def check_policy(vector: dict[str, Any], schemas: Schemas) -> list[str]:
    document, want = vector["policy"], vector["expect"]
    if not language.readable(document):
        return differences({"readable": False}, want)
    asked = vector["request"]
    request = language.Request(
        asked["action"],
        asked["risk"],
        asked["tags"],
        asked["proposer"],
        frozenset(asked["groups"]),
        frozenset(asked.get("links", [])),
    )
    said = language.assess(document, request)
    got: dict[str, Any] = {
        "readable": True,
        "answer": "denied" if said.says.startswith("R-") else said.says,
        "matches": language.answers(document, request),
        "applies": [rule["name"] for rule in said.rules],
    }
    if said.evidence:
        got["evidence"] = said.evidence
    if said.preview and asked["action"]["mode"] == "apply":
        got["preview"] = True
    if said.retries:
        got["retries"] = said.retries
    approvals = []
    for one in vector["approvals"]:
        sets = {"groups": frozenset(one["groups"]), "escalated": frozenset(map(tuple, one.get("escalated", [])))}
        approvals.append(language.Approval(**{**one, **sets}))
    try:
        got["uses"] = said.judge(set(vector["involved"]), approvals)
    except RuleError as error:
        got["rule"] = error.rule
    problems = differences(got, want)
    if not schemas.accepts("counterfoil-policy-1", document):
        problems.append("spec/schema refuses the document")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder test-vectors")
    parser.add_argument("--schemas", type=Path, default=SCHEMAS)
    arguments = parser.parse_args()
    schemas = Schemas(arguments.schemas)
    forms = Schemas(arguments.folder / "schema")
    flags = json.loads((arguments.folder / "flags.json").read_text())
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for kind in KINDS:
        for path in sorted((arguments.folder / kind).glob("*.json")):
            vector = json.loads(path.read_text())
            if kind == "records":
                problems = check_record(vector, schemas)
            elif kind == "logs":
                problems = check_log(vector)
            elif kind == "policy":
                problems = check_policy(vector, schemas)
            else:
                problems = check_bundle(vector, path.parent)
            if not forms.accepts(KINDS[kind], vector):
                problems.append("not of the form that schema/ wants")
            if not set(vector["flags"]) <= flags.keys():
                problems.append("flags")
            (failed if problems else passed)[kind] += 1
            for problem in problems:
                print(f"{kind}/{path.name}: {problem}")
    for kind in KINDS:
        print(f"{kind}: {passed[kind]} passed, {failed[kind]} failed")
    print(f"{passed.total()} passed, {failed.total()} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
