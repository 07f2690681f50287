// A client on the TypeScript SDK 2.x, of the server whose command or address it is given; it asks which revision the server speaks.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { args, command, obey } from "./commands.mjs";

const capabilities = { elicitation: { form: {} } };
const client = new Client({ name: "ts2", version: "1" }, { capabilities, versionNegotiation: { mode: "auto" } });
client.setRequestHandler("elicitation/create", async () => ({ action: "accept", content: { yes: true } }));
const transport = command.startsWith("http:")
  ? new StreamableHTTPClientTransport(new URL(command))
  : new StdioClientTransport({ command, args, stderr: "inherit" });
await client.connect(transport);
await obey(client, client.getNegotiatedProtocolVersion(), (params, options) => client.callTool(params, options));
