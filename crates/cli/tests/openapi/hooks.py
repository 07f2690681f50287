"""What schemathesis has to be told of a log: what it holds, which bodies it takes, and how long to wait. Counts the answers.

COUNTERFOIL_URL is the server, COUNTERFOIL_KIND what it is (records, raw, mirror), COUNTERFOIL_LINKS the tokens of links that it
takes, COUNTERFOIL_ANSWERED the file for the counts.
"""

import atexit
import collections
import hashlib
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request

import schemathesis

URL = os.environ["COUNTERFOIL_URL"]
KIND = os.environ["COUNTERFOIL_KIND"]
LINKS = os.environ["COUNTERFOIL_LINKS"].split()
# A wait that is in bounds is cut to this; one that is not is sent as it is.
WAIT = 20

answered = collections.defaultdict(collections.Counter)


def get_bytes(path):
    """What is at a path, or nothing, as at a path that this server has not."""
    try:
        with urllib.request.urlopen(URL + path, timeout=10) as answer:
            return answer.read()
    except urllib.error.HTTPError:
        return b""


def get(path):
    return get_bytes(path).decode()


def listed(path, name):
    return json.loads(get(path) or "{}").get(name, [])


def form(token):
    """The form of a link's page, filled in."""
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', get("/link/" + token)))
    return {**fields, "verdict": "reject", "reason": "no", "uses": "1", "minutes": "5"}


def leaves(bundle):
    """The leaf hashes of the entries of a bundle."""
    found = []
    while bundle:
        end = 2 + int.from_bytes(bundle[:2], "big")
        found.append("sha256:" + hashlib.sha256(b"\0" + bundle[2:end]).hexdigest())
        bundle = bundle[end:]
    return found


def held():
    """What the log holds: for each path its parameters, and for each operation its bodies."""
    runs = [run["run"] for run in listed("/v1/runs", "runs")]
    records = {run: [record["id"] for record in listed("/v1/runs/" + run, "records")] for run in runs}
    ids = sorted(sum(records.values(), []))
    bundles = [get(f"/v1/runs/{run}/bundle").splitlines() for run in runs]
    payloads = [line for lines in bundles for line in lines if line.startswith('{"commitment"')]
    proposals = [approval["proposal"] for approval in listed("/v1/approvals", "approvals")]
    bodies = {id: get("/v1/records/" + id) for id in ids}
    size = int(get("/checkpoint").splitlines()[1])
    assert size < 256, "the last tile is partial"
    tiles = [f"0/000.p/{size}", f"entries/000.p/{size}", "0/000.p/1"]
    parameters = {
        "/v1/records/{id}": ids,
        "/v1/records/{id}/proof": ids,
        "/v1/leaves/{leaf}": leaves(get_bytes("/tile/" + tiles[1])),
        "/v1/payloads/{commitment}": [json.loads(line)["commitment"] for line in payloads],
        "/v1/runs/{run}": runs,
        "/v1/runs/{run}/bundle": runs,
        "/v1/receipts/{id}": sum(records.values(), []),
        "/v1/approvals/{proposal}": proposals,
        "/review/{proposal}": proposals,
        "/v1/delegations/{id}": [one["id"] for one in listed("/v1/delegations", "delegations")],
        "/v1/entries/{index}/tlog-proof": [str(index) for index in range(size)],
        "/v1/principals/{principal}": ["human", "agent"],
        "/link/{token}": LINKS,
        "/tile/{path}": tiles,
        "/v1/proofs/inclusion": list(range(size)),
        "/v1/proofs/consistency": list(range(size)),
    }
    of_run = lambda run: [bodies[id] for id in records[run]]
    submitted = {
        "submitRecord": [json.loads(body) for body in bodies.values()],
        "submitBatch": ["\n".join(of_run(run)) for run in runs],
        "authorize": ["\n".join(of_run(run)[:2]) + "\n" for run in runs],
        "decideByLink": [form(token) for token in LINKS],
    }
    return {path: found for path, found in parameters.items() if found}, submitted


def closed(schema):
    """What is not described is not answered: a schema that lists members has no others."""
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []:
        closed(part)
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and "required" in schema:
        schema.setdefault("additionalProperties", False)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    parameters, submitted = held()
    closed(raw_schema["components"]["schemas"])
    for path, item in raw_schema["paths"].items():
        for method in [method for method in item if KIND not in item[method]["x-counterfoil-servers"]]:
            del item[method]
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if (parameter["in"] == "path" or "/proofs/" in path) and path in parameters:
                    parameter["schema"] = {"anyOf": [{"enum": parameters[path]}, parameter["schema"]]}
                if parameter["name"] == "promise":
                    # Nobody witnesses these logs.
                    parameter["schema"]["enum"].remove("witnessed")
            for content in operation.get("requestBody", {}).get("content", {}).values():
                bodies = submitted.get(operation["operationId"])
                if bodies:
                    # As they were signed: whatever else is of this form is refused.
                    content["schema"] = {"enum": bodies}


def unescaped(request):
    """OpenAPI can't say that a parameter has slashes, so they are escaped: as the path of a tile none of them are."""
    request.url = request.url.replace("%2F", "/")
    return request


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.path == "/tile/{path}":
        kwargs["auth"] = unescaped
    query = case.query or {}
    wait = str(query.get("wait", ""))
    if wait.isdecimal() and WAIT < int(wait) <= 60_000:
        query["wait"] = WAIT


@schemathesis.hook
def after_call(context, case, response):
    answered[case.operation.definition.raw["operationId"]][str(response.status_code)] += 1


def canonical(value):
    if isinstance(value, bytes):
        return value
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode(errors="surrogatepass")


@schemathesis.serializer("application/json")
def record(context, value):
    return canonical(value)


@schemathesis.serializer("application/jsonl")
def lines(context, value):
    return value.encode(errors="surrogatepass") if isinstance(value, str) else canonical(value)


@atexit.register
def write_counts():
    with open(os.environ["COUNTERFOIL_ANSWERED"], "w") as file:
        json.dump(answered, file)
