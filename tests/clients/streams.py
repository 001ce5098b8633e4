"""A streaming client on Python's websockets, which know nothing of Kubernetes: what is said of channels stands here.

    streams.py command URL PROTOCOL [--stdin TEXT] [--end] [--size WxH]...
    streams.py ports URL PROTOCOL PORTS TEXT

command says what came as one line of JSON: {"protocol", "stdout", "stderr", "error", "close"}; --end is version 5's end of the input.
ports sends TEXT to each port in its turn, by its channel, and reads until the server closes: {"ports": [[port, data, error], …], "close"}.

tests/tests/websockets.rs runs it.
"""
import argparse
import asyncio
import base64
import json
import struct

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

PATIENCE = 20


class Channels:
    """Messages of one connection: a channel and bytes."""

    def __init__(self, socket, protocol):
        self.socket = socket
        self.text = "base64" in protocol

    async def send(self, channel, data):
        if self.text:
            await self.socket.send(chr(ord("0") + channel) + base64.b64encode(data).decode())
        else:
            await self.socket.send(bytes([channel]) + data)

    async def receive(self):
        message = await asyncio.wait_for(self.socket.recv(), PATIENCE)
        if isinstance(message, str) != self.text:
            raise SystemExit(f"a message of the wrong kind: {message!r}")
        if self.text:
            return ord(message[0]) - ord("0"), base64.b64decode(message[1:], validate=True)
        return message[0], message[1:]

    async def rest(self):
        """All that comes until the server closes, by channel, and the close code."""
        came = {}
        try:
            while True:
                channel, data = await self.receive()
                came[channel] = came.get(channel, b"") + data
        except ConnectionClosed as closed:
            return came, closed.rcvd.code if closed.rcvd else None


def opened(url, protocol):
    protocols = [protocol] if protocol else None
    return connect(url.replace("http", "ws", 1), subprotocols=protocols, max_size=None, compression="deflate")


async def command(options):
    async with opened(options.url, options.protocol) as socket:
        channels = Channels(socket, options.protocol)
        # The ping has to come back before anything else is asked.
        await asyncio.wait_for(await socket.ping(), PATIENCE)
        for size in options.size:
            width, height = size.split("x")
            await channels.send(4, json.dumps({"Width": int(width), "Height": int(height)}).encode())
        if options.stdin:
            await channels.send(0, options.stdin.encode())
        if options.end:
            await socket.send(bytes([255, 0]))
        came, close = await channels.rest()
        names = {1: "stdout", 2: "stderr", 3: "error"}
        if not set(came) <= set(names):
            raise SystemExit(f"channels that are not there: {sorted(came)}")
        seen = {name: came.get(channel, b"").decode() for channel, name in names.items()}
        print(json.dumps(seen | {"close": close, "protocol": socket.subprotocol}))


async def ports(options):
    asked = [int(port) for port in options.ports.split(",")]
    async with opened(options.url, options.protocol) as socket:
        channels = Channels(socket, options.protocol)
        for at in range(len(asked)):
            await channels.send(2 * at, options.text.encode())
        came, close = await channels.rest()
        seen = []
        for at in range(len(asked)):
            data, error = came[2 * at], came[2 * at + 1]
            first = {struct.unpack("<H", data[:2])[0], struct.unpack("<H", error[:2])[0]}
            if first != {asked[at]}:
                raise SystemExit(f"port {asked[at]}: its channels begin with {first}")
            seen.append([asked[at], data[2:].decode(), error[2:].decode()])
        print(json.dumps({"ports": seen, "close": close}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    kind = kinds.add_parser("command")
    kind.set_defaults(run=command)
    kind.add_argument("url")
    kind.add_argument("protocol")
    kind.add_argument("--stdin", default="")
    kind.add_argument("--end", action="store_true")
    kind.add_argument("--size", action="append", default=[])
    kind = kinds.add_parser("ports")
    kind.set_defaults(run=ports)
    for name in ("url", "protocol", "ports", "text"):
        kind.add_argument(name)
    options = parser.parse_args()
    asyncio.run(options.run(options))


if __name__ == "__main__":
    main()
