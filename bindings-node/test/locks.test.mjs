// Locks, as their holders, waiters and thieves see them.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { LONG, Store, refused, until, untilQueued } from './setup.mjs';

const now = { blocking: false };

test('a_lock_excludes_and_its_token_rises', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const first = await a.lock('m', now);
  assert.equal(first.name, 'm');
  assert.equal(await b.lock('m', now), null);
  assert.equal(await a.lock('m', now), null, 'not reentrant');
  await first.release();
  const second = await b.lock('m', now);
  assert.ok(second.token > first.token && Number.isSafeInteger(second.token));
  await first.release();
  assert.ok(await b.lockInfo('m'), 'releasing the same one twice does nothing');
  await second[Symbol.asyncDispose]();
  assert.equal(await a.lockInfo('m'), null);
});

test('a_lock_says_who_holds_it_and_who_waits', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const { session } = await a.startSession('Migrating');
  await a.registerAgent({ name: 'Database' });
  const lock = await a.lock('m', { ttl: 60_000, purpose: 'migrations' });
  const waits = [];
  const waiting = b.lock('m', { onWait: (info) => waits.push(info) });
  await untilQueued(a, 'm', 1);
  const info = await lock.info();
  // The end is told in wall time, but kept by a clock that stops while the machine sleeps: they drift.
  const still = ({ expiresMs, ...others }) => others;
  assert.deepEqual(still(await b.lockInfo('m')), still(info));
  const { name, token, agent, agentName, purpose, holderState, scope } = info;
  assert.deepEqual([name, token, agent, agentName], ['m', lock.token, 'a', 'Database']);
  assert.deepEqual([purpose, holderState, scope, info.session], ['migrations', 'active', 'global', session.id]);
  assert.ok(info.expiresMs > info.sinceMs);
  assert.deepEqual(info.waiters.map((w) => [w.agent, w.agentName, w.sinceMs > 0]), [['b', 'b', true]]);
  assert.deepEqual((await a.locks()).locks.map(still), [still(info)]);
  await until(() => waits.length > 0, 'being told');
  assert.deepEqual([waits.length, waits[0].name, waits[0].agent], [1, 'm', 'a']);
  const extended = await lock.extend(120_000);
  assert.ok(extended.expiresMs > info.expiresMs);
  assert.ok((await a.extendLock('m', 180_000, { token: lock.token })).expiresMs > extended.expiresMs);
  await a.unlock('m');
  await (await waiting).release();
});

test('only_the_holder_unlocks', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  await a.lock('m', now);
  const error = await refused(b.unlock('m'), 'NOT_OWNER');
  assert.equal(error.fields.holder, 'a');
  const taken = await b.unlock('m', { force: true });
  assert.deepEqual([taken.name, taken.agent], ['m', 'a']);
  await refused(a.unlock('m'), 'NOT_HELD');
  const { entries } = await b.activity({ type: 'lock.force' });
  assert.equal(entries.length, 1, 'the log remembers');
});

test('a_program_s_lock_is_not_its_shell_s_to_release', async (t) => {
  const store = new Store(t);
  const program = store.open('a');
  const lock = await program.lock('m', now);
  const run = await store.run('pd', ['unlock', 'm'], { agent: 'a' });
  assert.equal(run.exit, 3, run.stderr);
  assert.equal((await store.json('looker', 'locks')).locks[0].token, lock.token);
  await program.unlock('m');
  await refused(lock.release(), 'LEASE_LOST');
});

test('a_stale_token_opens_nothing', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const old = await a.lock('m', now);
  await old.release();
  await a.lock('m', now);
  const { token } = old;
  await refused(a.unlock('m', { token }), 'LEASE_LOST');
  await refused(b.unlock('m', { token }), 'NOT_OWNER');
  await refused(a.extendLock('m', 1000, { token }), 'LEASE_LOST');
  assert.ok(await a.lockInfo('m'));
});

test('closing_a_handle_that_waits_for_its_own_lock_frees_it', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  for (let round = 0; round < 10; round++) {
    const closing = store.open('c');
    await closing.lock('m');
    const waiting = refused(closing.lock('m'), 'CLOSED');
    await untilQueued(b, 'm', 1);
    const next = a.lock('m', { timeout: LONG });
    await untilQueued(b, 'm', 2);
    await closing.close();
    await waiting;
    await (await next).release();
  }
});

test('a_lease_ends_on_time_and_says_so', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const lock = await a.lock('m', { ttl: 60_000, ...now });
  assert.equal(await b.lock('m', now), null);
  await lock.extend(1);
  const taken = await b.lock('m', { timeout: LONG });
  await refused(lock.release(), 'LEASE_LOST');
  await taken.release();
  const unnoticed = await a.lock('m', { ttl: 1 });
  await until(async () => (await b.lockInfo('m')) === null, 'the end of the lease');
  await refused(unnoticed.release(), 'LEASE_LOST');
  assert.ok(await b.lock('m', now));
});

test('a_wait_times_out_and_leaves_nothing', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const held = await a.lock('m', now);
  const late = await refused(b.lock('m', { timeout: 30 }), 'TIMEOUT');
  assert.equal(late.fields.holder, 'a');
  assert.deepEqual((await held.info()).waiters, []);
  await held.release();
  assert.ok(await a.lock('m', now), 'it was not granted to one who has left');
});

test('a_wait_is_cancelled_from_another_thread', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const held = await a.lock('m', now);
  const controller = new AbortController();
  const waiting = b.lock('m', { signal: controller.signal });
  await untilQueued(a, 'm', 1);
  const reason = new Error('no longer');
  controller.abort(reason);
  const error = await refused(waiting, 'CANCELLED');
  assert.equal(error.cause, reason);
  assert.deepEqual((await held.info()).waiters, []);
  // Aborted before it began, it never was.
  await held.release();
  await refused(b.lock('m', { signal: AbortSignal.abort() }), 'CANCELLED');
  assert.equal(await b.lockInfo('m'), null);
});

test('with_lock_releases_after_a_panic_and_refuses_itself', async (t) => {
  const store = new Store(t);
  const a = store.open('a');
  const nested = await a.withLock('m', () => a.withLock('other', () => refused(a.withLock('m', () => {}), 'DEADLOCK')));
  assert.equal(nested.code, 'DEADLOCK');
  const thrown = new Error('no');
  await assert.rejects(a.withLock('m', () => { throw thrown; }), (e) => e === thrown);
  await assert.rejects(a.withLock('m', () => Promise.reject(thrown)), (e) => e === thrown);
  // What it is given, and what it gives back.
  assert.deepEqual(await a.withLock('m', now, async (token) => ({ token: token > 0 })), { token: true });
  assert.deepEqual((await a.locks()).locks, []);
});

test('with_lock_ends_as_its_function_ends', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const held = await b.lock('m', now);
  await refused(a.withLock('m', now, () => assert.fail('it runs')), 'LOCK_HELD');
  await refused(a.withLock('m', { timeout: 20 }, () => assert.fail('it runs')), 'TIMEOUT');
  const controller = new AbortController();
  const waiting = a.withLock('m', { signal: controller.signal }, () => assert.fail('it runs'));
  await untilQueued(b, 'm', 1);
  controller.abort();
  await refused(waiting, 'CANCELLED');
  await held.release();
  // The lock was lost while the function ran: its caller is told, and its error comes first if there is one.
  await refused(a.withLock('m', () => b.unlock('m', { force: true })), 'LEASE_LOST');
  const lost = a.withLock('m', async () => {
    await b.unlock('m', { force: true });
    throw new Error('mine');
  });
  await assert.rejects(lost, { message: 'mine' });
  assert.deepEqual((await b.locks()).locks, []);
});

test('threads_of_one_program_that_cross_are_no_false_deadlock', async (t) => {
  const store = new Store(t);
  const a = store.open('a');
  const [one, two] = [await a.lock('one', now), await a.lock('two', now)];
  const waiters = ['one', 'two'].map((name) => a.lock(name, { timeout: LONG }));
  await untilQueued(a, 'one', 1);
  await untilQueued(a, 'two', 1);
  await Promise.all([one.release(), two.release()]);
  for (const lock of await Promise.all(waiters)) await lock.release();
});

test('nested_with_locks_of_threads_that_cross_are_found', async (t) => {
  const store = new Store(t);
  const a = store.open('a');
  let inside = 0;
  const found = [];
  const cross = (outer, inner) =>
    a.withLock(outer, async () => {
      inside += 1;
      await until(() => inside === 2);
      await a.withLock(inner, () => {}).catch((error) => found.push(error.code));
    });
  await Promise.all([cross('one', 'two'), cross('two', 'one')]);
  assert.deepEqual(found, ['DEADLOCK'], 'the second waiter, and only that one');
});

test('two_agents_crosswise_are_told_at_once', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  let inside = 0;
  const cross = (pd, outer, inner) =>
    pd.withLock(outer, async () => {
      inside += 1;
      await until(() => inside === 2);
      return pd.withLock(inner, () => null).catch((error) => error);
    });
  const [first, second] = await Promise.all([cross(a, 'one', 'two'), cross(b, 'two', 'one')]);
  const error = first ?? second;
  assert.ok(error && !(first && second));
  assert.equal(error.code, 'DEADLOCK');
  assert.match(error.message, /(a|b) holds (one|two) and would wait for (one|two); (a|b) holds (one|two) and waits for (one|two)/);
  assert.deepEqual(error.fields.cycle.map((wait) => typeof wait.waitsFor), ['string', 'string']);
});

test('locks_of_two_scopes_do_not_block_and_say_so', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a', { scope: 'one' }), store.open('b', { scope: 'two' })];
  const heard = [];
  b.on('notice', (text) => heard.push(text));
  await a.lock('db-migrations', now);
  await b.lock('db-migrations', now);
  assert.ok(heard.length === 1 && heard[0].includes('in the scope one'), String(heard));
  assert.equal((await b.locks()).elsewhere, 1);
  assert.equal((await b.locks({ all: true })).locks.length, 2);
});

test('bad_names_and_leases_are_refused', async (t) => {
  const store = new Store(t);
  const a = store.open('a');
  for (const name of ['', 'two words', 'tab\there', '\u001b[31m', 'x'.repeat(129)]) {
    await refused(a.lock(name, now), 'INVALID');
  }
  for (const ttl of [0, -1, Number.MAX_VALUE, NaN]) await refused(a.lock('m', { ttl, ...now }), 'INVALID');
  assert.deepEqual((await a.locks({ all: true })).locks, []);
});

test('a_killed_holder_s_lock_is_the_next_waiter_s', async (t) => {
  const store = new Store(t);
  const pd = store.open('parent');
  const holder = store.child('hold', 'holder', { lock: 'm' });
  const first = await holder.said();
  const waiter = store.child('hold', 'waiter', { lock: 'm' });
  await untilQueued(pd, 'm', 1);
  await holder.kill();
  assert.ok((await waiter.said()) > first);
  const { agents } = await pd.agents();
  const { death } = agents.find((a) => a.id === 'holder');
  assert.ok(death.startsWith(`process ${holder.pid}`) && death.endsWith('is gone'), death);
});

test('a_stopped_holder_keeps_its_lock', async (t) => {
  const store = new Store(t);
  const pd = store.open('parent');
  const holder = store.child('hold', 'holder', { lock: 'm' });
  await holder.said();
  holder.stop();
  await refused(pd.lock('m', { timeout: 400 }), 'TIMEOUT');
  holder.resume();
  holder.go();
  assert.equal(await holder.said(), 'released');
  assert.ok(await pd.lock('m', { timeout: LONG }));
});

test('eight_waiters_are_served_in_order_of_arrival', async (t) => {
  const store = new Store(t);
  const pd = store.open('parent');
  const held = await pd.lock('m', now);
  let last = held.token;
  const waiters = [];
  for (let n = 0; n < 8; n++) {
    waiters.push(store.child('hold', `waiter-${n}`, { lock: 'm' }));
    await untilQueued(pd, 'm', n + 1);
  }
  await held.release();
  for (const waiter of waiters) {
    // Whoever comes later is refused, whatever happens between two hand-overs.
    assert.equal(await pd.lock('m', now), null, 'a newcomer barged in');
    const token = await waiter.said();
    assert.ok(token > last, 'served out of turn');
    last = token;
    waiter.go();
    assert.equal(await waiter.said(), 'released');
  }
});

test('a_waiter_killed_in_the_queue_is_passed_over', async (t) => {
  const store = new Store(t);
  const pd = store.open('parent');
  const held = await pd.lock('m', now);
  const killed = store.child('hold', 'killed', { lock: 'm' });
  await untilQueued(pd, 'm', 1);
  const next = store.child('hold', 'next', { lock: 'm' });
  await untilQueued(pd, 'm', 2);
  await killed.kill();
  await held.release();
  assert.ok((await next.said()) > held.token);
});

test('eight_processes_never_hold_it_together', async (t) => {
  const store = new Store(t);
  const pd = store.open('parent');
  const counter = join(store.root, 'count');
  writeFileSync(counter, '0');
  const told = { lock: 'm', count: 20, counter };
  const children = Array.from({ length: 8 }, (_, n) => store.child('turns', `agent-${n}`, told));
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) child.go();
  for (const child of children) assert.equal(await child.said(), 'done');
  assert.equal(readFileSync(counter, 'utf8'), '160');
  assert.deepEqual((await pd.locks({ all: true })).locks, [], 'nothing stays behind');
});

test('polling_hands_over_too', async (t) => {
  const store = new Store(t);
  const pd = store.open('parent');
  const env = { PORT_DADDY_WAKE: 'poll' };
  const holder = store.child('hold', 'a', { lock: 'm' }, { env });
  await holder.said();
  const waiter = store.child('hold', 'b', { lock: 'm' }, { env });
  await untilQueued(pd, 'm', 1);
  holder.go();
  assert.equal(await holder.said(), 'released');
  assert.ok((await waiter.said()) > 0);
});

test('a_shell_and_a_program_exclude_each_other', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await store.pd('shell', 'lock', 'm');
  assert.equal(await pd.lock('m', now), null);
  const waiting = pd.withLock('m', (token) => token);
  await untilQueued(pd, 'm', 1);
  await store.pd('shell', 'unlock', 'm');
  assert.ok((await waiting) > 0);
});
