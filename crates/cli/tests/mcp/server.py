"""A small MCP server for tests: tools that leave traces in the directory where it runs. Every line it gets goes to `heard`."""

import json
import os
import sys
import time

VERSION = "io.modelcontextprotocol/protocolVersion"


def tools():
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    # A definition that changes when somebody asks for it.
    description = "Appends. " + (open("description").read() if os.path.exists("description") else "")
    named = ["append", "read", "drop", "fail", "slow", "crash", "refuse"]
    return [{"name": name, "description": description, "inputSchema": schema} for name in named]


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
    sys.stdout.flush()


def done(text, **more):
    return {"content": [{"type": "text", "text": text}]} | more


def call(id, name, arguments, meta):
    if name == "refuse":
        return say({"id": id, "error": {"code": -32602, "message": "not so"}})
    with open(name, "a") as file:
        file.write(arguments.get("text", "") + "\n")
    if name == "crash":
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
    more["structuredContent"] = {"big": 9007199254740993}
    say({"id": id, "result": done("done", **more)})


with open("environment", "w") as file:
    file.write("\n".join(sorted(name for name in os.environ if name.startswith("COUNTERFOIL"))))

for line in sys.stdin:
    with open("heard", "a") as heard:
        heard.write(line)
    message = json.loads(line)
    method, id, params = message.get("method"), message.get("id"), message.get("params", {})
    if method == "initialize":
        capabilities = {"tools": {"listChanged": True}, "tasks": {}}
        info = {"name": "traces", "version": "1"}
        say({"id": id, "result": {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}})
    elif method == "tools/list":
        more = {"resultType": "complete", "ttlMs": 60000, "cacheScope": "public"} if VERSION in params.get("_meta", {}) else {}
        say({"id": id, "result": {"tools": tools()} | more})
    elif method == "tools/call":
        call(id, params["name"], params["arguments"], params.get("_meta", {}))
    elif method == "notifications/change":
        say({"method": "notifications/tools/list_changed"})
    elif id is not None:
        say({"id": id, "error": {"code": -32601, "message": "no such method"}})
