"""One WebRTC peer by aiortc, for AiortcTests: echoes what it receives on each data channel.

Argument: "offer" or "answer". Talks in lines of JSON on stdin and stdout: {"type": …, "sdp": …} both ways, then
{"event": …} out and {"command": …} in.
"""
import asyncio
import json
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main(role):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    pc = RTCPeerConnection()
    channels = {}

    def serve(channel):
        channels[channel.label] = channel

        @channel.on("message")
        def on_message(message):
            channel.send(message)

        @channel.on("close")
        def on_close():
            say({"event": "channel closed", "label": channel.label})

    @pc.on("datachannel")
    def on_datachannel(channel):
        serve(channel)
        say({"event": "channel", "label": channel.label})

    @pc.on("connectionstatechange")
    def on_state():
        say({"event": "state", "state": pc.connectionState})

    async def description():
        message = json.loads(await reader.readline())
        await pc.setRemoteDescription(RTCSessionDescription(message["sdp"], message["type"]))

    if role == "offer":
        channel = pc.createDataChannel("theirs")
        serve(channel)

        @channel.on("open")
        def on_open():
            say({"event": "open", "label": channel.label})

        await pc.setLocalDescription(await pc.createOffer())
        say({"type": pc.localDescription.type, "sdp": pc.localDescription.sdp})
        await description()
    else:
        await description()
        await pc.setLocalDescription(await pc.createAnswer())
        say({"type": pc.localDescription.type, "sdp": pc.localDescription.sdp})

    while True:
        line = await reader.readline()
        if not line:
            break
        command = json.loads(line)["command"]
        if command == "close channel":
            for channel in channels.values():
                channel.close()
        elif command == "close":
            break
    await pc.close()
    say({"event": "bye"})


asyncio.run(main(sys.argv[1]))
