"""A client on the Python SDK 2.x, of the server whose command or address it is given; it asks which revision the server speaks."""

import asyncio
import sys

from commands import obey
from mcp import Client, StdioServerParameters


async def main():
    first, *rest = sys.argv[1:]
    async with Client(first if first.startswith("http:") else StdioServerParameters(command=first, args=rest)) as client:
        await obey(client, client.protocol_version)


asyncio.run(main())
