#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An emulator for libvirt: QEMU, with somebody in the guest who plays its agent.

Nothing runs in the guests of these tests, so that nobody would open the agent's channel, and libvirt would not connect to
it. This program is started in QEMU's place, and becomes QEMU. Before that it leaves a child behind, which holds what
libvirt made for QEMU: the socket of the monitor, behind which it passes everything on and tells libvirt once that the
channel was opened; and the socket of the channel, on which it answers.

How it answers is in the file "agent" beside it, read anew for each question: a JSON object of the command and its answer,
any text; null is silence; what is not in it is an error, as QEMU's agent gives it.
"""

import json
import os
import pathlib
import re
import select
import socket
import sys

HERE = pathlib.Path(__file__).resolve().parent
QEMU = "/usr/bin/qemu-system-x86_64"


def take_socket(arguments, device):
    """The listening socket that is passed for a character device; in its place goes a new one, which is returned too."""
    for i, argument in enumerate(arguments):
        match = re.search(rf"^socket,id={device},fd=(\d+)", argument)
        if match:
            inner = socket.socket(socket.AF_UNIX)
            inner.bind(f"\0virtnest-{os.getpid()}-{device}")
            inner.listen(1)
            os.set_inheritable(inner.fileno(), True)
            arguments[i] = argument.replace(f"fd={match[1]}", f"fd={inner.fileno()}")
            return socket.socket(fileno=int(match[1])), inner
    return None, None


def connect_to(inner):
    client = socket.socket(socket.AF_UNIX)
    client.connect(inner.getsockname())
    return client


def answer(line):
    # A sentinel of libvirt's stands before what it sends after a timeout.
    request = json.loads(line.lstrip(b"\xff"))
    command = request.get("execute")
    if command in ("guest-sync", "guest-sync-delimited"):
        return json.dumps({"return": request["arguments"]["id"]}).encode()
    with open(HERE / "log", "a") as log:
        print(json.dumps(request), file=log)
    answers = json.loads((HERE / "agent").read_text())
    path = request.get("arguments", {}).get("path")
    key = f"{command} {path}" if path is not None else command
    if key not in answers:
        return json.dumps({"error": {"class": "GenericError", "desc": f"Failed to open file '{path}': no"}}).encode()
    return answers[key].encode() if answers[key] is not None else None


def play(monitor, inner_monitor, channel):
    """Until libvirt or QEMU ends."""
    outer, _ = monitor.accept()
    qemu = connect_to(inner_monitor)
    told = False
    agent, pending = None, b""
    while True:
        sources = [outer, qemu, channel] + ([agent] if agent else [])
        for source in select.select(sources, [], [])[0]:
            if source is channel:
                agent, pending = channel.accept()[0], b""
                continue
            data = source.recv(1 << 16)
            if source is agent:
                if not data:
                    agent = None
                    continue
                *lines, pending = (pending + data).split(b"\n")
                for line in filter(None, lines):
                    reply = answer(line)
                    if reply is not None:
                        agent.sendall(reply + b"\n")
                continue
            if not data:
                return
            (qemu if source is outer else outer).sendall(data)
            if source is qemu and not told and b'"RESUME"' in data:
                told = True
                outer.sendall(b'{"timestamp":{"seconds":1,"microseconds":1},"event":"VSERPORT_CHANGE",'
                              b'"data":{"open":true,"id":"channel0"}}\r\n')


def main():
    arguments = sys.argv[1:]
    channel, inner_channel = take_socket(arguments, "charchannel0")
    if channel is not None:
        monitor, inner_monitor = take_socket(arguments, "charmonitor")
        if os.fork() == 0:
            os.setsid()
            play(monitor, inner_monitor, channel)
            os._exit(0)
        monitor.detach()
        channel.detach()
    os.execv(QEMU, [QEMU, *arguments])


if __name__ == "__main__":
    main()
