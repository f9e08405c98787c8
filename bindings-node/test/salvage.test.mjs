// Salvage: the work of the dead, and who takes it over.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store, refused } from './setup.mjs';

/** A killed agent `db` that left work in `cwd`. */
async function killed(store, cwd) {
  const child = store.child('work', 'db', { cwd });
  assert.equal(await child.said(), 'working');
  await child.kill();
}

test('the_work_of_a_killed_agent_is_listed_claimed_and_completed', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('app');
  store.write('app/schema.sql', 'create table payments');
  await killed(store, cwd);
  const [heir, late, looker] = [store.open('heir', { cwd }), store.open('late', { cwd }), store.open('looker')];

  const { items, elsewhere } = await heir.salvage({ project: 'payments' });
  assert.deepEqual([items.length, elsewhere], [1, 0]);
  const [item] = items;
  assert.deepEqual([item.agent, item.agentName, item.identity, item.purpose], ['db', 'Database Agent', 'payments:db', null]);
  assert.match(item.death, /is gone/);
  assert.ok(item.diedMs > 0);
  assert.deepEqual([item.state, item.claimedBy, item.claimedByName, item.claimedMs], ['open', null, null, null]);
  assert.equal(item.sessions[0].session.purpose, 'Schema for payments');
  assert.equal(item.claims[0].pattern, 'migrations/*');
  assert.equal(item.notes.length, 1);
  const [work] = item.work;
  assert.deepEqual([work.worktree, work.branch, work.uncommitted], [cwd, 'main', ['?? schema.sql']]);
  assert.deepEqual([work.stashes, work.problem, work.truncated], [[], null, false]);
  assert.ok(work.commit && Array.isArray(work.unpushed));
  assert.deepEqual((await heir.salvage({ project: 'pay' })).items, []);
  const outside = await looker.salvage();
  assert.deepEqual([outside.items.length, outside.elsewhere], [0, 1]);
  assert.equal((await looker.salvage({ all: true })).items.length, 1);

  const briefing = await heir.salvageClaim('db');
  assert.equal(briefing.item.sessions[0].session.agent, 'db');
  assert.deepEqual([briefing.sessions[0].agent, briefing.sessions[0].salvagedFrom], ['heir', 'db']);
  for (const said of ['Database Agent (db)', 'payments:db', 'Schema for payments', 'migrations/*', '?? schema.sql', 'Branch: main']) {
    assert.ok(briefing.text.includes(said), `${said} is missing in\n${briefing.text}`);
  }
  assert.equal((await heir.fileClaims()).claims[0].agent, 'heir');
  assert.deepEqual((await heir.salvage()).items, []);
  const [claimed] = (await heir.salvage({ all: true })).items;
  assert.deepEqual([claimed.state, claimed.claimedBy], ['claimed', 'heir']);

  const error = await refused(late.salvageClaim('db'), 'NOT_SALVAGEABLE');
  assert.match(error.message, /claimed by heir/);
  await refused(late.salvageComplete('db'), 'NOT_OWNER');
  await refused(late.salvageAbandon('db'), 'NOT_OWNER');
  await refused(late.salvageDismiss('db'), 'NOT_SALVAGEABLE');

  const done = await heir.salvageComplete('db', 'migrated');
  assert.deepEqual([done.state, done.sessions[0].session.status, done.notes.at(-1).text], ['completed', 'completed', 'migrated']);
  assert.deepEqual((await heir.fileClaims({ all: true })).claims, []);
  await refused(heir.salvageComplete('db'), 'NOT_FOUND');
});

test('of_ten_who_claim_at_once_exactly_one_wins', async (t) => {
  const store = new Store(t);
  await killed(store, store.dir('work'));
  const children = Array.from({ length: 10 }, (_, n) => store.child('take', `heir-${n}`, { agent: 'db' }));
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) child.go();
  const said = [];
  for (const child of children) said.push(await child.said());
  const winner = said.indexOf(1);
  said.forEach((error, n) => {
    if (n === winner) return;
    assert.deepEqual([error.code, error.fields.claimedBy], ['NOT_SALVAGEABLE', `heir-${winner}`]);
    assert.ok(Number.isInteger(error.fields.claimedMs));
  });
});

test('only_the_dead_are_salvaged', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  await a.startSession('Alive');
  const alive = await refused(b.salvageClaim('a'), 'NOT_SALVAGEABLE');
  assert.match(alive.message, /a is alive: process/);
  await refused(b.salvageDismiss('a'), 'NOT_SALVAGEABLE');
  const self = await refused(a.salvageClaim('a'), 'NOT_SALVAGEABLE');
  assert.match(self.message, /the caller itself/);
  await refused(b.salvageClaim('nobody'), 'NOT_FOUND');
  await refused(b.salvageClaim('not an id'), 'INVALID');
  await refused(b.salvageComplete('a'), 'NOT_FOUND');
  assert.deepEqual((await b.salvage()).items, []);
});

test('abandoned_work_is_open_again_and_dismissed_work_is_not', async (t) => {
  const store = new Store(t);
  await killed(store, store.dir('work'));
  const [a, b] = [store.open('a'), store.open('b')];
  await a.salvageClaim('db');
  const back = await a.salvageAbandon('db');
  assert.deepEqual([back.state, back.sessions[0].session.agent], ['open', 'db']);
  assert.equal((await b.salvage()).items.length, 1);
  await b.salvageClaim('db');
  await b.salvageAbandon('db');
  const dismissed = await a.salvageDismiss('db');
  assert.deepEqual([dismissed.state, dismissed.sessions[0].session.status], ['dismissed', 'abandoned']);
  assert.deepEqual(dismissed.claims, []);
  await refused(b.salvageClaim('db'), 'NOT_SALVAGEABLE');
  // The files are free again.
  await b.startSession('anew');
  const claimed = await b.claimFiles('work/migrations/*');
  assert.deepEqual([claimed.conflicts, claimed.deadOverlaps], [[], []]);
});

test('a_claimer_that_dies_leaves_what_it_inherited', async (t) => {
  const store = new Store(t);
  await killed(store, store.dir('work'));
  const heir = store.child('take', 'heir', { agent: 'db' });
  assert.equal(await heir.said(), 'ready');
  heir.go();
  assert.equal(await heir.said(), 1);
  await heir.kill();
  const last = store.open('last');
  const { items } = await last.salvage({ project: 'payments', all: true });
  assert.deepEqual(items.filter((i) => i.state === 'open').map((i) => i.agent), ['heir']);
  const taken = await last.salvageClaim('heir');
  assert.equal(taken.sessions[0].purpose, 'Schema for payments');
  await refused(last.salvageComplete('db'), 'NOT_FOUND');
  await last.salvageComplete('heir');
  assert.equal((await last.sessions({ all: true, status: 'completed' })).sessions.length, 1);
});

test('an_agent_that_comes_back_goes_on_or_is_told_once', async (t) => {
  const store = new Store(t);
  await killed(store, store.dir('.'));
  const heir = store.open('heir');
  assert.equal((await heir.salvage()).items.length, 1);
  // The same agent starts again: its work is its own.
  const first = store.open('db');
  await first.note('back');
  assert.deepEqual(first.takeNotices(), []);
  assert.deepEqual((await heir.salvage()).items, []);
  await refused(heir.salvageClaim('db'), 'NOT_SALVAGEABLE');
  await first.endSession();
  await first.close();

  await killed(store, store.dir('.'));
  await heir.salvageClaim('db');
  const again = store.open('db');
  await again.sendHeartbeat();
  const told = again.takeNotices();
  assert.ok(told.length === 1 && told[0].includes('your work was salvaged by heir'), String(told));
  await again.sendHeartbeat();
  assert.deepEqual(again.takeNotices(), []);
  // Given back, it goes to the agent that lives.
  const back = await heir.salvageAbandon('db');
  assert.deepEqual([back.state, back.sessions[0].session.agent], ['returned', 'db']);
  assert.deepEqual((await heir.salvage()).items, []);
});

test('the_shell_sees_who_died_in_a_program', async (t) => {
  const store = new Store(t);
  await killed(store, store.dir('.'));
  assert.match(await store.pd('looker', 'agents'), /^Dead db "Database Agent" \(payments:db, .*\) \[stale\]$/m);
  assert.match(await store.pd('looker', 'salvage', '--project', 'payments'), /Schema for payments/);
});
