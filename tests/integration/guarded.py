# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of guards have in common. BlockWhen=always guards emulated guests too, which have no L2 guests."""

import json

from harness import tag_xml
from tap import contains, fails

NODE = "virtnest-l2-running"
ALWAYS = "[Guard]\nBlockWhen=always\n"
NEVER = "[Guard]\nBlockWhen=never\n"


def nodes(host, name):
    """The guard nodes that QEMU itself lists."""
    reply = json.loads(host.virsh("qemu-monitor-command", name,
                                  '{"execute":"query-named-block-nodes","arguments":{"flat":true}}'))
    return [node["node-name"] for node in reply["return"] if node["node-name"] == NODE]


def fdsets(host, name):
    return json.loads(host.virsh("qemu-monitor-command", name, '{"execute":"query-fdsets"}'))["return"]


def migration_status(host, name):
    reply = host.virsh("qemu-monitor-command", name, '{"execute":"query-migrate"}')
    return json.loads(reply)["return"].get("status")


def start(host, name, policy="default", **arguments):
    host.define(name, metadata=tag_xml(policy), **arguments)
    host.wait_state(name, "in-sync")
    host.virsh("start", name)


def guard(host, name):
    host.policy("default", ALWAYS)
    start(host, name)
    return host.wait_property(name, {"Guarded": True, "GuardError": ""})


def refused(host, *command):
    contains(fails(lambda: host.virsh(*command)), NODE, f"the error of {command[0]}")
