// A client on the TypeScript SDK 1.x, of the server whose command or address it is given.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { args, command, obey } from "./commands.mjs";

const client = new Client({ name: "ts1", version: "1" });
const transport = command.startsWith("http:")
  ? new StreamableHTTPClientTransport(new URL(command))
  : new StdioClientTransport({ command, args, stderr: "inherit" });
let protocol;
const set = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  protocol = version;
  set?.(version);
};
await client.connect(transport);
await obey(client, protocol, (params, options) => client.callTool(params, undefined, options));
