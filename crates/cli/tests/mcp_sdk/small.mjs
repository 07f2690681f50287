// A small server of the newest revision alone, whose tools leave files in the directory that it is given.
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { McpServer, acceptedContent, inputRequired } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

const root = process.argv[2];
const said = (text) => ({ content: [{ type: "text", text }] });
const named = z.object({ name: z.string() });

serveStdio(
  () => {
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
  },
  { legacy: "reject" },
);
