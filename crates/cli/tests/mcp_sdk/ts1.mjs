// A client on the TypeScript SDK 1.x, of the server whose command it is given.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { args, command, obey } from "./commands.mjs";

const client = new Client({ name: "ts1", version: "1" });
const transport = new StdioClientTransport({ command, args, stderr: "inherit" });
let protocol;
transport.setProtocolVersion = (version) => (protocol = version);
await client.connect(transport);
await obey(client, protocol, (params, options) => client.callTool(params, undefined, options));
