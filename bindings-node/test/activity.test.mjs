// History, and the state of the whole.
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { test } from 'node:test';

import { Store, refused } from './setup.mjs';

const types = (entries) => entries.map((e) => e.type);

test('what_was_done_is_listed_in_order_and_by_scope', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const { port } = await pd.claim('api');
  await pd.release('api');
  await store.open('b', { scope: 'elsewhere' }).claim('web');

  const { entries, elsewhere } = await pd.activity();
  assert.deepEqual([types(entries), elsewhere], [['port.claim', 'port.release'], 1]);
  const [first, second] = entries;
  assert.ok(first.seq < second.seq && first.atMs > 0);
  assert.equal(first.detail.port, port);
  assert.deepEqual([first.agent, first.agentName, first.subject, first.scope], ['a', 'a', 'api', 'global']);

  const all = async (filter) => (await pd.activity({ all: true, ...filter })).entries;
  assert.equal((await all()).length, 3);
  assert.equal((await all({ type: 'port.release' })).length, 1);
  assert.equal((await all({ type: 'port.' })).length, 3);
  assert.equal((await all({ type: 'port' })).length, 0);
  assert.equal((await all({ agent: 'b' }))[0].scope, 'elsewhere');
  assert.equal((await all({ limit: 1 }))[0].subject, 'web');
  assert.deepEqual(types(await all({ afterSeq: first.seq })), ['port.release', 'port.claim']);
  assert.deepEqual(await all({ sinceMs: Number.MAX_SAFE_INTEGER }), []);
  await refused(pd.activity({ type: '' }), 'INVALID');
});

test('a_follower_sees_each_entry_once_and_may_call', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.claim('first');
  const seen = [];
  for await (const { subject } of pd.followActivity()) {
    seen.push(subject);
    if (seen.length === 4) break;
    await pd.claim(`app${seen.length}`);
  }
  assert.deepEqual(seen, ['first', 'app1', 'app2', 'app3']);
  const controller = new AbortController();
  const waiting = pd.followActivity({ limit: 0, signal: controller.signal })[Symbol.asyncIterator]().next();
  await pd.status();
  controller.abort();
  assert.deepEqual(await waiting, { value: undefined, done: true });
});

test('the_state_of_the_whole_is_counted', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.claim('api');
  await pd.publish('x', 1);
  await pd.lock('m');
  await pd.startSession({ purpose: 'p', files: ['src'] });
  const status = await pd.status();
  assert.deepEqual(status.agents, { active: 1, stale: 0, dead: 0 });
  const { db, scope, ports, sessions, claims, locks, channels, messages, waiters, salvage } = status;
  assert.deepEqual([db, scope, ports, sessions, claims, locks], [store.db, 'global', 1, 1, 1, 1]);
  assert.deepEqual([channels, messages, waiters, salvage], [1, 1, [], 0]);
  assert.ok(status.seq > 0 && status.schema > 0 && status.sizeBytes + status.walBytes > 0);
  const said = await store.json('looker', 'status');
  assert.deepEqual([said.ports, said.locks, said.sessions], [1, 1, 1]);
});

test('the_doctor_finds_a_sound_store_sound_and_tells_why_another_is_not', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  // A store that isn't there yet isn't made by looking.
  assert.ok((await pd.doctor()).every((check) => check.ok && check.name !== 'integrity'));
  await pd.note('x');
  const checks = await pd.doctor();
  for (const name of ['sqlite', 'database', 'integrity', 'filesystem', 'permissions', 'writing', 'wake', 'caller', 'leftovers']) {
    const check = checks.find((c) => c.name === name);
    assert.ok(check?.ok && check.detail && check.hint === null, JSON.stringify(check ?? name));
  }
  const db = store.write('text.db', 'this is no database, however long it may go on for');
  chmodSync(db, 0o600);
  const sick = store.open('a', { db });
  const failed = (await sick.doctor()).filter((c) => !c.ok);
  assert.deepEqual(failed.map((c) => c.name), ['database']);
  assert.ok(failed[0].hint);
  // And no other operation works.
  await refused(sick.status(), 'STORE_CORRUPT');
});
