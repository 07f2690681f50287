// What the clients on both TypeScript SDKs do: commands come as JSON lines on standard input, and what becomes of them goes as such to
// standard output.
import { createInterface } from "node:readline";

const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");

export const [command, ...args] = process.argv.slice(2);

/** Obeys until it is told to exit, or its input ends. */
export async function obey(client, protocol, callTool) {
  const calls = new Map();
  const answer = async (id, asked) => {
    try {
      say({ id, result: await asked });
    } catch (error) {
      say({ id, error: String(error.message) });
    }
  };
  say({ protocol });
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: what, id, tool, arguments: given } = JSON.parse(line);
    if (what === "list") answer(id, client.listTools());
    if (what === "cancel") calls.get(id).abort();
    if (what === "exit") break;
    if (what === "call") {
      const abort = new AbortController();
      calls.set(id, abort);
      const onprogress = (progress) => say({ id, progress });
      answer(id, callTool({ name: tool, arguments: given }, { signal: abort.signal, onprogress }));
    }
  }
  await client.close();
  process.exit(0);
}
