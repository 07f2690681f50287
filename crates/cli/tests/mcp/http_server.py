"""A small MCP server over HTTP for tests: tools that leave traces in the directory where it runs, and answers as they should not be.
What it gets goes to `heard`, one JSON object a line; the port is its argument, 0 for any, and is said on standard output."""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "io.modelcontextprotocol/protocolVersion"
NAMED = ["append", "read", "drop", "fail", "slow", "crash", "silent", "garbage", "half", "large", "asks", "other"]
STATUS = ["status400", "status401", "status403", "status404", "status500", "status302"]
sessions = set()
lock = threading.Lock()


def tools():
    schema = {"type": "object", "properties": {"text": {"type": "string", "x-mcp-header": "Text"}}}
    description = "Appends. " + (open("description").read() if os.path.exists("description") else "")
    return [{"name": name, "description": description, "inputSchema": schema} for name in NAMED + STATUS]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def heard(self, body):
        headers = {name.lower(): value for name, value in self.headers.items()}
        with lock, open("heard", "a") as file:
            file.write(json.dumps({"http": self.command, "headers": headers, "body": body}) + "\n")

    def reply(self, status, body=None, **headers):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text)

    def stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, message):
        self.wfile.write(f"event: message\ndata: {json.dumps({'jsonrpc': '2.0'} | message)}\n\n".encode())
        self.wfile.flush()

    def do_GET(self):
        self.heard(None)
        if self.headers["mcp-session-id"] not in sessions:
            return self.reply(405)
        self.stream()
        try:
            self.event({"method": "notifications/message", "params": {"level": "info", "data": "by itself"}})
            while not os.path.exists("end-streams"):
                time.sleep(0.05)
                self.wfile.write(b": \n\n")
        except OSError:
            open("stream-closed", "a").write("x")

    def do_DELETE(self):
        self.heard(None)
        sessions.discard(self.headers["mcp-session-id"])
        self.reply(200)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.heard(message)
        method, id, params = message.get("method"), message.get("id"), message.get("params", {})
        is_new = VERSION in params.get("_meta", {})
        session = self.headers["mcp-session-id"]
        if os.path.exists("unauthorized") and not self.headers["authorization"]:
            return self.reply(401, WWW_Authenticate='Bearer resource_metadata="https://a.example/meta"')
        if method == "initialize":
            session = f"upstream-{len(sessions)}"
            sessions.add(session)
            info = {"name": "traces", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
            return self.reply(200, {"jsonrpc": "2.0", "id": id, "result": result}, Mcp_Session_Id=session)
        if not is_new and session not in sessions or os.path.exists("forgotten"):
            return self.reply(404)
        if id is None or method is None:
            return self.reply(202)
        if method == "tools/list":
            more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"} if is_new else {}
            return self.reply(200, {"jsonrpc": "2.0", "id": id, "result": {"tools": tools()} | more})
        if method == "subscriptions/listen":
            return self.subscription(id)
        if method == "tools/call":
            return self.call(id, params["name"], params["arguments"], params.get("_meta", {}))
        self.reply(404 if is_new else 200, {"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}})

    def subscription(self, id):
        self.stream()
        try:
            about = {"_meta": {"io.modelcontextprotocol/subscriptionId": id}, "notifications": {}}
            self.event({"method": "notifications/subscriptions/acknowledged", "params": about})
            while True:
                time.sleep(0.05)
                self.wfile.write(b": \n\n")
        except OSError:
            open("subscription-closed", "a").write("x")

    def call(self, id, name, arguments, meta):
        with lock, open(name, "a") as file:
            file.write(arguments.get("text", "") + "\n")
        done = {"content": [{"type": "text", "text": "done"}]}
        if VERSION in meta:
            done["resultType"] = "complete"
        if name == "fail":
            done["isError"] = True
        if name == "status400":
            return self.reply(400, {"jsonrpc": "2.0", "id": id, "result": done})
        if name.startswith("status"):
            return self.reply(int(name[6:]), {"why": "so"}, Location="/elsewhere")
        if name == "garbage":
            self.stream()
            return self.wfile.write(b"data: {\"jsonrpc\": \"2.0\", \n\n")
        if name == "other":
            return self.reply(200, {"jsonrpc": "2.0", "id": 99999, "result": done})
        if name == "silent":
            return self.stream()
        if name == "half":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"jsonrpc":"2.0",')
            self.close_connection = True
            return
        if name == "large":
            self.stream()
            self.wfile.write(b"data: " + b"x" * (64 << 20))
            return
        if name in ("slow", "crash", "asks"):
            self.stream()
            try:
                if name == "asks":
                    self.event({"id": "s1", "method": "roots/list"})
                for step in range(40):
                    self.event({"method": "notifications/progress", "params": {"progressToken": meta.get("progressToken"), "progress": step}})
                    if name == "crash":
                        self.wfile.write(b"data: {")
                        self.wfile.flush()
                        os._exit(3)
                    time.sleep(0.05)
                self.event({"id": id, "result": done})
            except OSError:
                open("call-closed", "a").write("x")
            return
        done["structuredContent"] = {"big": 9007199254740993}
        self.reply(200, {"jsonrpc": "2.0", "id": id, "result": done})


# Of connections that come at one moment no more than this wait; what comes beyond waits for seconds and may be given up.
ThreadingHTTPServer.request_queue_size = 128
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_port, flush=True)
server.serve_forever()
