"""What goes into a stream at one end and is measured at the other, for Tests/Lab/comparison. Both ends run on one
machine, so that they have one clock.

    stream.py small          writes 100 messages of 13 bytes, 50 ms apart, once the stream has had 3 seconds to open
    stream.py delays         reads them, and prints the median and the 99th percentile of their way, in milliseconds
    stream.py large MB       writes so many million bytes
    stream.py rate           reads to the end, and prints the rate between the first byte and the last, in MB/s
"""
import os
import struct
import sys
import time

SIZE, COUNT, EARLY = 13, 100, 5


def write(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]


def small():
    for _ in range(EARLY):
        write(bytes(SIZE))
    time.sleep(3)
    for _ in range(COUNT):
        write(struct.pack("<Q5x", time.monotonic_ns()))
        time.sleep(0.05)


def delays():
    found, data = [], b""
    while piece := os.read(0, 65_536):
        now = time.monotonic_ns()
        data += piece
        while len(data) >= SIZE:
            said, data = struct.unpack("<Q5x", data[:SIZE])[0], data[SIZE:]
            if said:
                found.append((now - said) / 1e6)
    if len(found) != COUNT or data:
        sys.exit(f"{len(found)} of {COUNT} messages arrived")
    found.sort()
    print(f"{found[COUNT // 2]:.1f} {found[COUNT * 99 // 100]:.1f}")


def large(megabytes):
    # Random, so that nothing on the way can make it smaller.
    block = os.urandom(1_000_000)
    for _ in range(megabytes):
        write(block)


def rate():
    first, last, count = None, 0, 0
    while piece := os.read(0, 1 << 20):
        last = time.monotonic()
        if first is None:
            first = last
        else:
            count += len(piece)
    print(f"{count / 1e6 / max(last - first, 1e-9):.1f}")


if sys.argv[1] == "large":
    large(int(sys.argv[2]))
else:
    {"small": small, "delays": delays, "rate": rate}[sys.argv[1]]()
