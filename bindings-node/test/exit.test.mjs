// How a process ends, and what the others see of it.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Store, refused, until } from './setup.mjs';

const ended = async (child) => {
  const { code, signal } = await child.exit;
  return [code, signal];
};

test('an_idle_client_keeps_no_process_alive', async (t) => {
  const store = new Store(t);
  const child = store.child('idle', 'a');
  assert.equal(await child.said(), 'idle');
  assert.deepEqual(await ended(child), [0, null]);
  // A normal end is in order, though nothing was closed.
  const looker = store.open('looker');
  const agent = await looker.agent('a');
  assert.deepEqual([agent.state, agent.proofs, agent.activeSessions], ['active', [], 1]);
  assert.equal(await looker.lockInfo('held'), null);
  assert.deepEqual((await looker.salvage()).items, []);
});

test('a_closed_client_keeps_no_process_alive', async (t) => {
  const store = new Store(t);
  const child = store.child('closed', 'a');
  assert.equal(await child.said(), 'closed');
  assert.deepEqual(await ended(child), [0, null]);
  assert.equal((await store.open('looker').agent('a')).state, 'active');
});

test('a_subscription_that_is_listened_to_keeps_the_process_alive', async (t) => {
  const store = new Store(t);
  const out = join(store.root, 'heard');
  const child = store.child('listening', 'a', { out });
  assert.equal(await child.said(), 'ready');
  const pd = store.open('b');
  await pd.publish('x', 1);
  await until(() => existsSync(out), 'the message');
  assert.equal(child.process.exitCode, null);
  await pd.publish('x', 'end');
  // Closed, it holds nothing.
  assert.deepEqual(await ended(child), [0, null]);
  assert.equal(readFileSync(out, 'utf8'), '1"end"');
});

test('a_subscription_that_was_unrefd_does_not', async (t) => {
  const store = new Store(t);
  const child = store.child('listening', 'a', { out: join(store.root, 'heard'), unref: true });
  assert.equal(await child.said(), 'ready');
  assert.deepEqual(await ended(child), [0, null]);
});

test('an_uncaught_exception_is_a_death_that_all_see_at_once', async (t) => {
  const store = new Store(t);
  const child = store.child('uncaught', 'builder');
  assert.equal(await child.said(), 'working');
  child.go();
  const { code, stderr } = await child.exit;
  assert.ok(code === 1 && stderr.includes('on purpose'), stderr);
  assert.match(await store.pd('looker', 'agents'), /^Dead builder .*\[stale\]$/m);
  assert.match(await store.pd('looker', 'salvage'), /doomed/);
  assert.deepEqual((await store.json('looker', 'locks')).locks, []);
  const { death } = await store.open('looker').agent('builder');
  assert.match(death, new RegExp(`process ${child.pid} `));
});

for (const [code, state] of [[0, 'active'], [3, 'dead']]) {
  test(`an_exit_with_code_${code}_leaves_an_agent_that_is_${state}`, async (t) => {
    const store = new Store(t);
    const child = store.child('exits', 'a', { code });
    assert.equal(await child.said(), 'working');
    child.go();
    assert.deepEqual(await ended(child), [code, null]);
    const looker = store.open('looker');
    assert.equal((await looker.agent('a')).state, state);
    assert.equal(await looker.lockInfo('held'), null);
    assert.equal((await looker.salvage()).items.length, state === 'dead' ? 1 : 0);
  });
}

test('a_signal_is_a_death', async (t) => {
  const store = new Store(t);
  const child = store.child('agent', 'a', { lock: 'm' });
  assert.equal(await child.said(), 'working');
  child.process.kill('SIGTERM');
  assert.deepEqual(await ended(child), [null, 'SIGTERM']);
  assert.equal((await store.open('looker').agent('a')).state, 'dead');
});

test('a_lock_that_is_forgotten_is_held', async (t) => {
  const store = new Store(t);
  const child = store.child('forgets', 'a', {}, { node: ['--expose-gc'] });
  assert.equal(await child.said(), 'forgotten');
  const info = await store.open('looker').lockInfo('m');
  assert.equal(info.agent, 'a');
  await refused(store.open('b').unlock('m'), 'NOT_OWNER');
});
