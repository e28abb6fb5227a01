// Everything the TypeScript SDK has, at once, until SIGTERM: workflows that each play rounds with
// children, updates, signals, queries, timers, activities and cancellation, and continue as new
// after each. Clients send them numbered signals and updates, and note what was acknowledged. After
// SIGTERM each workflow must end within a minute, and everything must have happened exactly once.
//
// Environment: ADDRESS, TASK_QUEUE. Prints READY, then DONE with counts or WRONG with reasons.
'use strict';
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const {
  Client,
  Connection,
  ServiceError,
  TerminatedFailure,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} = require('@temporalio/client');
const { NativeConnection, Worker, Runtime, DefaultLogger } = require('@temporalio/worker');
const { Context, CancelledFailure, heartbeat } = require('@temporalio/activity');

// Workflows of everything at once.
const PLAYERS = 4;
// A client repeats a call for this long; a leader is lost for much less.
const CALL_LIMIT = 20_000;
// From SIGTERM to the end of all workflows.
const END_LIMIT = 60_000;
// Between the turns of a client.
const TURN_PAUSE = 50;
const LEDGER = 'ledger';
// What a client does, besides starts and ends.
const KINDS = ['signal', 'update', 'rejected update', 'cancelled workflow', 'query'];
// A call that ended so may have been done: deadline, unavailable, and a broken connection.
const UNKNOWN_CODES = [4, 14];
// FAILED_PRECONDITION.
const NOT_READY_CODE = 9;

const taskQueue = process.env.TASK_QUEUE;
const counts = {};
const wrong = [];
let playing = true;

function count(what, number = 1) {
  counts[what] = (counts[what] ?? 0) + number;
}

function complain(line) {
  wrong.push(line);
  console.log(`WRONG ${line}`);
}

const activities = {
  /** Fails once. */
  async square(number) {
    if (Context.current().info.attempt === 1) throw new Error('the first attempt fails');
    return number * number;
  },
  /** A local activity. */
  async next(number) {
    return number + 1;
  },
  /** Beats until it is cancelled. */
  async beat() {
    for (let beats = 0; ; beats += 1) {
      heartbeat(beats);
      await Context.current().sleep(100);
    }
  },
};

/** The client of one workflow of everything. */
class Player {
  constructor(client, name) {
    this.client = client;
    this.name = name;
    this.handle = client.workflow.getHandle(name);
    // Sent, and whether it was acknowledged.
    this.signals = new Map();
    this.updates = new Map();
  }

  /** A call within its time; whether it was acknowledged. An error that is no lost call is wrong. */
  async call(what, body, limit = CALL_LIMIT) {
    try {
      await this.client.connection.withDeadline(Date.now() + limit, body);
      count(what);
      return true;
    } catch (error) {
      const lost =
        error instanceof WorkflowUpdateRPCTimeoutOrCancelledError ||
        (error instanceof ServiceError && UNKNOWN_CODES.includes(error.cause?.code));
      if (lost) count(`${what} unknown`);
      else complain(`${this.name}: ${what}: ${error.stack} ${error.cause}`);
      return false;
    }
  }

  /** Drives the workflow until SIGTERM, then ends it; its last state. */
  async play() {
    const state = { name: this.name, round: 0, signals: {}, updates: {}, repeated: 0, finish: false, wrong: [] };
    const options = { taskQueue, workflowId: this.name, args: [state, LEDGER] };
    while (!(await this.call('start', () => this.start('everything', options))));
    for (let turn = 1; playing; turn += 1) {
      await this.turn(turn);
      await sleep(TURN_PAUSE);
    }
    return await this.end();
  }

  /** A start whose answer was lost is found done by the next one. */
  async start(type, options) {
    try {
      await this.client.workflow.start(type, options);
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  async turn(turn) {
    this.signals.set(turn, await this.call('signal', () => this.handle.signal('number', turn)));
    await this.update(turn);
    if (turn % 3 === 0) await this.rejected(turn);
    if (turn % 5 === 0) await this.cancelled(turn);
    await this.query();
  }

  async update(turn) {
    const id = `update-${turn}`;
    const acknowledged = await this.call('update', async () => {
      const double = await this.handle.executeUpdate('double', { updateId: id, args: [id, turn] });
      if (double !== 2 * turn) complain(`${this.name}: the double of ${turn} is not ${double}`);
    });
    this.updates.set(id, acknowledged);
  }

  async rejected(turn) {
    const id = `rejected-${turn}`;
    await this.call('rejected update', async () => {
      try {
        await this.handle.executeUpdate('double', { updateId: id, args: [id, -1] });
      } catch (error) {
        if (error instanceof WorkflowUpdateFailedError && error.cause?.type === 'Negative') return;
        throw error;
      }
      throw new Error('it was accepted');
    });
  }

  /** Starts a workflow, cancels it, and waits for its end. */
  async cancelled(turn) {
    const workflowId = `${this.name}-waiter-${turn}`;
    await this.call('cancelled workflow', async () => {
      await this.start('waiter', { taskQueue, workflowId });
      const handle = this.client.workflow.getHandle(workflowId);
      await handle.cancel();
      try {
        await handle.result();
      } catch (error) {
        if (error instanceof WorkflowFailedError && error.cause instanceof CancelledFailure) return;
        throw error;
      }
      throw new Error('it completed');
    });
  }

  /** A query must show all that was acknowledged. */
  async query() {
    let state;
    const ask = async () => {
      try {
        state = await this.handle.query('state');
      } catch (error) {
        // A run that followed soon after its predecessor begins a little later.
        if (error.cause?.code !== NOT_READY_CODE) throw error;
        count('query too early');
      }
    };
    if ((await this.call('query', ask)) && state !== undefined) this.compare('a query', state);
  }

  /** Finds acknowledged requests that a state lacks. */
  compare(where, state) {
    for (const [sent, seen] of [
      [this.signals, state.signals],
      [this.updates, state.updates],
    ]) {
      for (const [key, acknowledged] of sent) {
        if (acknowledged && seen[key] === undefined) {
          complain(`${this.name}: ${where} of round ${state.round} lacks ${key}`);
        }
      }
    }
  }

  /** Tells the workflow to finish, and looks at what it and its children came to. */
  async end() {
    const deadline = Date.now() + END_LIMIT;
    while (!(await this.call('finish', () => this.handle.signal('finish'))) && Date.now() < deadline);
    let state = { name: this.name, round: 0 };
    const result = async () => {
      state = await this.handle.result();
    };
    if (!(await this.call('end', result, deadline - Date.now()))) {
      complain(`${this.name} does not end`);
      return state;
    }
    this.compare('the end', state);
    for (const line of state.wrong) complain(`${this.name}: ${line}`);
    count('rounds', state.round);
    count('repeated in a later run', state.repeated);
    for (let round = 1; round <= state.round; round += 1) {
      await this.closedChild(`${this.name}-ABANDON-${round}`, 'completed');
      await this.closedChild(`${this.name}-TERMINATE-${round}`, 'terminated');
    }
    return state;
  }

  /** It completed when it was abandoned, was terminated otherwise. */
  async closedChild(workflowId, wanted) {
    const looked = await this.call(`${wanted} child`, async () => {
      const ended = await this.client.workflow.getHandle(workflowId).result().then(
        () => 'completed',
        (error) => {
          if (error instanceof WorkflowFailedError && error.cause instanceof TerminatedFailure) return 'terminated';
          throw error;
        },
      );
      if (ended !== wanted) throw new Error(`${workflowId} is ${ended}`);
    });
    if (!looked) complain(`${workflowId} is not ${wanted}`);
  }

  /** Ends the ledger: it has one entry of each round. */
  async checkLedger(states) {
    let entries = {};
    await this.call('finish', () => this.handle.signal('finish'));
    await this.call('end', async () => {
      entries = await this.handle.result();
    });
    for (const { name, round: last } of states) {
      for (let round = 1; round <= last; round += 1) {
        const times = entries[`${name}-entry-${round}`];
        if (times !== 1) complain(`the ledger has round ${round} of ${name} ${times} times`);
      }
    }
  }
}

async function play(address) {
  const client = new Client({ connection: await Connection.connect({ address }) });
  const ledger = new Player(client, LEDGER);
  await ledger.start('ledger', { taskQueue, workflowId: LEDGER, args: [{}] });
  console.log('READY');
  const players = Array.from({ length: PLAYERS }, (_, number) => new Player(client, `player-${number}`));
  const states = await Promise.all(players.map((player) => player.play()));
  await ledger.checkLedger(states);
  for (const kind of KINDS) {
    if (!counts[kind]) complain(`no ${kind} was acknowledged`);
  }
}

async function main() {
  Runtime.install({
    logger: new DefaultLogger('WARN', (entry) => console.error(entry.level, entry.message, entry.meta?.error ?? '')),
    shutdownSignals: [],
  });
  process.on('SIGTERM', () => {
    playing = false;
  });
  const address = process.env.ADDRESS;
  const worker = await Worker.create({
    connection: await NativeConnection.connect({ address }),
    taskQueue,
    workflowsPath: path.join(__dirname, 'everything_workflows.ts'),
    activities,
    maxHeartbeatThrottleInterval: '200 ms',
    shutdownGraceTime: '1s',
  });
  await worker.runUntil(() => play(address));
  if (wrong.length === 0) console.log(`DONE ${JSON.stringify(counts)}`);
  process.exit(wrong.length === 0 ? 0 : 1);
}

main().catch((error) => {
  console.log(`WRONG ${error.stack ?? error}`);
  process.exit(1);
});
