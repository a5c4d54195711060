"""A client of DECNET's bus socket, written from the description of its wire alone.

    client.py SOCKET subscribe COUNT PATTERN...   prints each event as a line of JSON, ends after COUNT of them
    client.py SOCKET publish                      publishes each line of standard input: {"topic", "type", "payload"}
    client.py SOCKET echo COUNT PATTERN...        subscribes, then publishes standard input on the same connection

Prints "ready" on standard error once its subscriptions must have been read: a second connection has seen an event that it
published after the first had subscribed.
"""

import json
import socket
import struct
import sys
import time
import uuid


def frame(verb, argument="", body=None):
    header = f"{verb} {argument}" if argument else verb
    data = b"" if body is None else json.dumps(body).encode()
    return header.encode("ascii") + b"\n" + struct.pack(">I", len(data)) + data


class Bus:
    def __init__(self, path, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")
        self.socket.sendall(frame("HELLO", name))

    def subscribe(self, *patterns):
        for pattern in patterns:
            self.socket.sendall(frame("SUB", pattern))

    def publish(self, topic, kind, payload):
        envelope = {"v": 1, "id": uuid.uuid4().hex, "topic": topic, "type": kind, "ts": time.time(), "payload": payload}
        self.socket.sendall(frame("PUB", topic, envelope))

    def read(self):
        line = self.stream.readline(4097)
        if not line:
            return None
        verb, _, argument = line.rstrip(b"\r\n").decode("ascii").partition(" ")
        (length,) = struct.unpack(">I", self.stream.read(4))
        return verb, argument, json.loads(self.stream.read(length)) if length else None

    def close(self):
        self.socket.sendall(frame("BYE"))
        self.socket.close()


def wait_until_heard(bus, path):
    """Neither SUB nor PUB is acknowledged, but both sides keep their order: asks until the answer comes."""
    probe = f"probe.{uuid.uuid4().hex}"
    bus.subscribe(probe)
    other = Bus(path, "probe")
    bus.socket.settimeout(0.1)
    held = []
    while True:
        other.publish(probe, "", {})
        try:
            verb, topic, _ = message = bus.read()
        except TimeoutError:
            bus.stream = bus.socket.makefile("rb")
            continue
        if topic == probe:
            break
        held.append(message)
    bus.socket.settimeout(None)
    bus.socket.sendall(frame("UNSUB", probe))
    other.close()
    return held


def listen(bus, count, messages):
    seen = 0
    while seen < count:
        message = messages.pop(0) if messages else bus.read()
        if message is None or message[0] == "BYE":
            sys.exit("the bus is gone")
        verb, topic, event = message
        if topic.startswith("probe."):
            continue
        seen += 1
        print(json.dumps({"verb": verb, "topic": topic, "event": event}), flush=True)


def publish_input(bus):
    for line in sys.stdin:
        event = json.loads(line)
        bus.publish(event["topic"], event["type"], event["payload"])


def main():
    path, mode, *rest = sys.argv[1:]
    bus = Bus(path, f"python-{mode}")
    if mode == "publish":
        publish_input(bus)
    else:
        count, *patterns = rest
        bus.subscribe(*patterns)
        held = wait_until_heard(bus, path)
        print("ready", file=sys.stderr, flush=True)
        if mode == "echo":
            publish_input(bus)
        listen(bus, int(count), held)
    bus.close()


main()
