"""What the clients on both Python SDKs do: commands come as JSON lines on standard input, and what becomes of them goes as such to
standard output."""

import asyncio
import json
import sys


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def answer(id, asked):
    try:
        result = await asked
        say({"id": id, "result": result.model_dump(mode="json", by_alias=True, exclude_none=True)})
    except asyncio.CancelledError:
        say({"id": id, "error": "cancelled"})
    except Exception as error:
        say({"id": id, "error": str(error)})


async def obey(client, protocol):
    """Obeys until it is told to exit, or its input ends."""
    calls = {}
    say({"protocol": protocol})
    while line := await asyncio.to_thread(sys.stdin.readline):
        told = json.loads(line)
        id = told.get("id")

        async def progress(progress, total, message, id=id):
            say({"id": id, "progress": {"progress": progress, "message": message}})

        if told["do"] == "list":
            calls[id] = asyncio.create_task(answer(id, client.list_tools()))
        elif told["do"] == "call":
            asked = client.call_tool(told["tool"], told["arguments"], progress_callback=progress)
            calls[id] = asyncio.create_task(answer(id, asked))
        elif told["do"] == "cancel":
            calls[id].cancel()
        elif told["do"] == "exit":
            return
