"""One end of a bare WebRTC data channel by aiortc, for Tests/Lab/comparison.

    aiortc_channel.py say SECONDS < FROM_THE_OTHER > TO_THE_OTHER
    aiortc_channel.py hear        < FROM_THE_OTHER > TO_THE_OTHER

The one that says sends 100 messages of 13 bytes, 50 ms apart, then for so many seconds as much as the channel takes.
The one that hears writes to standard error the median and the 99th percentile of the way of the small messages, in
milliseconds, and the rate of the large ones, in MB/s. Standard input and output carry the descriptions of the session.
"""
import asyncio
import json
import struct
import sys
import time

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

SMALL, COUNT = 13, 100
LARGE = 65_536
WINDOW = 4 << 20


async def say(channel, seconds):
    for _ in range(COUNT):
        channel.send(struct.pack("<Q5x", time.monotonic_ns()))
        await asyncio.sleep(0.05)
    # The small ones have arrived, and are answered.
    await asyncio.sleep(1)
    low = asyncio.Event()
    channel.bufferedAmountLowThreshold = WINDOW // 2
    channel.on("bufferedamountlow", low.set)
    message = bytes(LARGE)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        channel.send(message)
        if channel.bufferedAmount > WINDOW:
            low.clear()
            await low.wait()
    channel.send("end")
    while channel.bufferedAmount > 0:
        await asyncio.sleep(0.01)


class Listener:
    def __init__(self):
        self.delays, self.bytes, self.first, self.last = [], 0, None, None
        self.over = asyncio.Event()

    def hear(self, message):
        if message == "end":
            self.over.set()
        elif len(message) == SMALL:
            self.delays.append((time.monotonic_ns() - struct.unpack("<Q5x", message)[0]) / 1e6)
        else:
            self.last = time.monotonic()
            if self.first is None:
                self.first = self.last
            else:
                self.bytes += len(message)

    def report(self):
        delays = sorted(self.delays)
        rate = self.bytes / 1e6 / max(self.last - self.first, 1e-9)
        print(f"{delays[len(delays) // 2]:.1f} {delays[len(delays) * 99 // 100]:.1f} {rate:.1f}", file=sys.stderr)


async def main():
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

    def tell():
        description = connection.localDescription
        print(json.dumps({"type": description.type, "sdp": description.sdp}), flush=True)

    async def learn():
        message = json.loads(await reader.readline())
        await connection.setRemoteDescription(RTCSessionDescription(message["sdp"], message["type"]))

    if sys.argv[1] == "say":
        channel, opened = connection.createDataChannel("data"), asyncio.Event()
        channel.on("open", opened.set)
        await connection.setLocalDescription(await connection.createOffer())
        tell()
        await learn()
        await asyncio.wait_for(opened.wait(), 30)
        await say(channel, float(sys.argv[2]))
        # The other one says when it has all: then its end of this pipe is closed.
        await asyncio.wait_for(reader.read(), 120)
    else:
        listener = Listener()
        connection.on("datachannel", lambda channel: channel.on("message", listener.hear))
        await learn()
        await connection.setLocalDescription(await connection.createAnswer())
        tell()
        await asyncio.wait_for(listener.over.wait(), 180)
        listener.report()
    await connection.close()


asyncio.run(main())
