# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the functions of a test file that carry @test, in order, and reports in TAP.

    @test("a tagged domain is rewritten")
    def _(host):
        host.define("web1")
        ...

    if __name__ == "__main__":
        tap.main()

Each test gets a temporary host of its own with virtnestd running on it; the decorator's other arguments go to
TemporaryHost, and daemon=False leaves starting it to the test. A test fails by raising and is skipped by raising Skip.

    test-file.py TEXT...    only the tests whose description contains one of the texts
    test-file.py --list     their descriptions
"""

import contextlib
import os
import signal
import sys
import time
import traceback

import harness

tests = []


class Skip(Exception):
    """The test cannot run here; the message says why."""


class TimedOut(BaseException):
    """Not an Exception: what retries on failure shall not swallow it."""


class Test:
    def __init__(self, description, function, timeout, daemon, host_arguments):
        self.description = description
        self.function = function
        self.timeout = timeout
        self.daemon = daemon
        self.host_arguments = host_arguments

    def run(self):
        with time_limit(self.timeout), harness.TemporaryHost(**self.host_arguments) as host:
            if self.daemon:
                host.start_daemon()
            self.function(host)


def test(description, *, timeout=60, daemon=True, **host_arguments):
    def register(function):
        tests.append(Test(description, function, timeout, daemon, host_arguments))
        return function
    return register


def soaking(usual, long):
    """@usual, or @long with `make soak`."""
    return long if os.environ.get("VIRTNEST_SOAK") else usual


# Checks that say what they saw.

def equal(is_now, expected, what="value"):
    if is_now != expected:
        raise AssertionError(f"{what} is {is_now!r}, not {expected!r}")


def contains(text, part, what="text"):
    if part not in text:
        raise AssertionError(f"{what} has no {part!r}: {text!r}")


def lacks(text, part, what="text"):
    if part in text:
        raise AssertionError(f"{what} has {part!r}: {text!r}")


def fails(function, part=""):
    """function() must fail as a command, with part in what it prints. Returns that."""
    try:
        function()
    except harness.CommandFailed as error:
        contains(str(error), part, "the error")
        return str(error)
    raise AssertionError("that should have failed")


@contextlib.contextmanager
def time_limit(seconds):
    def expire(_signum, _frame):
        raise TimedOut(f"took longer than {seconds} s")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def diagnose(text):
    for line in text.splitlines():
        print(f"# {line}")


def run_one(number, entry):
    start = time.monotonic()
    try:
        entry.run()
        result, note = "ok", ""
    except Skip as reason:
        result, note = "ok", f" # SKIP {reason}"
    except (Exception, TimedOut):
        result, note = "not ok", ""
        diagnose(traceback.format_exc())
    print(f"{result} {number} - {entry.description}{note}")
    diagnose(f"{time.monotonic() - start:.2f} s")
    return result == "ok"


def why_not_here():
    """Why this machine cannot run these tests, or None."""
    if harness.find_daemon() is None:
        return "no virtnestd: build it, or set VIRTNESTD to its path"
    reason = harness.missing_reason()
    if reason is None:
        try:
            with harness.TemporaryHost():
                pass
        except harness.Missing as error:
            reason = str(error)
    return reason


def main():
    sys.stdout.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")
    # run-tap's time limit comes as SIGABRT. Leaving by an exception cleans up and shows the logs.
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGABRT):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))
    texts = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    chosen = [entry for entry in tests if not texts or any(text in entry.description for text in texts)]
    if "--list" in sys.argv:
        for entry in chosen:
            print(entry.description)
        return
    reason = why_not_here()
    if reason:
        print(f"1..0 # SKIP {' '.join(reason.split())}")
        return
    os.umask(0o022)
    print(f"1..{len(chosen)}")
    failed = sum(not run_one(number, entry) for number, entry in enumerate(chosen, 1))
    if failed:
        diagnose(f"{failed} of {len(chosen)} failed")
    sys.exit(1 if failed else 0)
