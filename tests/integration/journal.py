#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A journal that keeps nothing but what it is sent in the native protocol (systemd's JOURNAL_NATIVE_PROTOCOL), one JSON object
a line on standard output. To be run inside a temporary host, whose /run is its own. What is to be logged to it is run by
`journal.py COMMAND...`, with standard error as the unit of a service has it."""

import array
import json
import os
import socket
import sys

SOCKET = "/run/systemd/journal/socket"
STREAM = "/run/systemd/journal/stdout"


def parse(data):
    """{field: value}, with a list for a field that is there more than once, as journalctl has it. FIELD=value and a newline; or FIELD, a newline, the length in 8 bytes, the value and a newline."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            data = rest
        else:
            length = int.from_bytes(rest[:8], "little")
            value, data = rest[8:8 + length], rest[8 + length + 1:]
        name, value = name.decode(), value.decode(errors="replace")
        if name in fields:
            value = [*(fields[name] if isinstance(fields[name], list) else [fields[name]]), value]
        fields[name] = value
    return fields


def receive(sock):
    """One entry; one that is too long for a datagram comes as a descriptor."""
    data, ancillary, _, _ = sock.recvmsg(1 << 20, socket.CMSG_LEN(4))
    for _, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:
            fd = array.array("i", content)[0]
            data = os.pread(fd, os.fstat(fd).st_size, 0)
            os.close(fd)
    return data


def run(argv):
    """By the name of what it is connected to programs know it. Nothing is read from it: a message would be lost."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(STREAM)
        os.dup2(sock.fileno(), 2)
    os.execv(argv[0], argv)


def main():
    os.makedirs(os.path.dirname(SOCKET), exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        sock.bind(SOCKET)
        stream.bind(STREAM)
        stream.listen()
        print("listening", flush=True)
        while True:
            json.dump(parse(receive(sock)), sys.stdout)
            print(flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1:])
    main()
