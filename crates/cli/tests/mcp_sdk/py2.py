"""A client on the Python SDK 2.x, of the server whose command it is given; it asks which revision the server speaks."""

import asyncio
import sys

from commands import obey
from mcp import Client, StdioServerParameters


async def main():
    async with Client(StdioServerParameters(command=sys.argv[1], args=sys.argv[2:])) as client:
        await obey(client, client.protocol_version)


asyncio.run(main())
