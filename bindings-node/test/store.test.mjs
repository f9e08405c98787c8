// The file: how it comes to be, what is refused as one, and what happens when the disk won't play along.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { OURS, Store, emptyDatabase, refused, untilWaiting } from './setup.mjs';

const texts = ({ notes }) => notes.map((n) => n.text);

test('eight_processes_create_one_store', async (t) => {
  const store = new Store(t);
  const children = Array.from({ length: 8 }, (_, n) => store.child('create', `a${n}`));
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) child.go();
  for (const child of children) assert.equal(await child.said(), 'created');
  const all = texts(await store.open('looker').notes());
  assert.deepEqual(all.sort(), ['a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7']);
});

function assertPrivate(dir) {
  const mode = (path) => statSync(path).mode & 0o7777;
  assert.equal(mode(dir), 0o700, dir);
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) assertPrivate(path);
    else assert.equal(mode(path), 0o600, path);
  }
}

test('its_files_are_their_owner_s_alone_whatever_the_umask', async (t) => {
  const store = new Store(t);
  const before = process.umask(0);
  t.after(() => process.umask(before));
  await store.open('a').note('x');
  assertPrivate(dirname(store.db));
  const made = readdirSync(dirname(store.db));
  for (const part of ['port-daddy.db', '-wal', '-shm', '.wake', '.gate', '.live']) {
    assert.ok(made.some((name) => name.endsWith(part)), `${part} in ${made}`);
  }
});

test('a_directory_that_others_may_write_to_is_refused', async (t) => {
  const store = new Store(t);
  const dir = store.dir('open');
  chmodSync(dir, 0o777);
  const db = join(dir, 'pd.db');
  const error = await refused(store.open('a', { db }).note('x'), 'STORE_PERMISSION');
  assert.ok(error.message.includes(dir) && error.message.includes('0777'), error.message);
  assert.deepEqual(readdirSync(dir), [], 'nothing is left there');
  chmodSync(dir, 0o755);
  await store.open('a', { db }).note('x');
});

test('a_file_that_is_no_database_is_refused_and_left_alone', async (t) => {
  for (const text of ['hello\n', 'twenty words of prose '.repeat(1000)]) {
    const store = new Store(t);
    mkdirSync(dirname(store.db), { mode: 0o700 });
    writeFileSync(store.db, text);
    const error = await refused(store.open('a').note('x'), 'STORE_CORRUPT');
    assert.ok(error.message.includes(store.db), error.message);
    assert.equal(readFileSync(store.db, 'utf8'), text);
  }
});

test('another_program_s_database_is_refused_and_left_alone', async (t) => {
  for (const numbers of [{ applicationId: 7, version: 0 }, { applicationId: 7, version: 99 }, { applicationId: 0, version: 1 }]) {
    const store = new Store(t);
    emptyDatabase(store.db, numbers);
    const before = readFileSync(store.db);
    const error = await refused(store.open('a').note('x'), 'STORE_CORRUPT');
    assert.match(error.message, /another program/);
    assert.deepEqual(readFileSync(store.db), before);
  }
});

test('a_newer_version_s_file_is_refused', async (t) => {
  const store = new Store(t);
  emptyDatabase(store.db, { applicationId: OURS, version: 9999 });
  const error = await refused(store.open('a').note('x'), 'STORE_NEWER');
  assert.equal(error.fields.schema, 9999);
  assert.match(error.hint, /upgrade/);
});

test('a_creator_killed_at_any_moment_leaves_a_store_or_nothing', async (t) => {
  for (let round = 0; round < 8; round++) {
    const store = new Store(t);
    const creator = store.child('create', 'creator');
    assert.equal(await creator.said(), 'ready');
    creator.go();
    const moment = performance.now() + round;
    while (performance.now() < moment);
    await creator.kill();
    const pd = store.open('next');
    await pd.note('works');
    assert.ok((await pd.doctor()).every((check) => check.ok));
  }
});

test('the_place_is_the_call_s_the_variable_s_or_the_user_s', async (t) => {
  const store = new Store(t);
  const home = store.dir('home');
  const at = async (env) => {
    const all = { PORT_DADDY_DB: '', HOME: '', XDG_STATE_HOME: '', ...env };
    return store.child('place', 'a', { db: undefined }, { env: all }).said();
  };
  const nowhere = await at({});
  assert.equal(nowhere.code, 'STORE_LOCATION');
  if (process.platform === 'linux') {
    assert.equal((await at({ HOME: home })).db, join(home, '.local/state/port-daddy/port-daddy.db'));
    const state = join(home, 'state');
    assert.equal((await at({ HOME: home, XDG_STATE_HOME: state })).db, join(state, 'port-daddy/port-daddy.db'));
  }
  const named = join(home, 'a/b/c.db');
  assert.equal((await at({ HOME: home, PORT_DADDY_DB: named })).db, named);
  await refused(store.open('a', { db: '' }).status(), 'INVALID');
});

test('a_bad_variable_is_named', async (t) => {
  const store = new Store(t);
  for (const [name, value] of [['PORT_DADDY_SCOPE', 'two words'], ['PORT_DADDY_WAKE', 'loudly'], ['PORT_DADDY_AGENT', 'two words']]) {
    const error = await store.child('place', undefined, {}, { env: { [name]: value } }).said();
    assert.equal(error.code, 'INVALID');
    assert.ok(error.message.includes(name) && error.message.includes(value), error.message);
  }
});

test('an_empty_file_is_adopted', async (t) => {
  const store = new Store(t);
  mkdirSync(dirname(store.db), { mode: 0o700 });
  writeFileSync(store.db, '');
  await store.open('a').note('x');
  assert.ok((await store.open('b').doctor()).every((check) => check.ok));
});

test('a_client_that_could_not_open_can_when_the_ground_is_better', async (t) => {
  const store = new Store(t);
  mkdirSync(dirname(store.db), { mode: 0o700 });
  writeFileSync(store.db, 'this is no database, however long it may go on for');
  const pd = store.open('a');
  await refused(pd.note('x'), 'STORE_CORRUPT');
  await refused(pd.note('x'), 'STORE_CORRUPT');
  rmSync(store.db);
  assert.equal((await store.open('a').note('x')).openedSession, true);
});

test('a_directory_is_no_database', async (t) => {
  const store = new Store(t);
  const db = store.dir('some');
  const error = await refused(store.open('a', { db }).status(), 'INVALID');
  assert.match(error.message, /directory/);
});

test('a_relative_path_starts_where_the_handle_stands', async (t) => {
  const store = new Store(t);
  const cwd = store.dir('here');
  const { db } = await store.open('a', { db: 'state/pd.db', cwd }).whoami();
  assert.equal(db, join(cwd, 'state/pd.db'));
});

test('a_link_and_its_target_are_one_store', async (t) => {
  const store = new Store(t);
  const links = store.dir('links');
  await store.open('a').note('x');
  symlinkSync(store.db, join(links, 'there'));
  const linked = store.open('b', { db: join(links, 'there') });
  await linked.note('by link');
  assert.deepEqual(texts(await store.open('c').notes()), ['x', 'by link']);
  assert.deepEqual(readdirSync(links), ['there'], "SQLite's sidecars stand beside the target");
});

test('a_deleted_wake_page_delays_and_loses_nothing', async (t) => {
  const store = new Store(t);
  const [waiter, known] = [store.open('waiter'), store.open('known')];
  await known.status();
  const waiting = waiter.waitForSignal('x');
  await untilWaiting(known, 1);
  rmSync(`${store.db}.wake`);
  await store.open('fresh').publish('x', 1);
  assert.equal(await waiting, 1);
});

test('handles_of_one_copy_share_a_process', async (t) => {
  const store = new Store(t);
  const many = Array.from({ length: 20 }, (_, n) => store.open(`a${n}`));
  await Promise.all(many.map((pd, n) => pd.note(`note ${n}`)));
  assert.equal((await many[0].notes({ limit: 100 })).notes.length, 20);
});

test('a_closed_handle_says_so_whatever_it_is_asked', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const lock = await pd.lock('m');
  const sub = pd.subscribe('x', { as: 'worker' });
  await sub.ready;
  await pd.close();
  await pd.close();
  await pd[Symbol.asyncDispose]();
  for (const call of [
    pd.registerAgent(), pd.sendHeartbeat(), pd.unregisterAgent(), pd.agents(), pd.agent('a'),
    pd.begin({ purpose: 'x' }), pd.done(), pd.whoami(),
    pd.startSession('x'), pd.endSession(), pd.sessions(), pd.session('x'), pd.setPhase('x'),
    pd.note('x'), pd.notes(), pd.claimFiles('x'), pd.releaseFiles('x'), pd.fileClaims(), pd.whoOwns('x'),
    pd.publish('x', 1), pd.messages(), pd.channels(), pd.clearChannel('x'), pd.waitForSignal('x'),
    pd.lock('m'), pd.unlock('m'), pd.withLock('m', () => {}), pd.extendLock('m', 1), pd.locks(), pd.lockInfo('m'),
    pd.claim('x'), pd.release('x'), pd.services(), pd.waitForService('x'),
    pd.salvage(), pd.salvageClaim('b'), pd.salvageComplete('b'), pd.salvageAbandon('b'), pd.salvageDismiss('b'),
    pd.activity(), pd.status(), lock.release(), lock.extend(1), lock.info(), sub.ack(1),
  ]) {
    await refused(call, 'CLOSED');
  }
  await refused(async () => pd.subscribe('x').ready, 'CLOSED');
  // All that it held is free.
  assert.equal(await store.open('b').lockInfo('m'), null);
});

/** Runs child.mjs in mounts of its own, after `script`, which has the store's directory as `$dir`; null where none may mount. */
function childInMounts(t, store, script, role, args) {
  const by = process.getuid() === 0 ? ['-m'] : ['-Urm'];
  const tried = spawnSync('unshare', [...by, 'mount', '-t', 'tmpfs', 'none', store.dir('tried')]);
  if (tried.status !== 0) {
    t.skip('nothing may be mounted here');
    return null;
  }
  const child = fileURLToPath(new URL('./child.mjs', import.meta.url));
  const told = JSON.stringify({ db: store.db, cwd: store.dir('.'), agentId: 'a', ...args });
  const shell = ['sh', '-c', `${script} && exec "$0" "$@"`, process.execPath, child, role, told];
  return store.start('unshare', [...by, ...shell], { env: { dir: dirname(store.db) } });
}

test('on_a_read_only_disk_looking_works', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.note('before');
  await pd.close();
  const script = 'mount --bind "$dir" "$dir" && mount -o remount,ro,bind "$dir"';
  const child = childInMounts(t, store, script, 'refused');
  if (!child) return;
  // A program's client proves that it lives, for which it has to write; `pd` can look.
  const { error } = await child.said();
  assert.equal(error.code, 'STORE_READ_ONLY');
  assert.match(error.hint, /PORT_DADDY_DB/);
});

test('a_full_disk_loses_nothing_and_harms_nothing', async (t) => {
  const store = new Store(t);
  mkdirSync(dirname(store.db), { mode: 0o700 });
  const script = 'mount -t tmpfs -o size=8m,mode=0700 none "$dir"';
  const child = childInMounts(t, store, script, 'refused', { filler: join(dirname(store.db), 'filler') });
  if (!child) return;
  const { error, stored, found, again } = await child.said();
  assert.equal(error.code, 'STORE_FULL');
  assert.ok(error.message.includes(store.db), error.message);
  assert.equal(found, stored, 'all that was acknowledged, and no more');
  assert.equal(again, true);
});
