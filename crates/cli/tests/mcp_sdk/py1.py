"""A client on the Python SDK 1.x, of the server whose command or address it is given."""

import asyncio
import sys

from commands import obey
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


async def main():
    if sys.argv[1].startswith("http:"):
        connection = streamable_http_client(sys.argv[1])
    else:
        connection = stdio_client(StdioServerParameters(command=sys.argv[1], args=sys.argv[2:]))
    async with connection as streams, ClientSession(*streams[:2]) as client:
        opened = await client.initialize()
        await obey(client, opened.protocolVersion)


asyncio.run(main())
