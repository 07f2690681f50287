// A small server of the newest revision alone, whose tools leave files in the directory that it is given: on its standard streams, or over
// HTTP on the port that it is given too.
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { McpServer, acceptedContent, createMcpHandler, inputRequired } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

const root = process.argv[2];
const said = (text) => ({ content: [{ type: "text", text }] });
const named = z.object({ name: z.string() });

const make = () => {
  const server = new McpServer({ name: "small", version: "1" });
  const tool = (name, inputSchema, run) => server.registerTool(name, { description: name, inputSchema }, run);
  tool("look", z.object({}), async () => said(readdirSync(root).join(" ")));
  tool("write", named.extend({ text: z.string() }), async ({ name, text }) => {
    appendFileSync(join(root, name), text);
    return said("written");
  });
  tool("change", z.object({ text: z.string() }), async ({ text }) => {
    writeFileSync(join(root, "hello"), text);
    return said("changed");
  });
  tool("make", named, async ({ name }) => {
    mkdirSync(join(root, name));
    return said("made");
  });
  tool("erase", named, async ({ name }) => {
    rmSync(join(root, name));
    return said("erased");
  });
  tool("confirm", named, async ({ name }, context) => {
    const sure = z.object({ yes: z.boolean() });
    const answer = acceptedContent(context.mcpReq.inputResponses, "sure", sure);
    if (answer?.yes !== true) {
      return inputRequired({ inputRequests: { sure: inputRequired.elicit({ message: "Sure?", requestedSchema: sure }) } });
    }
    appendFileSync(join(root, name), name);
    return said("confirmed");
  });
  tool("slow", named.extend({ seconds: z.number() }), async ({ name, seconds }, context) => {
    appendFileSync(join(root, name), "begun ");
    const progressToken = context.mcpReq._meta?.progressToken;
    await context.mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress: 1 } });
    await sleep(seconds * 1000, undefined, { signal: context.mcpReq.signal });
    appendFileSync(join(root, name), "ended");
    return said("ended");
  });
  return server;
};

/** Answers requests of the web as `answer` does. */
const listen = (port, answer) =>
  createServer(async (incoming, outgoing) => {
    const gone = new AbortController();
    outgoing.on("close", () => gone.abort());
    const hasBody = incoming.method === "POST";
    const body = hasBody ? { body: Readable.toWeb(incoming), duplex: "half" } : {};
    const { method, headers, url } = incoming;
    const answered = await answer(new Request(`http://127.0.0.1${url}`, { method, headers, signal: gone.signal, ...body }));
    outgoing.writeHead(answered.status, Object.fromEntries(answered.headers));
    for await (const chunk of answered.body ?? []) outgoing.write(chunk);
    outgoing.end();
  }).listen(port, "127.0.0.1");

const port = process.argv[3];
if (port === undefined) {
  serveStdio(make, { legacy: "reject" });
} else {
  const handler = createMcpHandler(make, { legacy: "reject" });
  listen(Number(port), (request) => handler.fetch(request));
}
