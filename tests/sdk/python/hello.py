"""Hello-world by the official Python SDK: many workflows through one worker.

    python hello.py --address HOST:PORT --task-queue Q [--count N] [--no-sticky] [--no-gzip]

Prints `DONE n` when every result was right.
"""

import argparse
import asyncio
import datetime

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import GrpcCompression
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            greet, name, start_to_close_timeout=datetime.timedelta(minutes=1)
        )


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--task-queue", required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--no-sticky", action="store_true")
    parser.add_argument("--no-gzip", action="store_true")
    options = parser.parse_args()
    compression = GrpcCompression.NONE if options.no_gzip else GrpcCompression.GZIP
    client = await Client.connect(options.address, grpc_compression=compression)
    cached = 0 if options.no_sticky else 1000
    async with Worker(
        client,
        task_queue=options.task_queue,
        workflows=[Hello],
        activities=[greet],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=cached,
    ):
        lanes = asyncio.Semaphore(32)

        async def one(number: int) -> None:
            async with lanes:
                result = await client.execute_workflow(
                    Hello.run,
                    f"number {number}",
                    id=f"{options.task_queue}-{number}",
                    task_queue=options.task_queue,
                )
                assert result == f"Hello, number {number}!", result

        await asyncio.gather(*(one(number) for number in range(options.count)))
    print(f"DONE {options.count}")


asyncio.run(main())
