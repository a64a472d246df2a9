#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs commands for a test that is outside of this machine: a JSON object a line comes in, one goes out for each.

    {"id": 1, "command": "virsh list", "timeout": 30}
    {"id": 1, "status": 0, "stdout": "...", "stderr": "", "timed_out": false}

or waits until a file, from an offset on, matches a regular expression; this is here since processes cost much in an emulated
machine:

    {"id": 2, "file": "/run/l1/web1.log", "offset": 0, "pattern": "up$", "timeout": 30}
    {"id": 2, "stdout": "...", "timed_out": false}

Each has a thread of its own, since one that hangs must not keep others from being run.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

lock = threading.Lock()


def answer(port, request):
    result = run(request) if "command" in request else wait(request)
    data = json.dumps({"id": request["id"], **result}).encode() + b"\n"
    with lock:
        # The port takes 32 KiB at a time.
        while data:
            data = data[port.write(data):]


def wait(request):
    path = pathlib.Path(request["file"])
    deadline = time.monotonic() + request["timeout"]
    size = None
    while True:
        if size != path.stat().st_size:
            size = path.stat().st_size
            text = path.read_bytes()[request["offset"]:].decode(errors="replace").replace("\r", "")
            if re.search(request["pattern"], text, re.MULTILINE):
                return {"stdout": text, "timed_out": False}
        if time.monotonic() > deadline:
            return {"stdout": text, "timed_out": True}
        time.sleep(0.1)


def run(request):
    process = subprocess.Popen(["/bin/sh", "-c", request["command"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    timed_out = False
    try:
        stdout, stderr = process.communicate(timeout=request["timeout"])
    except subprocess.TimeoutExpired:
        timed_out = True
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
    return {"status": process.returncode, "stdout": stdout.decode(errors="replace"),
            "stderr": stderr.decode(errors="replace"), "timed_out": timed_out}


def main():
    # By the kernel's own name for it: udev may be late.
    name, = (path.parent.name for path in pathlib.Path("/sys/class/virtio-ports").glob("*/name")
             if path.read_text(encoding="ascii").strip() == "agent")
    with open(f"/dev/{name}", "r+b", buffering=0) as port:
        port.write(b'{"id": 0}\n')
        rest = b""
        while True:
            # Without anybody at the other end this waits.
            data = os.read(port.fileno(), 65536)
            if not data:
                threading.Event().wait(0.2)
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                threading.Thread(target=answer, args=(port, json.loads(line)), daemon=True).start()


main()
