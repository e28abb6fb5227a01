import * as workflow from '@temporalio/workflow';

const COMPLAINTS_MAX = 10;
const ENTRIES_MAX = 10;

/** What a workflow of everything hands to its next run. */
export interface State {
  name: string;
  round: number;
  // The round in which each signal's number, each update's id came first.
  signals: Record<number, number>;
  updates: Record<string, number>;
  // Requests that came again in a later run: their first answer was lost with a leader, and a run
  // remembers only its own requests, as in Temporal.
  repeated: number;
  finish: boolean;
  wrong: string[];
}

export interface Entry {
  name: string;
  round: number;
}

interface Activities {
  square(number: number): Promise<number>;
  beat(): Promise<void>;
}

const { square } = workflow.proxyActivities<Activities>({
  startToCloseTimeout: '5 seconds',
  retry: { initialInterval: '50 ms' },
});
const { beat } = workflow.proxyActivities<Activities>({
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: '5 seconds',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '50 ms' },
});
const { next } = workflow.proxyLocalActivities<{ next(number: number): Promise<number> }>({
  startToCloseTimeout: '5 seconds',
});

export const state = workflow.defineQuery<State>('state');
export const double = workflow.defineUpdate<number, [string, number]>('double');
export const numbered = workflow.defineSignal<[number]>('number');
export const finish = workflow.defineSignal('finish');
export const entry = workflow.defineSignal<[Entry]>('entry');
const helped = workflow.defineSignal<[number]>('helped');
const enough = workflow.defineSignal('enough');

/** One round, as its parts see it. */
class Round {
  told: number[] = [];

  constructor(readonly now: State) {
    now.round += 1;
  }

  get name(): string {
    return this.now.name;
  }

  complain(what: string): void {
    if (this.now.wrong.length < COMPLAINTS_MAX) {
      this.now.wrong.push(`round ${this.now.round}: ${what}`);
    }
  }

  /** Notes one signal or update. */
  see(seen: Record<string, number>, key: string): void {
    if (seen[key] === undefined) seen[key] = this.now.round;
    else if (seen[key] === this.now.round) this.complain(`one run saw ${key} twice`);
    else this.now.repeated += 1;
  }

  id(what: string): string {
    return `${this.name}-${what}-${this.now.round}`;
  }

  /** Answers queries, updates and signals. */
  handle(): void {
    workflow.setHandler(state, () => this.now);
    workflow.setHandler(
      double,
      async (id, number) => {
        this.see(this.now.updates, id);
        await workflow.sleep(50);
        return 2 * number;
      },
      {
        validator: (_id, number) => {
          if (number < 0) throw workflow.ApplicationFailure.create({ message: 'no negative numbers', type: 'Negative' });
        },
      },
    );
    workflow.setHandler(numbered, (number) => this.see(this.now.signals, String(number)));
    workflow.setHandler(finish, () => {
      this.now.finish = true;
    });
    workflow.setHandler(helped, (round) => {
      this.told.push(round);
    });
  }

  /** One activity that is retried, and a local one. */
  async activities(): Promise<void> {
    if (!workflow.patched('number')) this.complain('a new run has the patch');
    const number = Math.floor(Math.random() * 1000);
    const [squared, following] = [await square(number), await next(number)];
    if (squared !== number * number || following !== number + 1) {
      this.complain(`${number} has the square ${squared} and the next ${following}`);
    }
  }

  /** It beats until it is cancelled. One that was lost with a leader times out. */
  async cancelledActivity(): Promise<void> {
    const scope = new workflow.CancellationScope();
    const beating = scope.run(() => beat()).then(
      () => 'completed',
      (error) => {
        const late = error instanceof workflow.ActivityFailure && error.cause instanceof workflow.TimeoutFailure;
        return workflow.isCancellation(error) || late ? undefined : String(error);
      },
    );
    await workflow.sleep(200);
    scope.cancel();
    const wrong = await beating;
    if (wrong !== undefined) this.complain(`a cancelled activity ended so: ${wrong}`);
  }

  /** A short one that fires, and a long one that is cancelled then. */
  async timers(): Promise<void> {
    const scope = new workflow.CancellationScope();
    const long = scope.run(() => workflow.sleep('1 hour')).then(
      () => 'fired',
      (error) => (workflow.isCancellation(error) ? 'cancelled' : String(error)),
    );
    const first = await Promise.race([workflow.sleep(300).then(() => 'short'), long]);
    scope.cancel();
    const ended = await long;
    if (first !== 'short' || ended !== 'cancelled') this.complain(`timers: ${first} came first, the long one ${ended}`);
  }

  /** A child that signals its parent and gives a result. */
  async child(): Promise<void> {
    const round = this.now.round;
    const result = await workflow.executeChild(helper, { workflowId: this.id('helper'), args: [this.name, round] });
    if (result !== round * round) this.complain(`a child gave ${result}`);
    await workflow.condition(() => this.told.length > 0);
    if (this.told.length !== 1 || this.told[0] !== round) this.complain(`a child told ${this.told}`);
  }

  async cancelledChild(): Promise<void> {
    const scope = new workflow.CancellationScope();
    const options = { workflowId: this.id('cancelled'), cancellationType: 'WAIT_CANCELLATION_COMPLETED' } as const;
    const child = await scope.run(() => workflow.startChild(waiter, options));
    scope.cancel();
    const ended = await child.result().then(
      () => 'completed',
      (error) => (workflow.isCancellation(error) ? 'cancelled' : String(error)),
    );
    if (ended !== 'cancelled') this.complain(`a cancelled child ended so: ${ended}`);
  }

  /** They outlive this run, or end with it; the client looks at them in the end. */
  async closedChildren(): Promise<void> {
    for (const parentClosePolicy of ['ABANDON', 'TERMINATE'] as const) {
      const options = { workflowId: this.id(parentClosePolicy), parentClosePolicy };
      const child = await workflow.startChild(waiter, options);
      if (parentClosePolicy === 'ABANDON') await child.signal(enough);
    }
  }

  /** Tells the ledger of this round. */
  async message(ledgerId: string): Promise<void> {
    const told = { name: this.name, round: this.now.round };
    await workflow.getExternalWorkflowHandle(ledgerId).signal(entry, told);
  }
}

/** Plays one round with all there is, and continues as new until it is told to finish. */
export async function everything(before: State, ledgerId: string): Promise<State> {
  const round = new Round(before);
  round.handle();
  const parts = [
    round.activities(),
    round.cancelledActivity(),
    round.timers(),
    round.child(),
    round.cancelledChild(),
    round.closedChildren(),
    round.message(ledgerId),
  ];
  for (const part of await Promise.allSettled(parts)) {
    if (part.status === 'rejected') round.complain(String(part.reason));
  }
  await workflow.condition(workflow.allHandlersFinished);
  if (round.now.finish) return round.now;
  return await workflow.continueAsNew<typeof everything>(round.now, ledgerId);
}

/** Signals its parent after an activity. */
export async function helper(parent: string, number: number): Promise<number> {
  const result = await square(number);
  await workflow.getExternalWorkflowHandle(parent).signal(helped, number);
  return result;
}

/** Waits until somebody has enough of it. */
export async function waiter(): Promise<void> {
  let received = false;
  workflow.setHandler(enough, () => {
    received = true;
  });
  await workflow.condition(() => received);
}

/** Counts entries until it is told to finish. */
export async function ledger(counts: Record<string, number>): Promise<Record<string, number>> {
  let [finished, received] = [false, 0];
  workflow.setHandler(entry, ({ name, round }) => {
    const key = `${name}-entry-${round}`;
    counts[key] = (counts[key] ?? 0) + 1;
    received += 1;
  });
  workflow.setHandler(finish, () => {
    finished = true;
  });
  await workflow.condition(() => finished || received >= ENTRIES_MAX);
  if (finished) return counts;
  return await workflow.continueAsNew<typeof ledger>(counts);
}
