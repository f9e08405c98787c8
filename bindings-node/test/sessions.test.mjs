// Sessions: how they begin, whose they are, how they end.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store, git, refused } from './setup.mjs';

test('a_session_remembers_where_it_began', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  const pd = store.open('api', { cwd });
  await pd.registerAgent({ name: 'Backend Agent', identity: 'payments:api' });
  const { session, claimed, conflicts, deadOverlaps } = await pd.startSession({ purpose: 'Build it', phase: 'reading' });
  assert.deepEqual([claimed, conflicts, deadOverlaps], [[], [], []]);
  assert.match(session.id, /^session-.{5}$/);
  assert.deepEqual([session.agent, session.agentName, session.identity], ['api', 'Backend Agent', 'payments:api']);
  assert.deepEqual([session.purpose, session.status, session.phase], ['Build it', 'active', 'reading']);
  assert.deepEqual([session.worktree, session.branch, session.scope], [cwd, 'main', 'shop']);
  assert.equal(session.commit, git(cwd, 'rev-parse', 'HEAD'));
  assert.ok(session.repository && session.startedMs > 0);
  assert.deepEqual([session.endedMs, session.salvagedFrom, session.notes], [null, null, 0]);

  const given = await pd.startSession({ purpose: 'Other', identity: 'payments:db' });
  assert.equal(given.session.identity, 'payments:db');
  const outside = (await store.open('b').startSession('Outside')).session;
  assert.deepEqual([outside.purpose, outside.repository, outside.branch, outside.scope], ['Outside', null, null, 'global']);
});

test('what_breaks_a_rule_stores_nothing', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  for (const bad of [
    { purpose: '' },
    { purpose: ' \n' },
    { purpose: 'x'.repeat(4097) },
    { purpose: 'x', files: ['ok', 'a['] },
    { purpose: 'x', files: Array(1001).fill('f') },
    { purpose: 'x', identity: 'a:b:c:d' },
    { purpose: 'x', phase: 'x'.repeat(65) },
  ]) {
    await refused(pd.startSession(bad), 'INVALID');
  }
  assert.deepEqual((await pd.sessions({ all: true })).sessions, []);
  await pd.startSession({ purpose: 'x'.repeat(4096) });
});

test('only_its_agent_ends_a_session_and_only_once', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const { id } = (await a.startSession({ purpose: 'Work', files: ['src'] })).session;
  const error = await refused(b.endSession({ session: id }), 'NOT_OWNER');
  assert.equal(error.fields.owner, 'a');
  await refused(b.setPhase('x', { session: id }), 'NOT_OWNER');
  await refused(b.note('x', { session: id }), 'NOT_OWNER');

  assert.equal((await a.setPhase('testing')).phase, 'testing');
  await refused(a.endSession({ status: 'active' }), 'INVALID');
  const ended = await a.done('All done');
  assert.deepEqual([ended.id, ended.status, ended.notes], [id, 'completed', 1]);
  assert.ok(ended.endedMs >= ended.startedMs);
  const detail = await a.session(id);
  assert.deepEqual([detail.session.id, detail.claims], [id, []]);
  assert.equal(detail.notes[0].text, 'All done');
  const again = await refused(a.endSession({ session: id }), 'NO_SESSION');
  assert.match(again.message, /completed/);
  await refused(a.done(), 'NO_SESSION');
});

test('a_session_ends_with_a_note_and_as_it_is_told', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.startSession('One');
  const completed = await pd.endSession('That was it');
  assert.deepEqual([completed.status, completed.notes], ['completed', 1]);
  const { id } = (await pd.startSession('Two')).session;
  const abandoned = await pd.endSession('No use', { status: 'abandoned' });
  assert.deepEqual([abandoned.id, abandoned.status, abandoned.notes], [id, 'abandoned', 1]);
  await pd.startSession('Three');
  assert.equal((await pd.endSession({ note: 'In one', status: 'completed' })).notes, 1);
});

test('a_session_is_found_by_any_unique_prefix', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const begun = await Promise.all(Array.from({ length: 40 }, (_, i) => pd.startSession(String(i))));
  const suffixes = begun.map(({ session }) => session.id.slice('session-'.length));
  for (const suffix of suffixes) {
    assert.equal((await pd.session(suffix)).session.id, `session-${suffix}`);
    const fits = suffixes.filter((other) => other.startsWith(suffix[0]));
    if (fits.length === 1) {
      assert.equal((await pd.session(suffix[0])).session.id, `session-${suffix}`);
    } else {
      const error = await refused(pd.session(suffix[0]), 'AMBIGUOUS');
      assert.equal(error.fields.candidates.length, Math.min(fits.length, 8));
    }
  }
  for (const none of ['', 'session-', 'zzzzzz', '%', 'session-_']) await refused(pd.session(none), 'NOT_FOUND');
});

test('lists_see_their_scope_and_count_the_rest', async (t) => {
  const store = new Store(t);
  const a = store.open('a', { cwd: store.repository('shop') });
  const b = store.open('b', { cwd: store.repository('blog') });
  for (const purpose of ['one', 'two', 'three']) await a.startSession({ purpose, identity: 'pay:x' });
  await b.startSession({ purpose: 'other', identity: 'pays' });
  await a.done();
  const list = async (filter) => {
    const { sessions, elsewhere } = await a.sessions(filter);
    return [sessions.map((s) => s.purpose).join(' '), elsewhere];
  };
  assert.deepEqual(await list(), ['one two three', 1]);
  assert.deepEqual(await list({ limit: 2 }), ['two three', 1]);
  assert.deepEqual(await list({ all: true }), ['one two three other', 0]);
  assert.deepEqual(await list({ status: 'completed' }), ['three', 0]);
  assert.deepEqual(await list({ agent: 'b' }), ['', 1]);
  assert.deepEqual(await list({ project: 'pay', all: true }), ['one two three', 0]);
  assert.deepEqual(await list({ project: 'pays', all: true }), ['other', 0]);
});

test('the_session_that_the_surroundings_name_comes_first', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const first = (await pd.startSession('first')).session.id;
  const second = (await pd.startSession('second')).session.id;
  assert.equal((await pd.setPhase('x')).id, second);
  const told = store.open('a', { session: first });
  assert.equal((await told.whoami()).session.id, first);
  assert.equal((await told.setPhase('y')).id, first);
  assert.equal((await told.setPhase('z', { session: second })).id, second);
});

test('leaving_abandons_what_is_unfinished', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  const { id } = (await a.startSession({ purpose: 'Work', files: ['src'] })).session;
  await a.unregisterAgent();
  const { session, claims } = await b.session(id);
  assert.deepEqual([session.status, claims], ['abandoned', []]);
});
