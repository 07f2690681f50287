"""A client on the Python SDK 1.x, of the server whose command it is given."""

import asyncio
import sys

from commands import obey
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:])
    async with stdio_client(server) as streams, ClientSession(*streams) as client:
        opened = await client.initialize()
        await obey(client, opened.protocolVersion)


asyncio.run(main())
