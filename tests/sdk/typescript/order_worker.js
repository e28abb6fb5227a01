// A worker for the seed's order workflow, by the official TypeScript SDK. Options come by
// environment: ADDRESS, TASK_QUEUE, SEED (folder with workflows.ts and activities.js),
// PAYMENTS_URL (stands for https://api.payments.com), IDENTITY, MAX_CACHED.
'use strict';
const path = require('node:path');
const axios = require('axios');
const { NativeConnection, Worker, Runtime, DefaultLogger } = require('@temporalio/worker');
const { activityInfo } = require('@temporalio/activity');

axios.interceptors.request.use((config) => {
  config.url = config.url.replace('https://api.payments.com', process.env.PAYMENTS_URL);
  return config;
});

// Tells the test which attempts ran, before and after each activity.
function told(activities) {
  const wrapped = {};
  for (const [name, activity] of Object.entries(activities)) {
    if (typeof activity !== 'function') continue;
    wrapped[name] = async (...args) => {
      const info = activityInfo();
      console.log(`BEGIN ${name} ${info.workflowExecution.workflowId} ${info.attempt}`);
      const result = await activity(...args);
      console.log(`END ${name} ${info.workflowExecution.workflowId} ${info.attempt}`);
      return result;
    };
  }
  return wrapped;
}

async function main() {
  Runtime.install({ logger: new DefaultLogger('WARN', (entry) => console.error(entry.level, entry.message)) });
  const seed = process.env.SEED;
  const connection = await NativeConnection.connect({ address: process.env.ADDRESS });
  const worker = await Worker.create({
    connection,
    namespace: 'default',
    taskQueue: process.env.TASK_QUEUE,
    workflowsPath: path.join(seed, 'workflows.ts'),
    activities: told(require(path.join(seed, 'activities.js'))),
    identity: process.env.IDENTITY,
    maxCachedWorkflows: process.env.MAX_CACHED ? Number(process.env.MAX_CACHED) : undefined,
    shutdownGraceTime: '1s',
  });
  process.on('SIGTERM', () => worker.shutdown());
  console.log('READY');
  await worker.run();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
