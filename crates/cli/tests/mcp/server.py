"""A small MCP server for tests: tools that leave traces in the directory where it runs. Every line it gets goes to `heard`."""

import json
import os
import sys
import time

VERSION = "io.modelcontextprotocol/protocolVersion"
LISTS = {
    "resources/list": ("resources", {"uri": "file:///open/a", "name": "a"}),
    "resources/templates/list": ("resourceTemplates", {"uriTemplate": "file:///open/{name}", "name": "open"}),
    "prompts/list": ("prompts", {"name": "greet"}),
}


held = []


def tools():
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    # A definition that changes when somebody asks for it.
    description = "Appends. " + (open("description").read() if os.path.exists("description") else "")
    named = ["append", "read", "drop", "fail", "slow", "crash", "refuse", "confirm"]
    # One that says of itself that it changes nothing, whatever it leaves.
    named += ["peek"] if os.path.exists("peeking") else []
    named += [f"tool-{number}" for number in range(130)] if os.path.exists("many") else []
    # One that is answered only after the next call.
    named += ["later"] if os.path.exists("waiting") else []
    harmless = {"peek": {"annotations": {"readOnlyHint": True}}}
    return [{"name": name, "description": description, "inputSchema": schema} | harmless.get(name, {}) for name in named]


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
    sys.stdout.flush()


def done(text, **more):
    return {"content": [{"type": "text", "text": text}]} | more


def call(id, name, arguments, meta, params):
    if name == "confirm" and "inputResponses" not in params:
        # It did something already, and asks whether to go on.
        with open("begun", "a") as file:
            file.write(arguments.get("text", "") + "\n")
        asked = {"sure": {"method": "elicitation/create", "params": {"message": "Sure?", "requestedSchema": {"type": "object"}}}}
        result = {"resultType": "input_required", "inputRequests": asked, "requestState": "state " + arguments.get("text", "")}
        return say({"id": id, "result": result})
    if name == "refuse":
        return say({"id": id, "error": {"code": -32602, "message": "not so"}})
    with open(name, "a") as file:
        file.write(arguments.get("text", "") + "\n")
    if name == "fail" and "code" in arguments:
        return say({"id": id, "error": {"code": arguments["code"], "message": "broken"}})
    if name in ("crash", "peek"):
        os._exit(3)
    if name == "slow":
        token = meta.get("progressToken")
        for step in range(40):
            say({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
            time.sleep(0.05)
    more = {"isError": True} if name == "fail" else {}
    if VERSION in meta:
        more["resultType"] = "complete"
    # A number that not every reader can hold goes through as it is.
    more["structuredContent"] = {"big": 9007199254740993, "of": arguments.get("text")}
    answer = {"id": id, "result": done("done", **more)}
    if name == "later":
        return held.append(answer)
    for answer in [answer] + [held.pop() for _ in list(held)]:
        say(answer)


with open("environment", "w") as file:
    file.write("\n".join(sorted(name for name in os.environ if name.startswith("COUNTERFOIL"))))

for line in sys.stdin:
    with open("heard", "a") as heard:
        heard.write(line)
    message = json.loads(line)
    method, id, params = message.get("method"), message.get("id"), message.get("params", {})
    if method == "initialize":
        capabilities = {"tools": {}, "tasks": {}}
        info = {"name": "traces", "version": "1"}
        say({"id": id, "result": {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}})
    elif method == "tools/list":
        more = {"resultType": "complete", "ttlMs": 60000, "cacheScope": "public"} if VERSION in params.get("_meta", {}) else {}
        say({"id": id, "result": {"tools": tools()} | more})
    elif method == "tools/call":
        call(id, params["name"], params["arguments"], params.get("_meta", {}), params)
    elif method == "notifications/change":
        say({"method": "notifications/tools/list_changed"})
    elif method == "notifications/ask":
        # What the test has the server ask of its client.
        sys.stdout.write(params["raw"] + "\n") if "raw" in params else say(params)
        sys.stdout.flush()
    elif method in LISTS:
        member, entry = LISTS[method]
        say({"id": id, "result": {member: [entry], "nextCursor": "more"}})
    elif method in ("resources/read", "prompts/get", "completion/complete", "resources/subscribe", "subscriptions/listen"):
        if os.path.exists("inputs"):
            inputs = json.load(open("inputs"))
            say({"id": id, "result": {"resultType": "input_required", "requestState": "s", "inputRequests": inputs}})
        elif os.path.exists("address"):
            say({"id": id, "error": {"code": -32042, "message": "open", "data": {"elicitations": [{"url": "http://x"}]}}})
        else:
            say({"id": id, "result": {"contents": [{"uri": params.get("uri", ""), "text": "kept"}]}})
    elif id is not None and method is not None:
        say({"id": id, "error": {"code": -32601, "message": "no such method"}})
