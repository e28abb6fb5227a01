// Hello-world by the official TypeScript SDK: COUNT workflows through one worker. Environment:
// ADDRESS, TASK_QUEUE, COUNT, MAX_CACHED. Prints `DONE n` when every result was right.
'use strict';
const path = require('node:path');
const { Client, Connection } = require('@temporalio/client');
const { NativeConnection, Worker } = require('@temporalio/worker');

async function main() {
  const { ADDRESS, TASK_QUEUE } = process.env;
  const count = Number(process.env.COUNT ?? '1');
  const connection = await NativeConnection.connect({ address: ADDRESS });
  const worker = await Worker.create({
    connection,
    taskQueue: TASK_QUEUE,
    workflowsPath: path.join(__dirname, 'hello_workflows.ts'),
    activities: { greet: async (name) => `Hello, ${name}!` },
    maxCachedWorkflows: process.env.MAX_CACHED ? Number(process.env.MAX_CACHED) : undefined,
    maxConcurrentWorkflowTaskExecutions: process.env.MAX_CACHED === '0' ? 10 : undefined,
  });
  const client = new Client({ connection: await Connection.connect({ address: ADDRESS }) });
  await worker.runUntil(async () => {
    let next = 0;
    async function lane() {
      while (next < count) {
        const number = next++;
        const result = await client.workflow.execute('hello', {
          taskQueue: TASK_QUEUE,
          workflowId: `${TASK_QUEUE}-${number}`,
          args: [`number ${number}`],
        });
        if (result !== `Hello, number ${number}!`) throw new Error(`wrong result: ${result}`);
      }
    }
    await Promise.all(Array.from({ length: 32 }, lane));
  });
  console.log(`DONE ${count}`);
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
