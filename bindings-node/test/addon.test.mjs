// The addon alone, without the typed layer: calls, arguments, errors, cancelling, and how environments end.
// As a child (`node addon.test.mjs ROLE DB`) this file plays the process that ends.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const here = fileURLToPath(import.meta.url);
const addon = createRequire(import.meta.url)(process.env.PORT_DADDY_ADDON ?? '../portdaddy.node');

/** A client whose calls are promises, and that remembers what each call was settled with. */
class Calls {
  #next = 0;
  #waiting = new Map();
  settled = [];

  constructor(options) {
    this.client = new addon.Client(JSON.stringify(options), (call, kind, text, notices) => {
      this.settled.push({ call, kind, text, notices });
      const { resolve, reject, progress } = this.#waiting.get(call);
      if (kind === 'progress') return progress?.(JSON.parse(text));
      if (this.settled.filter((s) => s.call === call && s.kind !== 'progress').length > 1) {
        throw new Error(`call ${call} was settled twice`);
      }
      if (--this.pending === 0) this.client.unref();
      if (kind === 'value') resolve(JSON.parse(text));
      else reject(asError(text));
    });
    this.pending = 0;
  }

  /** A promise of the result; `id` is the call's number. */
  start(operation, ...args) {
    const id = ++this.#next;
    let progress;
    const promise = new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, progress: (info) => progress?.(info) });
      try {
        this.client.start(id, operation, JSON.stringify(args));
        if (this.pending++ === 0) this.client.ref();
      } catch (e) {
        reject(asError(e.message));
      }
    });
    promise.catch(() => {});
    promise.id = id;
    promise.progress = new Promise((resolve) => (progress = resolve));
    return promise;
  }
}

function asError(text) {
  const { message, ...rest } = JSON.parse(text);
  return Object.assign(new Error(message), rest);
}

const code = (code) => (e) => (assert.equal(e.code, code, e.message), true);

// ── Roles ──

const roles = {
  /** Holds the lock "l" until its input ends. */
  async holder(db) {
    const pd = new Calls({ db, agentId: 'holder' });
    await pd.start('lock', 'l', {});
    console.log('held');
    process.stdin.resume();
    await once(process.stdin, 'end');
    process.exit();
  },
  /** Calls of every sort are in flight when the process is told to end. */
  async 'exit-in-flight'(db) {
    const pd = await inFlight(db);
    process.on('exit', () => pd.client.exit(true));
    process.exit(7);
  },
  async 'death-in-flight'(db) {
    const pd = await inFlight(db);
    process.on('exit', () => pd.client.exit(false));
    process.exit(7);
  },
  /** The layer above is not there to say that the process ends. */
  async 'exit-unsaid'(db) {
    await inFlight(db);
    process.exit(7);
  },
  async 'thrown-in-flight'(db) {
    await inFlight(db);
    process.stderr.write = () => true;
    process.on('uncaughtException', () => process.exit(7));
    throw new Error('on purpose');
  },
  /** Nothing is pending: the process ends by itself. */
  async idle(db) {
    const pd = new Calls({ db, agentId: 'idle' });
    await pd.start('publish', 'a', '1', {});
    process.exitCode = 7;
  },
  /** A worker thread is terminated with calls in flight, again and again. */
  async terminate(db) {
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(here, { workerData: { db }, argv: ['thread'] });
      await once(worker, 'message');
      await worker.terminate();
    }
    // Each ended as a crash would, and this environment goes on.
    const pd = new Calls({ db, agentId: 'main' });
    assert.equal((await pd.start('lock', 'of-thread', { timeout: 10_000 })).token > 0, true);
    await pd.start('close');
    process.exitCode = 7;
  },
  async thread() {
    await inFlight(workerData.db);
    parentPort.postMessage('now');
  },
  /** Another process holds the write lock while this one wants to write and ends. */
  async 'exit-behind-writer'(db) {
    const pd = new Calls({ db, agentId: 'behind' });
    await pd.start('publish', 'a', '1', {});
    const holder = writer(db);
    await once(holder.lines, 'line');
    pd.start('publish', 'a', '2', {});
    process.on('exit', () => {
      pd.client.exit(true);
      holder.child.kill();
    });
    process.exit(7);
  },
};

/** A client that holds a lock, waits for another's, for signals and for services, and has calls queued. */
async function inFlight(db) {
  const pd = new Calls({ db, agentId: `in-flight-${process.pid}` });
  await pd.start('lock', 'of-thread', { blocking: false });
  await pd.start('subscribe', 1, { patterns: 'never' });
  pd.start('next', 1);
  pd.start('waitForSignal', 'never', {});
  pd.start('waitForService', ['a:b'], {});
  await pd.start('publish', 'x', '1', {});
  for (let i = 0; i < 50; i++) pd.start('publish', 'x', String(i), {});
  return pd;
}

/** A process that holds SQLite's write lock until it is killed. */
function writer(db) {
  const program = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()`;
  const child = spawn('python3', ['-c', program, db], { stdio: ['pipe', 'pipe', 'inherit'] });
  return { child, lines: createInterface(child.stdout) };
}

const role = isMainThread ? process.argv[2] : 'thread';
if (role) {
  await roles[role](process.argv[3]);
} else {
  const { after, describe, it } = await import('node:test');
  const dir = mkdtempSync(join(tmpdir(), 'pd-addon-'));
  const made = [];
  after(async () => {
    await Promise.allSettled(made.map((pd) => pd.start('close')));
    rmSync(dir, { recursive: true });
  });
  let stores = 0;
  const store = () => join(dir, String(++stores), 'port-daddy.db');
  const open = (db, agentId, more) => {
    const pd = new Calls({ db, agentId, cwd: dir, ...more });
    made.push(pd);
    return pd;
  };

  /** Runs a role; fails if it hangs, crashes or prints. */
  const play = async (role, db) => {
    const child = spawn(process.execPath, [here, role, db], { cwd: dir, timeout: 60_000 });
    let said = '';
    child.stdout.on('data', (text) => (said += text));
    child.stderr.on('data', (text) => (said += text));
    const [status, signal] = await once(child, 'close');
    assert.deepEqual({ status, signal, said }, { status: 7, signal: null, said: '' });
  };

  describe('calls', () => {
    it('settle once each, in the order in which they were made', async () => {
      const pd = open(store(), 'me');
      const calls = Array.from({ length: 200 }, (_, i) =>
        i % 3 ? pd.start('publish', 'a', String(i), {}) : pd.start('note', { text: `n${i}` }));
      const results = await Promise.all(calls);
      const seqs = results.map((r) => r.seq ?? r.note.seq);
      assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b));
      assert.deepEqual(pd.settled.map((s) => s.call), calls.map((c) => c.id));
    });

    it('begin behind one that waits', async () => {
      const pd = open(store(), 'me');
      const waiting = pd.start('waitForSignal', 'later', { timeout: 20_000 });
      await pd.start('publish', 'later', '{"snake_case": 1}', {});
      assert.deepEqual(await waiting, { snake_case: 1 });
    });

    it('name operation, option and rule when an argument is wrong', async () => {
      const pd = open(store(), 'me');
      for (const [call, option, message] of [
        [['note', { text: 5 }], 'text', 'note: text must be a string, not the number 5'],
        [['note', { foo: 5 }], 'foo', 'note: unknown option "foo"; there are text, type, session'],
        [['notes', { after_seq: 1 }], 'after_seq', /^notes: unknown option "after_seq"; there are .*afterSeq/],
        [['claim', { identity: 'a', port: 70000 }], 'port', /^claim: port must be a whole number from 0 to 65535, not/],
        [['lock', 'l', { timeout: -1 }], 'timeout', /^lock: timeout must be a number of milliseconds/],
        [['lock', 'l', { timeout: 'x' }], 'timeout', 'lock: timeout must be a number, not the string "x"'],
        [['subscribe', 1, { patterns: 'a', replay: 'x' }], 'replay', /^subscribe: replay must be latest, none, all/],
        [['publish', 'a', '{', {}], 'payload', 'publish: payload is no JSON text'],
        [['whoOwns'], 'path', 'whoOwns: path must be a string, not null'],
      ]) {
        const operation = call[0];
        await assert.rejects(pd.start(...call), (e) => {
          assert.equal(e.code, 'INVALID');
          assert.deepEqual({ operation: e.fields.operation, option: e.fields.option }, { operation, option });
          if (typeof message === 'string') assert.equal(e.message, message);
          else assert.match(e.message, message);
          return true;
        });
      }
      await assert.rejects(pd.start('nothing'), code('INVALID'));
      await assert.rejects(open(store(), 'me', { foo: 1 }).start('whoami'), /PortDaddy: unknown option "foo"/);
      await assert.rejects(open(store(), 'me', { scope: 'a', global: true }).start('whoami'), /exclude each other/);
    });

    it('know every operation', async () => {
      const pd = open(store(), 'me');
      for (const operation of addon.operations().filter((name) => name !== 'close')) {
        // A stream's number that is none, else what stops every wait at once.
        const call = pd.start(operation, -1, { timeout: 0 });
        const end = await call.then(() => 'value', (e) => e.code);
        assert.notEqual(end, 'INTERNAL', operation);
      }
      assert.match(addon.version(), /^\d+\.\d+\.\d+$/);
    });
  });

  describe('cancelling', () => {
    it('ends each wait, and nothing else', async () => {
      const db = store();
      const other = open(db, 'other');
      await other.start('lock', 'l', {});
      const pd = open(db, 'me');
      await pd.start('subscribe', 1, { patterns: 'never', replay: 'none' });
      await pd.start('followNotes', 2, {});
      await pd.start('followActivity', 3, { type: 'none.' });
      const waits = [
        pd.start('lock', 'l', {}, { progress: true }),
        pd.start('waitForSignal', 'never', {}),
        pd.start('waitForService', ['a:b'], {}),
        ...[1, 2, 3].map((stream) => pd.start('next', stream)),
      ];
      assert.equal((await waits[0].progress).agent, 'other');
      for (const wait of waits) pd.client.cancel(wait.id);
      for (const wait of waits) await assert.rejects(wait, code('CANCELLED'));
      pd.client.cancel(waits[0].id);
      pd.client.cancel(12345);
      // The ticket is gone, too: the lock is free for the next.
      await other.start('unlock', 'l', {});
      assert.equal(await other.start('lockInfo', 'l'), null);
    });

    it('leaves no lock with one that gave up', async () => {
      const db = store();
      const [other, pd] = [open(db, 'other'), open(db, 'me')];
      for (let i = 0; i < 20; i++) {
        const { token } = await other.start('lock', 'l', {});
        const wait = pd.start('lock', 'l', {});
        const unlocked = other.start('unlock', 'l', { token });
        pd.client.cancel(wait.id);
        const got = await wait.catch(code('CANCELLED'));
        await unlocked;
        if (got !== true) await pd.start('unlock', 'l', { token: got.token });
        assert.equal(await pd.start('lockInfo', 'l'), null);
      }
    });

    it('settles a running next when its stream ends', async () => {
      const pd = open(store(), 'me');
      await pd.start('subscribe', 1, { patterns: 'never' });
      const next = pd.start('next', 1);
      await assert.rejects(pd.start('next', 1), code('INVALID'));
      await pd.start('endStream', 1);
      await assert.rejects(next, code('CANCELLED'));
      await assert.rejects(pd.start('next', 1), code('CLOSED'));
      await pd.start('subscribe', 1, { patterns: 'never' });
    });
  });

  describe('streams', () => {
    it('give what is at hand, at most 256 at once, and lose nothing', async () => {
      const pd = open(store(), 'me');
      for (let i = 0; i < 600; i++) pd.start('publish', 'a:x', String(i), {});
      await pd.start('subscribe', 1, { patterns: 'a:*', replay: 'all', durable: 'mine' });
      const got = [];
      while (got.length < 600) {
        const batch = await pd.start('next', 1);
        assert.ok(batch.length >= 1 && batch.length <= 256, String(batch.length));
        got.push(...batch);
      }
      assert.deepEqual(got.map((e) => e.data.message.payload), Array.from({ length: 600 }, (_, i) => i));
      assert.equal(got[0].event, 'message');
      // While the next is waited for, positions can be stored.
      const next = pd.start('next', 1);
      await pd.start('ack', 1, got[299].data.message.seq);
      await pd.start('publish', 'a:y', '"new"', {});
      assert.equal((await next)[0].data.message.payload, 'new');
      await pd.start('subscribe', 2, { patterns: 'a:*', durable: 'mine' });
      assert.equal((await pd.start('next', 2))[0].data.message.payload, 300);
    });

    it('follow the journals', async () => {
      const pd = open(store(), 'me');
      await pd.start('note', { text: 'first' });
      await pd.start('followNotes', 1, {});
      await pd.start('followActivity', 2, { type: 'publish' });
      assert.deepEqual((await pd.start('next', 1)).map((n) => n.text), ['first']);
      const [note, activity] = [pd.start('next', 1), pd.start('next', 2)];
      await pd.start('note', { text: 'second' });
      await pd.start('publish', 'c', '1', {});
      assert.deepEqual((await note).map((n) => n.text), ['second']);
      assert.deepEqual((await activity).map((a) => a.subject), ['c']);
    });

    it('begin at their place in the order of calls', async () => {
      const pd = open(store(), 'me');
      pd.start('publish', 'a', '"before"', {});
      pd.start('subscribe', 1, { patterns: 'a', replay: 'none' });
      const next = pd.start('next', 1);
      pd.start('publish', 'a', '"after"', {});
      assert.equal((await next)[0].data.message.payload, 'after');
    });
  });

  describe('errors', () => {
    const free = async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address();
      await new Promise((resolve) => server.close(resolve));
      return port;
    };
    const provoked = {
      INVALID: (pd) => pd.start('note', { text: '' }),
      NO_SESSION: (pd) => pd.start('setPhase', 'building', null),
      NOT_FOUND: (pd) => pd.start('agent', 'nobody'),
      AMBIGUOUS: async (pd, other) => {
        for (const twin of [pd, other]) await twin.start('registerAgent', { name: 'twin' });
        return pd.start('notes', { agent: 'twin' });
      },
      NOT_HELD: (pd) => pd.start('unlock', 'free', {}),
      NOT_OWNER: async (pd, other) => {
        await other.start('lock', 'theirs', {});
        return pd.start('unlock', 'theirs', {});
      },
      LEASE_LOST: async (pd) => {
        const { token } = await pd.start('lock', 'twice', {});
        await pd.start('unlock', 'twice', { token });
        await pd.start('lock', 'twice', {});
        return pd.start('unlock', 'twice', { token });
      },
      DEADLOCK: async (pd) => {
        const { chain } = await pd.start('lock', 'mine', {});
        return pd.start('lock', 'mine', {}, { chain });
      },
      TIMEOUT: (pd) => pd.start('waitForSignal', 'never', { timeout: 0.5 }),
      PORT_TAKEN: async (pd, other) => {
        const port = await free();
        await other.start('claim', { identity: 'a:b', port });
        return pd.start('claim', { identity: 'a:c', port });
      },
      PORTS_EXHAUSTED: async (pd, other) => {
        const port = await free();
        await other.start('claim', { identity: 'x:b', port });
        return pd.start('claim', { identity: 'x:c', range: [port, port] });
      },
      NOT_SALVAGEABLE: async (pd, other) => {
        await other.start('startSession', { purpose: 'alive' });
        return pd.start('salvageClaim', 'other');
      },
      CLOSED: async (pd) => {
        await pd.start('close');
        return pd.start('whoami');
      },
    };
    for (const [wanted, provoke] of Object.entries(provoked)) {
      it(`${wanted} carries code, message and fields`, async () => {
        assert.ok(addon.errorCodes().includes(wanted));
        const db = store();
        await assert.rejects(provoke(open(db, 'me'), open(db, 'other')), (e) => {
          assert.equal(e.code, wanted);
          assert.ok(e.message.length > 0);
          assert.equal(typeof e.fields, 'object');
          for (const name of Object.keys(e.fields)) assert.doesNotMatch(name, /_/);
          return true;
        });
      });
    }

    it('STORE_* of a file that is no database, and another try when it is gone', async () => {
      const db = join(dir, 'port-daddy.db');
      writeFileSync(db, 'not a database at all, but long enough to be read as one'.repeat(100));
      const pd = open(db, 'me');
      await assert.rejects(pd.start('whoami'), (e) => /^STORE_/.test(e.code) && e.fields.path === db);
      assert.equal((await pd.start('doctor')).find((check) => check.name === 'database').ok, false);
      rmSync(db);
      assert.equal((await pd.start('whoami')).agent, 'me');
    });
  });

  describe('ending', () => {
    it('close settles what waits, and refuses what comes', async () => {
      const pd = open(store(), 'me');
      const wait = pd.start('waitForSignal', 'never', {});
      const queued = pd.start('whoami');
      const closed = pd.start('close');
      await assert.rejects(pd.start('whoami'), code('CLOSED'));
      assert.equal((await queued).agent, 'me');
      assert.equal(await closed, null);
      await assert.rejects(wait, code('CLOSED'));
      await assert.rejects(pd.start('close'), code('CLOSED'));
    });

    it('close of a client that never called opens nothing', async () => {
      const pd = new Calls({ db: '/nowhere/at/all.db', agentId: 'me' });
      assert.equal(await pd.start('close'), null);
    });

    it('exit settles every call', async () => {
      const db = store();
      const pd = open(db, 'me');
      await pd.start('lock', 'l', {});
      const calls = [pd.start('waitForSignal', 'never', {}), ...Array.from({ length: 100 }, () => pd.start('whoami'))];
      pd.client.exit(true);
      const ends = await Promise.allSettled(calls);
      assert.match(ends[0].reason.code, /^(CANCELLED|CLOSED)$/);
      assert.ok(ends.slice(1).every((end) => end.status === 'fulfilled' || end.reason.code === 'CLOSED'));
      await assert.rejects(pd.start('whoami'), code('CLOSED'));
      assert.equal(await open(db, 'other').start('lockInfo', 'l'), null);
      pd.client.exit(false);
      pd.client.ref();
      pd.client.unref();
      pd.client.cancel(1);
    });

    it('of a process in order frees its locks', async () => {
      const db = store();
      await play('exit-in-flight', db);
      assert.equal(await open(db, 'other').start('lockInfo', 'of-thread'), null);
    });

    for (const role of ['death-in-flight', 'exit-unsaid', 'thrown-in-flight']) {
      it(`of a process by ${role} is seen by others`, async () => {
        const db = store();
        await play(role, db);
        assert.ok((await open(db, 'other').start('lock', 'of-thread', { timeout: 20_000 })).token > 0);
      });
    }

    it('of an idle process waits for nothing', () => play('idle', store()));

    it('of a thread that is terminated with calls in flight', () => play('terminate', store()));

    it('of a process while another holds the write lock is bounded', () => play('exit-behind-writer', store()));

    it('a killed holder gives its lock to the one that waits', async () => {
      const db = store();
      const holder = spawn(process.execPath, [here, 'holder', db], { cwd: dir, stdio: ['pipe', 'pipe', 'inherit'] });
      await once(createInterface(holder.stdout), 'line');
      const pd = open(db, 'me');
      const lock = pd.start('lock', 'l', { timeout: 30_000 }, { progress: true });
      await lock.progress;
      holder.kill('SIGKILL');
      assert.ok((await lock).token > 0);
    });
  });
}
