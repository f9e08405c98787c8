// Publish and subscribe, as their callers see it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { LONG, Store, next, refused, until, untilQueued, untilWaiting } from './setup.mjs';

const iterate = (sub) => sub[Symbol.asyncIterator]();

/** So many payloads that a subscription gives, which is closed then. */
async function take(sub, count) {
  const got = [];
  const items = iterate(sub);
  while (got.length < count) got.push((await next(items)).payload);
  await sub.close();
  return got;
}

/** Nothing more is at hand: what is published now is what comes next. */
async function replayed(pd, patterns, options) {
  const channel = patterns.replace('*', 'last');
  const sub = pd.subscribe(patterns, options);
  await sub.ready;
  await pd.publish(channel, 'last');
  const got = [];
  for await (const { payload } of sub) {
    if (payload === 'last') break;
    got.push(payload);
  }
  await pd.clearChannel(channel);
  return got;
}

test('who_subscribes_late_still_receives_the_newest_of_each_channel', async (t) => {
  const store = new Store(t);
  const [api, tests] = [store.open('api'), store.open('tests')];
  await api.publish('payments:schema', { version: 1 });
  await api.publish('payments:api', 'old');
  await api.publish('other:api', 'no');
  const newest = await api.publish('payments:api', { status: 'ready' });
  assert.deepEqual([newest.channel, newest.waiting, newest.seq > 0, newest.atMs > 0], ['payments:api', 0, true, true]);
  const sub = tests.subscribe('payments:*');
  const items = iterate(sub);
  const [schema, ready] = [await next(items), await next(items)];
  assert.deepEqual([schema.payload, ready.payload], [{ version: 1 }, { status: 'ready' }]);
  const { meta } = ready;
  assert.deepEqual([meta.seq, meta.channel, meta.agent, meta.agentName], [newest.seq, 'payments:api', 'api', 'api']);
  assert.deepEqual([meta.replayed, meta.senderState, meta.scope, meta.atMs], [true, 'active', 'global', newest.atMs]);
  assert.ok(meta.ageMs >= 0);
  await api.publish('payments:queries', 0);
  const live = await next(items);
  assert.deepEqual([live.payload, live.meta.replayed, live.meta.senderState], [0, false, null]);
  assert.deepEqual(await tests.waitForSignal('payments:api', { timeout: LONG }), { status: 'ready' });
  await sub.close();
});

test('every_json_value_arrives_as_it_was', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const sub = pd.subscribe('x', { replay: 'none' });
  const values = [0, false, '', null, [], { a: { b: [1.5, 'é\n\u0000'] } }, -0.5, 1e300, '\ud83d\ude00'];
  for (const value of values) await pd.publish('x', value);
  assert.deepEqual(await take(sub, values.length), values);
});

test('a_payload_keeps_its_members_order_and_its_digits', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const payload = { status: 'healthy', port: 3101, a: 0.30000000000000004, n: Number.MAX_SAFE_INTEGER, atMs: 1, snake_case: { in_it: 2 } };
  await pd.publish('x', payload);
  const [got] = await take(pd.subscribe('x'), 1);
  assert.equal(JSON.stringify(got), JSON.stringify(payload));
  const said = await store.run('pd', ['sub', 'x', '-q'], { agent: 'shell' });
  assert.equal(said.stdout, `${JSON.stringify(payload)}\n`);
});

test('replay_can_be_none_all_or_from_a_place', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const seqs = [];
  for (let n = 0; n < 4; n++) seqs.push((await pd.publish('x:1', n)).seq);
  assert.deepEqual(await replayed(pd, 'x:*', { replay: 'latest' }), [3]);
  assert.deepEqual(await replayed(pd, 'x:*', { replay: 'none' }), []);
  assert.deepEqual(await replayed(pd, 'x:*', { replay: 'all' }), [0, 1, 2, 3]);
  assert.deepEqual(await replayed(pd, 'x:*', { replay: seqs[1] }), [2, 3]);
  assert.throws(() => pd.subscribe('x', { replay: 'yesterday' }), { code: 'INVALID' });
});

test('a_signal_that_has_expired_or_is_a_day_old_is_no_signal', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.publish('x', 'short', { ttl: 1 });
  await until(async () => (await pd.messages({ patterns: 'x' })).length === 0, 'its end');
  await refused(pd.waitForSignal('x', { timeout: 5 }), 'TIMEOUT');
});

test('a_channel_keeps_its_newest_messages_only', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const published = [];
  for (let n = 0; n < 200; n++) published.push(pd.publish('x', n, { keep: 3 }), pd.publish('y', n));
  await Promise.all(published);
  const get = async (filter) => (await pd.messages(filter)).map((m) => m.payload);
  assert.deepEqual(await get({ patterns: 'x' }), [197, 198, 199]);
  assert.deepEqual(await get({ patterns: 'y', limit: 2 }), [198, 199]);
  assert.deepEqual(await get({ patterns: 'y', limit: 2, afterSeq: 0 }), [0, 1]);
  const [message] = await pd.messages({ patterns: 'x', limit: 1, all: true });
  assert.deepEqual([message.channel, message.agent, message.agentName, message.scope], ['x', 'a', 'a', 'global']);
  assert.ok(message.seq > 0 && message.atMs > 0);
  const { channels, elsewhere } = await pd.channels({ pattern: 'x' });
  assert.deepEqual([channels.length, elsewhere], [1, 0]);
  const [x] = channels;
  assert.deepEqual([x.name, x.count, x.lastSeq, x.lastMs, x.scope, x.waiting], ['x', 3, message.seq, message.atMs, 'global', 0]);
  assert.equal((await pd.channels()).channels.length, 2);
  assert.equal(await pd.clearChannel('y*'), 200);
  assert.deepEqual(await get({ patterns: 'y' }), []);
});

test('what_is_past_a_bound_is_refused_whole', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  let deep = 1;
  for (let i = 0; i < 101; i++) deep = [deep];
  // Two quotes make it one byte too many.
  for (const bad of [
    ['x', 'x'.repeat((1 << 20) - 1)],
    ['x', deep],
    ['x*', 1],
    ['x', 1, { ttl: 0 }],
    ['x', 1, { keep: 0 }],
  ]) {
    await refused(pd.publish(...bad), 'INVALID');
  }
  assert.deepEqual(await pd.messages(), []);
  await pd.publish('x', 'x'.repeat((1 << 20) - 2));
  assert.equal((await pd.messages()).length, 1);
  for (const bad of ['', 'a,,b', 'a b']) {
    await refused(async () => {
      const sub = pd.subscribe(bad);
      await Promise.all([sub.ready, next(iterate(sub))]);
    }, 'INVALID');
  }
});

test('nothing_is_lost_or_doubled_while_others_publish', async (t) => {
  const store = new Store(t);
  const pd = store.open('main');
  const each = 600;
  const publishers = ['p1', 'p2'].map((p) => store.child('publish', p, { channel: 'hot:x', count: each }));
  const all = store.child('collect', 's0', { patterns: 'hot:x', options: { replay: 'all' }, count: 2 * each });
  const latest = ['hot:x', 'hot:*', '*'].map((patterns, n) => store.child('collect', `s${n + 1}`, { patterns }));
  for (const child of [...publishers, all, ...latest]) assert.equal(await child.said(), 'ready');
  // These begin while the others publish.
  for (const child of [...publishers, all, ...latest]) child.go();
  for (const publisher of publishers) assert.equal(await publisher.said(), 'done');
  await pd.publish('hot:x', 'end');
  const stored = (await pd.messages({ limit: 10_000 })).map((m) => [m.seq, m.payload]);
  assert.equal(stored.pop()[1], 'end');
  assert.equal(stored.length, 2 * each);
  assert.deepEqual(await all.said(), stored);
  for (const child of latest) {
    const got = await child.said();
    // From its first on, without a gap.
    assert.deepEqual(got, stored.slice(stored.length - got.length));
  }
});

test('twenty_processes_are_woken_by_one_publish', async (t) => {
  const store = new Store(t);
  const pd = store.open('main');
  const others = Array.from({ length: 20 }, (_, n) => store.child('signal', `s${n}`, { channel: 'go:now' }));
  for (const other of others) assert.equal(await other.said(), 'ready');
  await untilWaiting(pd, 20);
  const { waiting } = await pd.publish('go:now', { n: 1 });
  assert.equal(waiting, 20);
  for (const other of others) assert.deepEqual(await other.said(), { n: 1 });
  await untilWaiting(pd, 0);
});

test('a_killed_subscriber_doesn_t_count', async (t) => {
  const store = new Store(t);
  const pd = store.open('main');
  const other = store.child('signal', 's', { channel: 'x' });
  assert.equal(await other.said(), 'ready');
  await untilWaiting(pd, 1);
  await other.kill();
  assert.equal((await pd.publish('x', 1)).waiting, 0);
});

test('a_wait_ends_by_time_cancelling_and_dropping', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const sub = pd.subscribe('x,y');
  const items = iterate(sub);
  const first = next(items);
  await untilWaiting(pd, 1);
  const [waiter] = (await pd.status()).waiters;
  assert.deepEqual([waiter.agent, waiter.kind, waiter.name, waiter.scope], ['a', 'channel', 'x,y', 'global']);
  assert.ok(waiter.sinceMs > 0);
  await pd.publish('y', 1);
  assert.equal((await first).payload, 1);
  await until(async () => (await pd.status()).waiters[0]?.name === 'x', 'the rest');
  await sub.close();
  assert.deepEqual((await pd.status()).waiters, []);
  assert.deepEqual(await items.next(), { value: undefined, done: true });
  await refused(pd.waitForSignal('x', { timeout: 5 }), 'TIMEOUT');
  const controller = new AbortController();
  const waiting = pd.waitForSignal('x', { signal: controller.signal });
  await untilWaiting(pd, 1);
  controller.abort('enough');
  const ended = await refused(waiting, 'CANCELLED');
  assert.equal(ended.cause, 'enough');
  assert.deepEqual((await pd.status()).waiters, []);
});

test('a_durable_position_goes_on_where_it_was_acknowledged', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const how = { as: 'worker', replay: 'all' };
  const { seq: first } = await pd.publish('x', 0);
  for (let n = 1; n < 4; n++) await pd.publish('x', n);
  const sub = pd.subscribe('x', how);
  const items = iterate(sub);
  assert.equal((await next(items)).payload, 0);
  await sub.ack((await next(items)).meta.seq);
  assert.equal((await next(items)).payload, 2);
  await sub.close();
  const again = pd.subscribe('x', how);
  const rest = iterate(again);
  assert.deepEqual([(await next(rest)).payload, (await next(rest)).payload], [2, 3], 'what was not acknowledged comes again');
  await again.ack(first);
  await again.close();
  assert.deepEqual(await take(pd.subscribe('x', how), 2), [2, 3], 'it never moves back');
  const none = pd.subscribe('x');
  await refused(none.ack(1), 'INVALID');
  await none.close();
  for (let n = 4; n < 9; n++) await pd.publish('x', n, { keep: 2 });
  const late = pd.subscribe('x', how);
  const warned = once(late, 'warning');
  assert.deepEqual(await take(late, 2), [7, 8]);
  assert.equal((await warned)[0].code, 'pruned');
});

test('agents_that_wait_for_each_other_are_told_of_the_cycle', async (t) => {
  const store = new Store(t);
  const sdk = store.open('agentB');
  await sdk.registerAgent();
  await store.open('agentA').registerAgent();
  const first = store.start('pd', ['sub', 'agentB:ready', '-q'], { agent: 'agentA' });
  await untilWaiting(sdk, 1);
  // In a program, where one agent does several things at once, it is a warning.
  const program = sdk.subscribe('agentA:x');
  const [warning] = await Promise.all([once(program, 'warning'), ignore(iterate(program).next())]).then(([args]) => args);
  assert.equal(warning.code, 'deadlock');
  assert.match(warning.text, /agentA waits for agentB:ready/);
  await program.close();
  const strict = sdk.subscribe('agentA:x', { failOnDeadlock: true });
  const error = await refused(next(iterate(strict)), 'DEADLOCK');
  assert.deepEqual(error.fields.cycle.map((wait) => wait.agent), ['agentB', 'agentA']);
  await sdk.publish('agentB:ready', 2);
  assert.equal(await first.line(), '2');
});

/** Lets a wait be cut short by the end of its stream. */
function ignore(waiting) {
  waiting.catch(() => {});
}

test('a_killed_waiter_closes_no_cycle', async (t) => {
  const store = new Store(t);
  const b = store.open('agentB');
  await b.registerAgent();
  const other = store.start('pd', ['sub', 'agentB:ready', '-q'], { agent: 'agentA' });
  await untilWaiting(b, 1);
  const strict = { failOnDeadlock: true };
  await refused(next(iterate(b.subscribe('agentA:ready', strict))), 'DEADLOCK');
  await other.kill();
  const sub = b.subscribe('agentA:ready', strict);
  const waiting = next(iterate(sub));
  await untilWaiting(b, 1);
  await b.publish('agentA:ready', 1);
  assert.equal((await waiting).payload, 1);
});

test('a_channel_that_could_be_several_agents_closes_no_cycle', async (t) => {
  const store = new Store(t);
  const [a, b, twin] = [store.open('a'), store.open('b'), store.open('twin')];
  await a.registerAgent({ identity: 'pay:web' });
  await b.registerAgent({ identity: 'pay:api' });
  const first = store.start('pd', ['sub', 'pay:api', '-q'], { agent: 'a' });
  await untilWaiting(b, 1);
  const strict = { failOnDeadlock: true };
  await refused(next(iterate(b.subscribe('pay:web:done', strict))), 'DEADLOCK');
  await twin.registerAgent({ identity: 'pay:web' });
  const waiting = next(iterate(b.subscribe('pay:web:done', strict)));
  await untilWaiting(b, 2);
  await b.publish('pay:web:done', 1);
  assert.equal((await waiting).payload, 1);
  await b.publish('pay:api', 2);
  assert.equal(await first.line(), '2');
});

test('the_death_of_a_channel_s_owner_is_told', async (t) => {
  const store = new Store(t);
  const pd = store.open('tests');
  const owner = store.child('live', 'database-builder', { identity: 'pay:db' });
  assert.equal(await owner.said(), 'ready');
  const sub = pd.subscribe('pay:db:done', { purpose: 'the schema' });
  const warned = once(sub, 'warning');
  const waiting = next(iterate(sub));
  await untilWaiting(pd, 1);
  await owner.kill();
  const [{ code, text }] = await warned;
  assert.equal(code, 'owner_gone');
  assert.ok(text.startsWith('database-builder, whose channel pay:db:done is, is dead: process'), text);
  // And it goes on waiting.
  await pd.publish('pay:db:done', 1);
  assert.equal((await waiting).payload, 1);
  await sub.close();
  const strict = { failIfGone: true };
  await refused(next(iterate(pd.subscribe('database-builder:x', strict))), 'OWNER_GONE');
  // Whatever was signalled before it died still counts.
  await pd.publish('database-builder:x', 1);
  assert.deepEqual(await take(pd.subscribe('database-builder:x', strict), 1), [1]);
});

test('a_channel_of_another_scope_is_pointed_out_once', async (t) => {
  const store = new Store(t);
  const [pd, there] = [store.open('a'), store.open('b', { scope: 'shop' })];
  await there.publish('build:done', 1);
  const sub = pd.subscribe('build:*');
  const warnings = [];
  sub.on('warning', (warning) => warnings.push(warning));
  const first = next(iterate(sub));
  await until(() => warnings.length > 0, 'the warning');
  assert.equal(warnings[0].code, 'other_scope');
  assert.match(warnings[0].text, /PORT_DADDY_SCOPE=shop/);
  await pd.publish('build:done', 2);
  assert.equal((await first).payload, 2);
  assert.equal(warnings.length, 1);
  assert.equal((await pd.channels()).elsewhere, 1);
  await sub.close();
});

test('a_handler_hears_each_message_and_then_the_close', async (t) => {
  const store = new Store(t);
  const [pd, other] = [store.open('a'), store.open('b')];
  const sub = pd.subscribe(['x', 'y:*']);
  const heard = [];
  sub.on('message', (payload, meta) => heard.push([meta.channel, payload]));
  await sub.ready;
  await other.publish('x', 1);
  await other.publish('y:z', 2);
  await until(() => heard.length === 2, 'both');
  assert.deepEqual(heard, [['x', 1], ['y:z', 2]]);
  const closed = once(sub, 'close');
  await sub.close();
  await closed;
  await sub.close();
  await other.publish('x', 3);
  await pd.status();
  assert.equal(heard.length, 2);
});

test('a_handler_that_rejects_is_an_error_of_the_subscription', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.publish('x', 1);
  const sub = pd.subscribe('x');
  const failed = once(sub, 'error');
  sub.on('message', async () => {
    throw new Error('in the handler');
  });
  assert.equal((await failed.catch((error) => [error]))[0].message, 'in the handler');
  await sub.close();
});

test('a_subscription_ends_with_its_signal', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const controller = new AbortController();
  const sub = pd.subscribe('x', { signal: controller.signal });
  const closed = once(sub, 'close');
  const waiting = iterate(sub).next();
  await untilWaiting(pd, 1);
  controller.abort();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  await closed;
  assert.deepEqual((await pd.status()).waiters, []);
  await refused(pd.subscribe('x', { signal: AbortSignal.abort() }).ready, 'CANCELLED');
});

test('a_subscription_goes_on_after_a_loop_that_was_left', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const sub = pd.subscribe('x', { replay: 'none' });
  await Promise.all([1, 2, 3].map((n) => pd.publish('x', n)));
  const heard = [];
  for (let round = 0; round < 3; round++) {
    for await (const { payload } of sub) {
      heard.push(payload);
      break;
    }
  }
  assert.deepEqual(heard, [1, 2, 3]);
  await sub.close();
});

test('the_shell_and_a_program_hear_each_other', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const waiting = pd.waitForSignal('build:done', { timeout: LONG });
  await untilWaiting(pd, 1);
  await store.pd('shell', 'pub', 'build:done', '{"status":"ready"}');
  assert.deepEqual(await waiting, { status: 'ready' });
  const { channels } = await store.json('shell', 'channels');
  assert.deepEqual([channels[0].name, channels[0].count], ['build:done', 1]);
});

test('a_handler_is_no_part_of_the_lock_it_was_registered_under', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  let handled;
  await pd.withLock('deploy', async () => {
    handled = new Promise((resolve) => {
      pd.subscribe('x').on('message', () => resolve(pd.withLock('deploy', () => 'its turn')));
    });
    await pd.publish('x', 1);
    // It waits while this runs, instead of being told that it never could.
    await untilQueued(pd, 'deploy', 1);
  });
  assert.equal(await handled, 'its turn');
});
