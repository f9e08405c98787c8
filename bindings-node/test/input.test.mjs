// Bad input: it is refused in words that name it, and nothing of it is stored.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PortDaddy, PortDaddyError } from 'port-daddy/client';

import { Store, refused, until, untilWaiting } from './setup.mjs';

/** Nothing at all is in the store but what the question itself leaves. */
async function assertEmpty(pd) {
  const { agents, sessions, claims, locks, channels, messages, ports, waiters } = await pd.status();
  const found = { agents: agents.active, sessions, claims, locks, channels, messages, ports, waiters };
  assert.deepEqual(found, { agents: 0, sessions: 0, claims: 0, locks: 0, channels: 0, messages: 0, ports: 0, waiters: [] });
  assert.deepEqual((await pd.notes({ all: true })).notes, []);
}

test('values_of_the_wrong_type_are_named', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const wrong = [
    ['note', pd.note(5), /text/],
    ['note', pd.note('x', { type: 5 }), /type/],
    ['note', pd.note('x', { session: ['s'] }), /session/],
    ['startSession', pd.startSession({ purpose: null }), /purpose/],
    ['startSession', pd.startSession({ purpose: 'x', files: 'a.ts' }), /files/],
    ['startSession', pd.startSession({ purpose: 'x', force: 'yes' }), /force/],
    ['claimFiles', pd.claimFiles([1]), /files/],
    ['publish', pd.publish(7, 1), /channel/],
    ['publish', pd.publish('x', 1, { ttl: 'soon' }), /ttl/],
    ['publish', pd.publish('x', 1, { keep: 1.5 }), /keep/],
    ['lock', pd.lock('m', { blocking: 'no' }), /blocking/],
    ['lock', pd.lock('m', { timeout: '1s' }), /timeout/],
    ['lock', pd.lock({}), /name/],
    ['claim', pd.claim('x', { port: '3000' }), /port/],
    ['claim', pd.claim('x', { range: [1] }), /range/],
    ['notes', pd.notes({ limit: -1 }), /limit/],
    ['notes', pd.notes({ limit: 'all' }), /limit/],
    ['agent', pd.agent(null), /id/],
    ['waitForSignal', pd.waitForSignal(undefined), /channel/],
    ['endSession', pd.endSession({ status: 'tired' }), /status/],
    ['agents', pd.agents('all'), /./],
  ];
  await Promise.allSettled(wrong.map(([, call]) => call));
  for (const [operation, call, option] of wrong) {
    const error = await refused(call, 'INVALID');
    assert.match(error.message, new RegExp(`^${operation}\\b`));
    assert.match(error.message, option);
    assert.equal(error.fields.operation, operation);
  }
  await assertEmpty(pd);
});

test('options_that_do_not_exist_are_named_with_those_that_do', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const unknown = [
    [pd.note('x', { foo: 1 }), 'foo', 'type'],
    [pd.registerAgent({ nmae: 'x' }), 'nmae', 'name'],
    [pd.startSession({ purpose: 'x', file: ['a'] }), 'file', 'files'],
    [pd.publish('x', 1, { TTL: 5 }), 'TTL', 'ttl'],
    [pd.lock('m', { nonblocking: true }), 'nonblocking', 'blocking'],
    [pd.claim('x', { ports: 5 }), 'ports', 'port'],
    [pd.release('x', { all_worktrees: true }), 'all_worktrees', 'allWorktrees'],
    [pd.notes({ since: 5 }), 'since', 'sinceMs'],
    [pd.messages({ channel: 'x' }), 'channel', 'patterns'],
    [pd.unlock('m', { forse: true }), 'forse', 'force'],
    [pd.activity({ kind: 'x' }), 'kind', 'type'],
    [pd.withLock('m', { wait: true }, () => assert.fail('it runs')), 'wait', 'blocking'],
  ];
  await Promise.allSettled(unknown.map(([call]) => call));
  for (const [call, name, near] of unknown) {
    const error = await refused(call, 'INVALID');
    assert.ok(error.message.includes(`"${name}"`) && error.message.includes(near), error.message);
    assert.equal(error.fields.option, name);
  }
  await assertEmpty(pd);
});

test('a_client_is_refused_at_once', () => {
  for (const [options, word] of [
    [{ agentID: 'x' }, 'agentID'],
    [{ agentId: 5 }, 'agentId'],
    [{ db: 5 }, 'db'],
    [{ global: 'yes' }, 'global'],
    [{ cwd: {} }, 'cwd'],
    ['a.db', ''],
  ]) {
    const thrown = (error) => error instanceof PortDaddyError && error.code === 'INVALID' && error.message.includes(word);
    assert.throws(() => new PortDaddy(options), thrown, JSON.stringify(options));
  }
});

test('where_a_client_stands_is_an_option', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  const here = await store.open('a', { cwd }).whoami();
  const named = await store.open('a', { cwd, scope: 'product' }).whoami();
  const global = await store.open('a', { cwd, global: true }).whoami();
  assert.deepEqual([here.scope, named.scope, global.scope], ['shop', 'product', 'global']);
  await refused(store.open('a', { scope: 'two words' }).whoami(), 'INVALID');
  await refused(store.open('two words').whoami(), 'INVALID');
});

test('a_payload_that_json_cannot_hold_is_refused_with_its_place', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const cycle = { down: {} };
  cycle.down.up = cycle;
  for (const [payload, place] of [
    [undefined, ''],
    [10n, ''],
    [{ a: { b: 10n } }, 'a.b'],
    [{ a: [1, NaN] }, 'a[1]'],
    [{ a: -Infinity }, 'a'],
    [() => {}, ''],
    [{ f: () => {} }, 'f'],
    [{ s: Symbol('s') }, 's'],
    [[1, undefined], '[1]'],
    [cycle, 'down'],
  ]) {
    const error = await refused(pd.publish('x', payload), 'INVALID');
    assert.ok(error.message.includes(place), error.message);
  }
  assert.deepEqual(await pd.messages(), []);
  // What JSON makes of itself is as it makes it.
  await pd.publish('x', { at: new Date(0), toJSON: undefined });
  assert.deepEqual((await pd.messages())[0].payload, { at: '1970-01-01T00:00:00.000Z' });
});

test('what_is_passed_is_taken_when_the_call_is_made', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const payload = { n: 1 };
  const published = pd.publish('x', payload);
  payload.n = 2;
  await published;
  assert.deepEqual((await pd.messages())[0].payload, { n: 1 });
});

test('text_arrives_as_it_was', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  for (const text of ['é\u0301', '👩‍💻', 'line\r\nline', '"quoted" \\', 'a\u2028b']) {
    assert.equal((await pd.note(text)).note.text, text);
  }
});

test('overlong_texts_are_refused_whole', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await refused(pd.note('é'.repeat((1 << 19) + 1)), 'INVALID');
  await refused(pd.note('a\u0000b'), 'INVALID');
  await refused(pd.startSession('x'.repeat(4097)), 'INVALID');
  await refused(pd.lock('m', { purpose: 'x'.repeat(4097) }), 'INVALID');
  await refused(pd.lock('x'.repeat(129)), 'INVALID');
  await refused(pd.publish('x'.repeat(129), 1), 'INVALID');
  await refused(pd.claim(`${'x'.repeat(65)}:y`), 'INVALID');
  await refused(pd.setPhase('x'.repeat(65)), 'INVALID');
  await refused(pd.claimFiles(Array(1001).fill('f')), 'INVALID');
  await assertEmpty(store.open('looker'));
});

test('an_aborted_wait_leaves_nothing', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const held = await a.lock('m');
  const controller = new AbortController();
  const { signal } = controller;
  const waits = [
    b.lock('m', { signal }),
    b.withLock('m', { signal }, () => assert.fail('it runs')),
    b.waitForSignal('x', { signal }),
    b.waitForService('api', { signal }),
  ];
  await untilWaiting(a, 3);
  const reason = new Error('changed my mind');
  controller.abort(reason);
  for (const wait of waits) assert.equal((await refused(wait, 'CANCELLED')).cause, reason);
  const status = await store.json('looker', 'status');
  assert.deepEqual(status.waiters, []);
  await held.release();
  assert.deepEqual((await store.json('looker', 'locks')).locks, []);
  // A signal that is aborted as the lock is granted: it is held, or it is free, and never held by nobody.
  for (let round = 0; round < 50; round++) {
    const controller = new AbortController();
    const lock = b.lock('r', { signal: controller.signal }).catch((error) => error);
    if (round % 2) setImmediate(() => controller.abort());
    else controller.abort();
    const got = await lock;
    if (got instanceof Error) assert.equal(got.code, 'CANCELLED');
    else await got.release();
    await until(async () => (await a.lockInfo('r')) === null, 'a free lock');
  }
});

test('half_characters_are_refused_where_they_are', async (t) => {
  const pd = new Store(t).open('a');
  const half = '😀'.slice(0, 1);
  await refused(pd.note(half), 'INVALID', /half a character/);
  const error = await refused(pd.publish('c', { list: ['whole', half] }), 'INVALID', /half a character/);
  assert.equal(error.fields.path, 'the payload.list[1]');
  await refused(pd.publish('c', { [half]: 1 }), 'INVALID', /half a character/);
  await pd.publish('c', '😀');
  assert.equal(await pd.waitForSignal('c'), '😀');
});

test('what_is_nested_too_deep_is_said_to_be', async (t) => {
  const pd = new Store(t).open('a');
  for (const depth of [101, 1000]) {
    let value = 1;
    for (let i = 0; i < depth; i++) value = [value];
    await refused(pd.publish('c', value), 'INVALID', /nested too deeply/);
  }
  await refused(pd.publish('c', new Number(NaN)), 'INVALID', /NaN/);
  assert.equal((await pd.messages()).length, 0);
});

test('names_of_every_object_are_no_options', async (t) => {
  const pd = new Store(t).open('a');
  for (const option of ['constructor', 'toString', '__proto__']) {
    const options = JSON.parse(`{"${option}": 1}`);
    assert.throws(() => pd.subscribe('x', options), { code: 'INVALID' }, option);
  }
  for (const options of [new Map(), new Error('x')]) await refused(pd.notes(options), 'INVALID', /must be an object/);
});

test('an_error_s_stack_leads_to_its_caller', async (t) => {
  const pd = new Store(t).open('a');
  async function buildStep() {
    await pd.endSession('done');
  }
  const error = await refused(buildStep(), 'NO_SESSION');
  assert.match(error.stack, /at async buildStep/);
  assert.match(error.stack, /at async PortDaddy\.endSession/);
});

test('a_closed_client_s_streams_and_heartbeats_say_so', async (t) => {
  const pd = new Store(t).open('a');
  await pd.close();
  for (const stream of [pd.subscribe('x'), pd.followNotes(), pd.followActivity()]) {
    const loop = async () => {
      for await (const _ of stream);
    };
    await refused(loop(), 'CLOSED');
  }
  assert.throws(() => pd.startHeartbeat(), { code: 'CLOSED' });
});

test('one_signal_may_end_many_waits', async (t) => {
  const pd = new Store(t).open('a');
  await pd.lock('m');
  const warned = [];
  const hear = (warning) => warned.push(warning);
  process.on('warning', hear);
  t.after(() => process.off('warning', hear));
  const ending = new AbortController();
  const waits = Array.from({ length: 40 }, () => refused(pd.lock('m', { signal: ending.signal }), 'CANCELLED'));
  const subs = Array.from({ length: 20 }, () => pd.subscribe('x', { signal: ending.signal }));
  await Promise.all(subs.map((sub) => sub.ready));
  ending.abort();
  await Promise.all(waits);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warned, []);
  assert.deepEqual((await pd.lockInfo('m')).waiters, []);
});
