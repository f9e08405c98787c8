// What a child process does: `node child.mjs ROLE JSON`. It says JSON values, one a line, and waits at its barriers for
// a line from its parent; the end of its input means that it should end.
import { appendFileSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

import { PortDaddy } from 'port-daddy/client';

const [role, json] = process.argv.slice(2);
const { db, cwd, agentId, ...args } = JSON.parse(json);

const say = (value) => process.stdout.write(`${JSON.stringify(value ?? null)}\n`);
const told = (error) => ({ code: error.code, message: error.message, fields: error.fields });
const open = (options) => new PortDaddy({ db, cwd, ...(agentId ? { agentId } : {}), ...options });

const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();
/** What the parent says; false at its end. */
const barrier = async () => {
  const { value, done } = await lines.next();
  return done ? false : value;
};

async function work(pd) {
  await pd.registerAgent({ name: 'Database Agent', identity: 'payments:db' });
  await pd.startSession({ purpose: 'Schema for payments', files: ['migrations/*'] });
  await pd.note('Created the payments table\nwith webhook_id');
}

const roles = {
  /** Begins a session, takes a lock, waits to be killed or let go. */
  async agent() {
    const pd = open();
    await pd.startSession({ purpose: 'work' });
    const lock = await pd.lock(args.lock, { blocking: false });
    say('working');
    await barrier();
    await lock.release();
    await pd.close();
    say('closed');
    await barrier();
  },

  async notes() {
    const pd = open();
    await pd.whoami();
    say('ready');
    await barrier();
    for (let n = 0; n < args.count; n++) await pd.note(`${agentId} ${n}`);
    say('done');
  },

  async files() {
    const pd = open();
    await pd.whoami();
    say('ready');
    await barrier();
    const { conflicts } = await pd.startSession({ purpose: 'race', files: args.files });
    say(conflicts.map((c) => [c.pattern, c.with.agent]));
    await barrier();
  },

  /** Takes a lock, says its token, holds it until it is let go. */
  async hold() {
    const pd = open();
    const lock = await pd.lock(args.lock, args.options);
    say(lock.token);
    if (await barrier()) {
      await lock.release();
      say('released');
    }
  },

  /** Many turns under a lock, all asked for at once; each would be seen if another were inside. */
  async turns() {
    const pd = open();
    await pd.whoami();
    say('ready');
    await barrier();
    const inside = `${db}.inside`;
    const turn = () =>
      pd.withLock(args.lock, async () => {
        writeFileSync(inside, '', { flag: 'wx' });
        await new Promise((resolve) => setImmediate(resolve));
        const count = Number(readFileSync(args.counter, 'utf8'));
        writeFileSync(args.counter, String(count + 1));
        rmSync(inside);
      });
    await Promise.all(Array.from({ length: args.count }, turn));
    say('done');
  },

  async port() {
    const pd = open();
    await pd.whoami();
    say('ready');
    await barrier();
    say(await pd.claim(args.identity, args.options).then((claim) => claim.port, told));
    await barrier();
  },

  async listen() {
    say('ready');
    await barrier();
    const server = createServer().listen(args.port, '127.0.0.1', () => say('listening'));
    await barrier();
    server.close();
  },

  async work() {
    await work(open());
    say('working');
    await barrier();
  },

  async take() {
    const pd = open();
    await pd.whoami();
    say('ready');
    await barrier();
    say(await pd.salvageClaim(args.agent).then((briefing) => briefing.sessions.length, told));
    await barrier();
  },

  async publish() {
    const pd = open();
    await pd.whoami();
    say('ready');
    await barrier();
    const { channel, count, pad = '' } = args;
    await Promise.all(Array.from({ length: count }, (_, n) => pd.publish(channel, { by: agentId, n, pad })));
    say('done');
  },

  /** Collects messages up to one that says "end". */
  async collect() {
    const pd = open();
    await pd.whoami();
    say('ready');
    await barrier();
    const got = [];
    const sub = pd.subscribe(args.patterns, args.options);
    for await (const { payload, meta } of sub) {
      if (payload === 'end') break;
      got.push([meta.seq, payload]);
      if (got.length === args.count) break;
    }
    say(got);
  },

  async signal() {
    const pd = open();
    say('ready');
    say(await pd.waitForSignal(args.channel, args.options).catch(told));
  },

  async live() {
    const pd = open();
    await pd.registerAgent({ identity: args.identity });
    say('ready');
    await barrier();
  },

  /** Who calls, when nothing around the process says it: begins once its parent is gone. */
  async orphan() {
    const parent = args.parent;
    while (process.ppid === parent) await new Promise((resolve) => setTimeout(resolve, 2));
    const [one, other] = [open(), open()];
    const found = { one: await one.whoami(), other: await other.whoami() };
    found.note = (await one.note('x')).note;
    found.agent = await one.agent(found.one.agent);
    const held = await one.lock('n', { blocking: false });
    found.refused = await other.lock('n', { blocking: false });
    await held.release();
    writeFileSync(`${args.out}.new`, JSON.stringify(found));
    renameSync(`${args.out}.new`, args.out);
  },

  async create() {
    const pd = open();
    say('ready');
    await barrier();
    await pd.note(agentId);
    say('created');
    await barrier();
  },

  /** Writes notes until the store refuses one; then frees some space and goes on. */
  async refused() {
    if (args.filler) writeFileSync(args.filler, Buffer.alloc(5 << 20, 'x'));
    const pd = open();
    const text = 'x'.repeat(50_000);
    let stored = 0;
    let error;
    while (!error && stored < 1000) {
      await pd.note(text).then(() => (stored += 1), (e) => (error = { ...told(e), hint: e.hint }));
    }
    if (!args.filler) return say({ error });
    const found = (await pd.notes({ limit: 1000 })).notes.length;
    rmSync(args.filler);
    say({ error, stored, found, again: await pd.note('small').then(() => true, told) });
  },

  /** How many threads the process has, before and while a hundred waits go on. */
  async tasks() {
    const tasks = () => readdirSync('/proc/self/task').length;
    const pd = open();
    await pd.whoami();
    // Node's own pool starts with the first use of it.
    await Promise.all(Array.from({ length: 8 }, () => stat('.')));
    say(tasks());
    await barrier();
    const waits = args.names.map((name) => pd.lock(name).catch(() => {}));
    for (const name of args.names) pd.subscribe(`x:${name}`).on('message', () => {});
    say('waiting');
    await barrier();
    say(tasks());
    await barrier();
    await pd.close();
    await Promise.all(waits);
  },

  /** What the process holds after each round of messages, waits and calls. */
  async memory() {
    const pd = open();
    const levels = [];
    const pad = 'x'.repeat(2000);
    for (let round = 0; round < args.rounds; round++) {
      const sub = pd.subscribe('x', { replay: 'none' });
      await sub.ready;
      const published = Promise.all(Array.from({ length: args.count }, (_, n) => pd.publish('x', { n, pad })));
      let got = 0;
      for await (const { payload } of sub) {
        if (payload.n !== got) throw new Error(`${payload.n} instead of ${got}`);
        if (++got === args.count) break;
      }
      await Promise.all([published, sub.close()]);
      const controller = new AbortController();
      const waits = Array.from({ length: 200 }, (_, n) => pd.waitForSignal(`y:${n}`, { signal: controller.signal }).catch(() => {}));
      await pd.status();
      controller.abort();
      await Promise.all(waits);
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc();
      const { heapUsed, rss } = process.memoryUsage();
      levels.push({ heap: heapUsed, rss });
    }
    say(levels);
  },

  /** Forks with a client open; the child's exit code tells what it found otherwise than it should be. */
  async fork() {
    const { fork, ended, quit } = createRequire(import.meta.url)(args.addon);
    const pd = open();
    const lock = await pd.lock('m');
    await pd.note('before');
    const pid = fork();
    if (pid === 0) {
      // Nothing but promises from here on: Node's own loop is the parent's as well.
      const calls = [pd.note('child'), pd.notes(), pd.agents(), pd.lockInfo('m'), pd.extendLock('m', 1000), lock.release()];
      calls.push(pd.waitForSignal('x'), pd.lock('other'), pd.subscribe('x').ready);
      let failed = 0;
      for (const call of calls) {
        if ((await call.then(() => 'done', (error) => error.code)) !== 'FORKED') failed |= 1;
      }
      const closed = await pd.close().then(() => 'closed', (error) => error.code);
      if (closed !== 'closed' && closed !== 'FORKED') failed |= 2;
      process.emit('exit', 0);
      quit(failed);
    }
    let code = -1;
    while (code === -1) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      code = ended(pid);
    }
    await pd.note('after');
    say({
      ended: code,
      after: (await pd.notes()).notes.map((n) => n.text),
      held: (await lock.info()).token === lock.token,
      state: (await pd.agent(agentId)).state,
    });
  },

  /** Where its database is. */
  async place() {
    say(await open().whoami().catch(told));
  },

  // How a process ends.

  /** With a client that is open, used and idle. */
  async idle() {
    const pd = open();
    await pd.startSession('idle');
    await pd.lock('held');
    pd.subscribe('never:comes');
    say('idle');
    input.close();
    process.stdin.destroy();
  },

  async closed() {
    const pd = open();
    await pd.startSession('closed');
    await pd.close();
    say('closed');
    input.close();
    process.stdin.destroy();
  },

  /** A subscription that is listened to keeps the process alive, unless it is told not to. */
  async listening() {
    const pd = open();
    const sub = pd.subscribe('x', { replay: 'none' });
    sub.on('message', (payload) => {
      appendFileSync(args.out, JSON.stringify(payload));
      if (payload === 'end') void sub.close();
    });
    if (args.unref) sub.unref();
    await sub.ready;
    say('ready');
    input.close();
    process.stdin.destroy();
  },

  /** Takes a lock with a client that it keeps no hold of, and lets the collector have both. */
  async forgets() {
    await (async () => {
      await open().lock('m');
    })();
    for (let round = 0; round < 5; round++) {
      globalThis.gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    say('forgotten');
    await barrier();
  },

  async uncaught() {
    const pd = open();
    await pd.startSession('doomed');
    await pd.lock('held');
    say('working');
    await barrier();
    setImmediate(() => {
      throw new Error('on purpose');
    });
  },

  async exits() {
    const pd = open();
    await pd.startSession('ends');
    await pd.lock('held');
    say('working');
    await barrier();
    process.exit(args.code);
  },
};

await roles[role]();
input.close();
