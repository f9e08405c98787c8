// What must hold when the ground gives way: files removed, handles closed in use.
import assert from 'node:assert/strict';
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { LONG, Store, refused, until, untilQueued, untilWaiting } from './setup.mjs';

const now = { blocking: false };

/** That a call fails as one whose store can't be used. */
async function unusable(call) {
  await assert.rejects(call, (error) => error.code.startsWith('STORE_'));
}

test('a_holder_whose_live_file_was_removed_keeps_its_lock', async (t) => {
  const store = new Store(t);
  const pd = store.open('parent');
  const holder = store.child('hold', 'holder', { lock: 'm' });
  assert.ok((await holder.said()) > 0);
  rmSync(`${store.db}.live`, { recursive: true });
  assert.equal(await pd.lock('m', now), null, "a living holder's lock was taken");
  const { agents } = await store.open('other').agents();
  assert.ok(agents.every((a) => a.state === 'active'), JSON.stringify(agents));
  await holder.kill();
  assert.ok(await pd.lock('m', { timeout: LONG }), "a dead one's is free");
});

test('what_killed_programs_leave_is_swept', async (t) => {
  const store = new Store(t);
  const children = [1, 2, 3].map(() => store.child('notes', 'reader', { count: 0 }));
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) await child.kill();
  assert.equal(readdirSync(`${store.db}.live`).length, 3);
  await store.open('parent').whoami();
  assert.equal(readdirSync(`${store.db}.live`).length, 1, "only the living one's is left");
});

test('closing_a_handle_ends_the_waits_in_it', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  await a.lock('m');
  const waits = [b.lock('m'), b.waitForSignal('never:comes'), b.withLock('m', () => assert.fail('it runs'))];
  const ended = Promise.all(waits.map((wait) => refused(wait, 'CLOSED')));
  await untilWaiting(a, 3);
  await b.close();
  await ended;
  await untilWaiting(a, 0);
});

test('locks_of_two_databases_close_no_cycle', async (t) => {
  const [one, two] = [new Store(t), new Store(t)];
  const [mine, theirs] = [one.open('a'), two.open('b')];
  const held = await theirs.lock('m', now);
  await mine.withLock('m', async (token) => {
    assert.equal(token, held.token, 'each database counts for itself');
    await refused(two.open('c').lock('m', { timeout: 20 }), 'TIMEOUT');
    await refused(one.open('c').lock('m', { timeout: LONG }), 'DEADLOCK');
  });
});

test('a_database_that_was_replaced_is_noticed', async (t) => {
  const store = new Store(t);
  const a = store.open('a');
  const lock = await a.lock('m', now);
  const old = store.dir('old');
  for (const suffix of ['', '-wal', '-shm']) renameSync(store.db + suffix, join(old, `x${suffix}`));
  await unusable(a.publish('c', 1));
  const b = store.open('b');
  const other = await b.lock('m', now);
  await unusable(a.publish('c', 1));
  await assert.rejects(lock.release());
  await other.release();
});

test('a_wait_on_a_database_that_was_removed_ends', async (t) => {
  const store = new Store(t);
  const a = store.open('a');
  const ended = unusable(a.waitForSignal('never:comes'));
  await untilWaiting(a, 1);
  rmSync(store.db);
  await ended;
});

test('an_agent_that_left_while_its_shell_waited_is_back_when_it_is_granted_the_lock', async (t) => {
  const store = new Store(t);
  const b = store.open('b');
  const held = await b.lock('m', now);
  const waiting = store.start('pd', ['lock', 'm', '--wait'], { agent: 'a' });
  await untilQueued(b, 'm', 1);
  await store.pd('a', 'agent', 'unregister');
  await held.release();
  await waiting.end();
  const { agent, holderState } = await b.lockInfo('m');
  assert.deepEqual([agent, holderState], ['a', 'active'], 'nobody would ever free it');
});

test('the_longest_timeout_is_no_panic', async (t) => {
  const store = new Store(t);
  const a = store.open('a');
  await a.publish('c', 1);
  const timeout = Number.MAX_SAFE_INTEGER;
  assert.equal(await a.waitForSignal('c', { timeout }), 1);
  const held = await a.lock('m', now);
  const waiting = a.lock('m', { timeout });
  await untilQueued(a, 'm', 1);
  await held.release();
  await (await waiting).release();
});

test('one_who_left_and_calls_again_is_proven_alive_by_its_handles', async (t) => {
  const store = new Store(t);
  const [one, other] = [store.open('a'), store.open('b')];
  await one.registerAgent();
  await one.unregisterAgent();
  await one.registerAgent();
  const { state, proofs } = await other.agent('a');
  assert.deepEqual([state, proofs.map((p) => p.kind)], ['active', ['instance']]);
});
