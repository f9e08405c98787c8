// Agents: what they say of themselves, what proves their lives, and what becomes of those that die.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { Store, refused, until } from './setup.mjs';

const now = { blocking: false };

/** An agent in a process of its own, at work. */
async function working(store, agent, lock) {
  const child = store.child('agent', agent, { lock });
  assert.equal(await child.said(), 'working');
  return child;
}

/** How an agent does, as a list shows it, which agrees with a look at it alone. */
async function seen(pd, id) {
  const { agents } = await pd.agents({ all: true });
  const listed = agents.find((a) => a.id === id);
  assert.equal(listed.state, (await pd.agent(id)).state);
  return listed;
}

test('what_an_agent_says_of_itself_is_kept_until_it_says_otherwise', async (t) => {
  const store = new Store(t);
  const [pd, other] = [store.open('a'), store.open('b')];
  const given = { name: 'Backend Agent', identity: 'payments:api', purpose: 'builds', type: 'ai' };
  const first = await pd.registerAgent(given);
  assert.deepEqual({ ...first, ...given }, first);
  assert.deepEqual([first.id, first.state, first.scope, first.harness], ['a', 'active', 'global', null]);
  assert.deepEqual([first.activeSessions, first.unfinished, first.death, first.diedMs], [0, false, null, null]);
  assert.ok(first.silentMs >= 0 && Math.abs(Date.now() - first.registeredMs) < 60_000);

  await pd.registerAgent({ purpose: 'tests' });
  const later = await other.agent('a');
  assert.deepEqual([later.name, later.identity, later.purpose, later.type], ['Backend Agent', 'payments:api', 'tests', 'ai']);
  assert.equal(later.registeredMs, first.registeredMs);
  assert.ok(later.seenMs >= first.seenMs);
  assert.equal(later.proofs.length, 1);
  const [proof] = later.proofs;
  assert.deepEqual([proof.kind, proof.pid, proof.thisBoot], ['instance', process.pid, true]);
  assert.ok(proof.live && proof.what && proof.start > 0 && proof.namespace >= 0);

  for (const bad of [
    { name: 'x'.repeat(129) },
    { identity: 'a:b:c:d' },
    { identity: 'pay*' },
    { purpose: 'x'.repeat(4097) },
    { type: 'x'.repeat(65) },
  ]) {
    await refused(other.registerAgent(bad), 'INVALID');
  }
  await refused(pd.agent('b'), 'NOT_FOUND');
  await refused(pd.agent('a b'), 'INVALID');
});

test('a_heartbeat_is_a_promise', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const beat = await pd.sendHeartbeat();
  assert.deepEqual([beat.id, beat.state], ['a', 'active']);
  // And one that is kept by a timer, which keeps no process alive.
  const before = (await store.open('looker').agent('a')).seenMs;
  const beats = pd.startHeartbeat({ interval: 1 });
  await until(async () => (await pd.agent('a')).seenMs > before, 'a heartbeat');
  beats.stop();
});

test('a_killed_program_is_found_dead_at_once_with_the_proof', async (t) => {
  const store = new Store(t);
  const looker = store.open('looker');
  const child = await working(store, 'builder', 'm');
  assert.equal((await seen(looker, 'builder')).state, 'active');
  child.stop();
  assert.equal((await seen(looker, 'builder')).state, 'active', "a stopped process isn't dead");
  child.resume();
  await child.kill();
  const { agents } = await looker.agents();
  assert.deepEqual(agents.map((a) => [a.id, a.state, a.unfinished]), [['builder', 'dead', true]]);
  const { death, diedMs } = agents[0];
  assert.ok(death.startsWith(`process ${child.pid} (`) && death.endsWith('is gone'), death);
  assert.ok(diedMs > 0);
  assert.ok(await looker.lock('m', now), 'its lock is free');
});

test('an_orderly_close_is_no_death', async (t) => {
  const store = new Store(t);
  const looker = store.open('looker');
  const child = await working(store, 'builder', 'm');
  child.go();
  assert.equal(await child.said(), 'closed');
  await child.kill();
  const agent = await seen(looker, 'builder');
  assert.deepEqual([agent.state, agent.proofs.length, agent.activeSessions], ['active', 0, 1]);
});

test('of_two_instances_of_an_agent_one_may_die', async (t) => {
  const store = new Store(t);
  const looker = store.open('looker');
  const survivor = await working(store, 'twin', 'kept');
  const victim = await working(store, 'twin', 'freed');
  await victim.kill();
  assert.equal((await seen(looker, 'twin')).state, 'active');
  assert.equal(await looker.lock('kept', now), null);
  assert.ok(await looker.lock('freed', now), "the dead instance's lock is free");
  survivor.go();
  assert.equal(await survivor.said(), 'closed');
  assert.equal((await seen(looker, 'twin')).state, 'active');
});

test('who_leaves_leaves_nothing_behind', async (t) => {
  const store = new Store(t);
  const [pd, looker] = [store.open('a'), store.open('looker')];
  await refused(pd.unregisterAgent(), 'NOT_FOUND');
  await pd.startSession({ purpose: 'p', files: ['src/*'] });
  await store.pd('a', 'lock', 'm');
  const guarded = await pd.lock('n', now);
  const left = await pd.unregisterAgent();
  assert.deepEqual([left.state, left.activeSessions], ['left', 0]);
  assert.equal(await looker.lockInfo('m'), null);
  assert.ok(await looker.lockInfo('n'), "what a program runs under a guard isn't cut short");
  assert.deepEqual((await looker.whoOwns('src/a.rs')).owners, []);
  const { sessions } = await looker.sessions({ all: true });
  assert.deepEqual(sessions.map((s) => s.status), ['abandoned']);
  assert.deepEqual((await looker.salvage()).items, [], 'it said goodbye: nothing to salvage');
  assert.deepEqual((await looker.agents()).agents, []);
  assert.deepEqual((await looker.agents({ left: true })).agents.map((a) => a.id), ['a']);
  await guarded.release();
  assert.equal((await looker.agent('a')).state, 'left', 'letting go is no sign of life');
  await pd.note('x');
  const back = await seen(looker, 'a');
  assert.deepEqual([back.state, back.proofs.length], ['active', 1], 'its handle vouches for it again');
});

test('agents_are_listed_by_scope_and_project', async (t) => {
  const store = new Store(t);
  const [shop, blog] = [store.repository('shop'), store.repository('blog')];
  for (const [id, cwd, identity] of [
    ['web', shop, 'payments:web'],
    ['api', shop, 'payments:api'],
    ['post', blog, 'blog'],
    ['odd', blog, 'pay'],
  ]) {
    await store.open(id, { cwd }).registerAgent({ identity });
  }
  const looker = store.open('looker', { cwd: shop });
  const here = await looker.agents();
  assert.deepEqual([here.agents.map((a) => a.id).sort(), here.elsewhere], [['api', 'web'], 2]);
  const all = await looker.agents({ all: true });
  assert.deepEqual([all.agents.length, all.elsewhere], [4, 0]);
  const project = async (project, all) => {
    const list = await looker.agents({ project, all });
    return [list.agents.length, list.elsewhere];
  };
  assert.deepEqual(await project('payments', false), [2, 0]);
  assert.deepEqual(await project('blog', false), [0, 1]);
  assert.deepEqual(await project('blog', true), [1, 0]);
  assert.deepEqual(await project('pay', true), [1, 0], 'a project is a whole segment');
});

test('each_program_without_a_name_is_an_agent_of_its_own', async (t) => {
  const store = new Store(t);
  const out = join(store.root, 'out');
  // Outside of whatever the tests run in: nothing around it says who calls.
  const child = fileURLToPath(new URL('./child.mjs', import.meta.url));
  const script = `told=$(printf '{"db":"%s","cwd":"%s","out":"%s","parent":%s}' "$1" "$2" "$3" $$); "$0" "$4" orphan "$told" </dev/null >"$3.log" 2>&1 &`;
  spawnSync('sh', ['-c', script, process.execPath, store.db, store.dir('.'), out, child], { env: store.env });
  await until(() => existsSync(out), 'its answer');
  const { one, other, note, agent, refused: lock } = JSON.parse(readFileSync(out, 'utf8'));
  assert.ok(one.agent.startsWith('sdk-') && other.agent.startsWith('sdk-') && one.agent !== other.agent);
  assert.equal(one.source, 'instance');
  assert.deepEqual([note.agent, agent.id, agent.type], [one.agent, one.agent, 'sdk']);
  assert.equal(lock, null);
});

test('a_command_that_only_looks_is_a_sign_of_life', async (t) => {
  const store = new Store(t);
  const looker = store.open('looker');
  await store.open('stranger').notes();
  await refused(looker.agent('stranger'), 'NOT_FOUND');
});

test('what_the_shell_sees_is_what_a_program_sees', async (t) => {
  const store = new Store(t);
  const pd = store.open('api');
  await pd.registerAgent({ name: 'API', identity: 'payments:api', type: 'ai' });
  const { agents } = await store.json('looker', 'agents');
  const [agent] = agents;
  assert.deepEqual([agents.length, agent.id, agent.name, agent.type, agent.state], [1, 'api', 'API', 'ai', 'active']);
  const begun = await pd.begin({ purpose: 'One call', identity: 'payments:web', name: 'Web', files: ['a.ts'] });
  assert.deepEqual([begun.session.purpose, begun.claimed.length], ['One call', 1]);
  const who = await pd.whoami();
  assert.deepEqual([who.agent, who.source, who.registered.name, who.session.id], ['api', 'named', 'Web', begun.session.id]);
  assert.deepEqual([who.scope, who.db], ['global', store.db]);
  assert.equal(typeof who.scopeKey, 'string');
  assert.equal((await pd.done('Finished')).status, 'completed');
});
