// Many at once: in one thread, in worker threads, in processes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

import { Store, untilQueued, untilWaiting } from './setup.mjs';

test('a_hundred_with_locks_of_one_program_are_served_one_by_one', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const inside = join(store.root, 'inside');
  const order = [];
  const turn = (n) =>
    pd.withLock('m', async () => {
      writeFileSync(inside, '', { flag: 'wx' });
      await new Promise((resolve) => setImmediate(resolve));
      order.push(n);
      rmSync(inside);
      return n;
    });
  const numbers = Array.from({ length: 100 }, (_, n) => n);
  assert.deepEqual(await Promise.all(numbers.map(turn)), numbers);
  assert.deepEqual(order, numbers, 'first come, first served');
  assert.deepEqual((await pd.locks()).locks, []);
});

test('a_hundred_with_locks_of_each_of_four_processes_are_served_one_by_one', async (t) => {
  const store = new Store(t);
  const counter = join(store.root, 'count');
  writeFileSync(counter, '0');
  const told = { lock: 'm', count: 100, counter };
  const children = [1, 2, 3, 4].map((n) => store.child('turns', `agent-${n}`, told));
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) child.go();
  for (const child of children) assert.equal(await child.said(), 'done');
  for (const child of children) await child.end();
  assert.equal(readFileSync(counter, 'utf8'), '400');
  const status = await store.open('looker').status();
  assert.deepEqual([status.locks, status.waiters], [0, []]);
});

test('waits_cost_no_threads', async (t) => {
  const store = new Store(t);
  const holder = store.open('holder');
  const names = Array.from({ length: 50 }, (_, n) => `m${n}`);
  await Promise.all(names.map((name) => holder.lock(name)));
  const child = store.child('tasks', 'waiter', { names });
  const before = await child.said();
  child.go();
  assert.equal(await child.said(), 'waiting');
  await untilWaiting(holder, 100);
  child.go();
  const after = await child.said();
  // The client's own, one that sleeps for all waits, and what the pool of Node may have started meanwhile.
  assert.ok(after - before <= 8, `${before} threads became ${after}`);
});

/** A worker thread that takes what it is told, on the same database. */
async function worker(t, store, script) {
  const client = import.meta.resolve('port-daddy/client');
  const source = `
    import { parentPort } from 'node:worker_threads';
    import { PortDaddy } from ${JSON.stringify(client)};
    const pd = new PortDaddy(${JSON.stringify({ db: store.db, cwd: store.dir('.'), agentId: 'worker' })});
    ${script}
  `;
  const made = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  t.after(() => made.terminate());
  return made;
}

test('a_worker_thread_and_its_parent_share_a_database', async (t) => {
  const store = new Store(t);
  const pd = store.open('main');
  const held = await pd.lock('m');
  const made = await worker(t, store, `
    const got = await pd.waitForSignal('from:main');
    await pd.publish('from:worker', { got });
    await pd.withLock('m', () => pd.note('in turn'));
    parentPort.postMessage('done');
  `);
  const exited = once(made, 'exit');
  const done = once(made, 'message');
  await pd.publish('from:main', [1]);
  assert.deepEqual(await pd.waitForSignal('from:worker'), { got: [1] });
  await untilQueued(pd, 'm', 1);
  await held.release();
  assert.equal((await done)[0], 'done');
  // An idle client keeps no thread alive.
  assert.deepEqual(await exited, [0]);
  assert.deepEqual((await pd.notes()).notes.map((n) => [n.agent, n.text]), [['worker', 'in turn']]);
  assert.equal((await pd.agent('worker')).state, 'active', 'it ended in order');
});

test('a_worker_thread_that_is_terminated_while_it_waits_leaves_nothing', async (t) => {
  const store = new Store(t);
  const pd = store.open('main');
  const held = await pd.lock('m');
  const made = await worker(t, store, `
    await pd.lock('own');
    await pd.startSession('doomed');
    parentPort.postMessage('waiting');
    await Promise.all([pd.lock('m'), pd.waitForSignal('never:comes')]);
  `);
  await once(made, 'message');
  await untilWaiting(pd, 2);
  await made.terminate();
  await untilWaiting(pd, 0);
  const own = await pd.lock('own', { blocking: false });
  assert.ok(own, 'what it held is free');
  // This thread goes on.
  await Promise.all([own.release(), held.release(), pd.publish('x', 1)]);
});
