"""Plays scenarios of the recorded histories while the server's leader is killed.

    python play.py HISTORIES ADDRESS OUT NAME...

HISTORIES is the folder of the suite, whose own parts are used: a scenario, its context, its
normal form. What a scenario did is written to OUT/NAME.txt, for others to compare. Prints
`ok NAME`, or `FAIL NAME` and indented why it did not get to its end.

Each call is repeated while the server is not available, as every client of a cluster does.
"""

import asyncio
import importlib
import logging
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

SUITE, ADDRESS, OUT = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
NAMES = sys.argv[4:]
# Seconds for one scenario: a lost workflow task comes back after 10.
LIMIT = 90
AT_ONCE = 4

sys.path.insert(0, str(SUITE))
suite = importlib.import_module("run")
from temporalio.service import RPCError, RPCStatusCode, _BridgeServiceClient  # noqa: E402

plain_call = _BridgeServiceClient._rpc_call
# Calls that a repetition finds done: their effect is there, and its answer said nothing.
DONE_BEFORE = ("respond_", "terminate_")


async def repeated_call(self, rpc, req, resp_type, *, retry, timeout=None, **more):
    """A call, repeated while the server is not available: each has one effect, by its key."""
    end = time.monotonic() + (timeout.total_seconds() if timeout else 20)
    repeated = False
    while True:
        try:
            return await plain_call(self, rpc, req, resp_type, retry=retry, timeout=timeout, **more)
        except RPCError as err:
            if err.status == RPCStatusCode.NOT_FOUND and repeated and rpc.startswith(DONE_BEFORE):
                return resp_type()
            # The SDK's word for a connection that broke.
            broken = err.status == RPCStatusCode.UNKNOWN and "transport error" in err.message
            away = err.status == RPCStatusCode.UNAVAILABLE or broken
            if not away or time.monotonic() > end:
                raise
        repeated = True
        await asyncio.sleep(0.1)


_BridgeServiceClient._rpc_call = repeated_call


async def one(client, name):
    """One scenario; its document goes to a file."""
    try:
        text = await suite.play(client, name, LIMIT)
    except suite.ScenarioError as err:
        print("FAIL %s\n  %s" % (name, str(err).replace("\n", "\n  ")), flush=True)
        return
    (OUT / (name + ".txt")).write_text(text)
    print("ok %s" % name, flush=True)


async def main():
    client = await suite.connect(SimpleNamespace(address=ADDRESS, namespace="default"))
    await suite.prepare(client)
    logging.getLogger("temporalio").setLevel(logging.CRITICAL + 1)
    print("READY", flush=True)
    slots = asyncio.Semaphore(AT_ONCE)

    async def guarded(name):
        async with slots:
            await one(client, name)

    await asyncio.gather(*(guarded(name) for name in NAMES))


asyncio.run(main())
sys.stdout.flush()
os._exit(0)  # the SDK's threads may outlive the interpreter, and crash it at exit
