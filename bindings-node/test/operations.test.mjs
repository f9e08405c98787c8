// That every operation and every error is there: docs/parity.md, the addon and the client agree.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import * as client from 'port-daddy/client';

import { OURS, Store, emptyDatabase, occupied, refused } from './setup.mjs';

const { PortDaddy, PortDaddyError, Subscription, Lock, ERROR_CODES } = client;
const require = createRequire(import.meta.url);
const packages = join(import.meta.dirname, '..', 'node_modules');

/** The native side, from the platform package that was installed. */
function addon() {
  const { optionalDependencies, version } = JSON.parse(readFileSync(join(packages, 'port-daddy', 'package.json'), 'utf8'));
  for (const name of Object.keys(optionalDependencies)) {
    try {
      return { native: require(name), version };
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  throw new Error('no platform package is installed');
}

const methods = (type) =>
  Reflect.ownKeys(type.prototype).filter((name) => typeof name === 'string' && name !== 'constructor' && !name.startsWith('_'));

test('parity_the_addon_and_the_client_agree', () => {
  const table = readFileSync(join(process.env.PD_TEST_ROOT, 'docs', 'parity.md'), 'utf8');
  const rows = table.split('\n').filter((line) => line.startsWith('|')).map((line) => line.split('|').map((cell) => cell.trim()));
  const column = rows[0].indexOf('JavaScript');
  const cells = rows.slice(2).map((row) => row[column]);
  assert.ok(cells.length > 40 && cells.every((cell) => /^(–|not yet|(tested|exists) `.+`)$/.test(cell)), cells.join('\n'));
  const named = new Set(cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name)));

  const reached = new Set();
  for (const name of named) {
    if (name === 'new PortDaddy') continue;
    const has = [PortDaddy, Subscription, Lock].some((type) => typeof type.prototype[name] === 'function');
    assert.ok(has, `${name} is in docs/parity.md alone`);
    reached.add(name);
  }
  // A convenience of this language, no operation of the store.
  const extra = new Set(['startHeartbeat']);
  const missing = methods(PortDaddy).filter((name) => !reached.has(name) && !extra.has(name));
  assert.deepEqual(missing, [], 'missing in docs/parity.md');

  // What the native side can do is reachable: under its own name, or as a part of a stream.
  const parts = { next: Subscription, endStream: Subscription, ack: Subscription, releaseLock: Lock };
  const { native } = addon();
  const operations = native.operations();
  assert.equal(new Set(operations).size, operations.length);
  const unreached = operations.filter((name) => !(name in parts) && typeof PortDaddy.prototype[name] !== 'function');
  assert.deepEqual(unreached, [], 'the addon can, the client cannot');
  const made = new Set(['takeNotices', 'startHeartbeat', 'withLock']);
  const unknown = methods(PortDaddy).filter((name) => !operations.includes(name) && !made.has(name));
  assert.deepEqual(unknown, [], 'the client promises, the addon cannot');
});

test('the_addon_is_of_the_package_s_version', () => {
  const { native, version } = addon();
  assert.equal(native.version(), version);
});

test('esm_and_commonjs_are_one', () => {
  const required = require('port-daddy/client');
  assert.equal(required.PortDaddy, PortDaddy);
  assert.equal(required.PortDaddyError, PortDaddyError);
});

/** How each kind is provoked, and what its error carries. */
const provocations = {
  INVALID: async ({ a }) => [a.note(''), []],
  AMBIGUOUS: async ({ a }) => {
    // More sessions than there are first letters.
    await Promise.all(Array.from({ length: 40 }, () => a.startSession('x')));
    const ids = (await a.sessions({ limit: 100 })).sessions.map((s) => s.id.slice('session-'.length)[0]);
    return [a.session(ids.find((letter, i) => ids.indexOf(letter) !== i)), ['candidates']];
  },
  NO_SESSION: async ({ a }) => [a.endSession(), []],
  NOT_FOUND: async ({ a }) => [a.agent('nobody'), []],
  LOCK_HELD: async ({ a, b }) => {
    await a.lock('m');
    return [b.withLock('m', { blocking: false }, () => {}), []];
  },
  NOT_HELD: async ({ a }) => [a.unlock('m'), []],
  NOT_OWNER: async ({ a, b }) => {
    await a.lock('m');
    return [b.unlock('m'), ['holder']];
  },
  LEASE_LOST: async ({ a, b }) => {
    const lock = await a.lock('m');
    await b.unlock('m', { force: true });
    return [lock.release(), []];
  },
  PORT_TAKEN: async ({ a, b, t }) => {
    const { port, close } = await occupied();
    t.after(close);
    await a.claim('api', { port });
    return [b.claim('web', { port }), ['identity', 'agent']];
  },
  INBOX_FULL: async ({ a, b }) => {
    await b.registerAgent();
    await Promise.all(Array.from({ length: 1000 }, (_, n) => a.send('b', String(n))));
    return [a.send('b', 'one too many'), ['agent', 'waiting']];
  },
  PORTS_EXHAUSTED: async ({ a, b, t }) => {
    const { port, close } = await occupied();
    t.after(close);
    return [b.claim('web', { range: [port, port] }), []];
  },
  NOT_SALVAGEABLE: async ({ a, b }) => {
    await a.startSession('alive');
    return [b.salvageClaim('a'), []];
  },
  OWNER_GONE: async ({ a, b }) => {
    await a.registerAgent();
    await a.unregisterAgent();
    const sub = b.subscribe('a:ready', { failIfGone: true });
    return [sub[Symbol.asyncIterator]().next(), []];
  },
  TIMEOUT: async ({ a, b }) => {
    await a.lock('m');
    return [b.lock('m', { timeout: 1 }), ['holder']];
  },
  DEADLOCK: async ({ a }) => [a.withLock('m', () => a.withLock('m', () => {})), []],
  CANCELLED: async ({ a }) => [a.waitForSignal('x', { signal: AbortSignal.timeout(1) }), []],
  CLOSED: async ({ a }) => {
    await a.close();
    return [a.status(), []];
  },
  STORE_PERMISSION: async ({ store }) => {
    const dir = store.dir('open');
    const { chmodSync } = await import('node:fs');
    chmodSync(dir, 0o777);
    return [store.open('a', { db: join(dir, 'pd.db') }).status(), ['path']];
  },
  STORE_CORRUPT: async ({ store }) => {
    const db = store.write('text.db', 'twenty words of prose '.repeat(1000));
    return [store.open('a', { db }).status(), ['path']];
  },
  STORE_NEWER: async ({ store }) => {
    const db = join(store.root, 'newer', 'pd.db');
    emptyDatabase(db, { applicationId: OURS, version: 9999 });
    return [store.open('a', { db }).status(), ['schema']];
  },
  STORE_IO: async ({ store }) => [store.open('a', { db: join(store.write('file'), 'pd.db') }).status(), ['path']],
  STORE_LOCATION: async ({ store, t }) => {
    const names = ['HOME', 'XDG_STATE_HOME', 'PORT_DADDY_DB'];
    const before = names.map((name) => process.env[name]);
    for (const name of names) delete process.env[name];
    t.after(() => names.forEach((name, i) => before[i] !== undefined && (process.env[name] = before[i])));
    return [store.open('a', { db: undefined }).status(), []];
  },
};

/** Kinds that take more than a call: told where they are tested, or why they are not from here. */
const elsewhere = {
  NO_AGENT: 'a program is always an agent; pd alone can be nobody',
  SECOND_COPY: 'copies.test.mjs',
  FORKED: 'fork.test.mjs',
  STORE_BUSY: 'waiting.test.mjs',
  STORE_READ_ONLY: 'store.test.mjs',
  STORE_FULL: 'store.test.mjs',
  STORE_FILESYSTEM: 'no such filesystem can be mounted here',
  INTERNAL: 'a defect of the library; there is none to provoke',
};

test('every_error_kind_has_a_code_here', () => {
  const codes = addon().native.errorCodes();
  assert.deepEqual([...ERROR_CODES].sort(), [...codes].sort());
  const known = [...Object.keys(provocations), ...Object.keys(elsewhere)];
  assert.deepEqual(known.sort(), [...codes].sort());
});

for (const [code, provoke] of Object.entries(provocations)) {
  test(`${code.toLowerCase()}_rejects_with_its_code_its_words_and_its_fields`, async (t) => {
    const store = new Store(t);
    const [call, names] = await provoke({ store, t, a: store.open('a'), b: store.open('b') });
    const error = await refused(call, code);
    assert.ok(error instanceof Error && error.constructor === PortDaddyError);
    assert.ok(error.message.length > 5 && !error.message.endsWith('.') && !error.message.includes('{"'), error.message);
    assert.ok(error.stack.includes(error.message));
    assert.ok(error.hint === undefined || (typeof error.hint === 'string' && error.hint !== ''));
    assert.ok(error.fields !== null && typeof error.fields === 'object');
    for (const name of names) assert.ok(name in error.fields, `${name} in ${JSON.stringify(error.fields)}`);
    for (const name of Object.keys(error.fields)) assert.doesNotMatch(name, /_/);
    if (code.startsWith('STORE_')) assert.ok(error.hint, 'a way out');
  });
}

test('a_notice_is_told_to_who_listens_and_kept_for_who_asks', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a', { scope: 'one' }), store.open('b', { scope: 'two' })];
  await a.lock('m');
  const [lock] = await Promise.all([b.lock('m'), once(b, 'notice')]);
  await lock.release();
  const silent = store.open('c', { scope: 'three' });
  await silent.lock('m');
  const told = silent.takeNotices();
  assert.ok(told.length === 1 && /in the scope/.test(told[0]), String(told));
  assert.deepEqual(silent.takeNotices(), []);
});

test('calls_run_in_the_order_in_which_they_were_made', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const sub = pd.subscribe('x', { replay: 'none' });
  const calls = Array.from({ length: 100 }, (_, n) => pd.publish('x', n));
  const published = await Promise.all(calls);
  assert.ok(published.every(({ seq }, n) => n === 0 || published[n - 1].seq < seq));
  const items = sub[Symbol.asyncIterator]();
  for (let n = 0; n < 100; n++) assert.equal((await items.next()).value.payload, n);
  // A wait that was begun before doesn't hold up what comes after it.
  const waiting = pd.waitForSignal('y');
  await pd.publish('y', 'at last');
  assert.equal(await waiting, 'at last');
  await sub.close();
});
