// The Node.js face of the storm: reads a call a line, writes an answer a line. `node face.mjs DB AGENT`
import { createInterface } from 'node:readline';

import { PortDaddy } from 'port-daddy/client';

const [db, agentId] = process.argv.slice(2);
const PATIENCE_MS = Number(process.env.STORM_PATIENCE_MS ?? 10_000);
const BATCH = 32;
const PORTS = [42_000, 42_023];
const pd = new PortDaddy({ db, agentId, scope: 'storm' });
const held = new Map();
let subscription;
let waiting;

async function receive(position) {
  subscription ??= pd.subscribe('storm:*', { replay: 'all', as: position });
  const messages = (waiting ??= { from: subscription[Symbol.asyncIterator](), next: undefined });
  const got = [];
  for (let ms = 20; got.length < BATCH; ms = 1) {
    messages.next ??= messages.from.next();
    const late = new Promise((resolve) => setTimeout(resolve, ms));
    const item = await Promise.race([messages.next, late]);
    if (item === undefined) break;
    messages.next = undefined;
    got.push([item.value.meta.seq, item.value.payload]);
  }
  const warned = pd.takeNotices().filter((text) => text.includes('removed'));
  return { messages: { got, acked: null, maybe: null, warned } };
}

const overlap = (c) => ({ pattern: c.pattern, session: c.with.session, agent: c.with.agent });

const calls = {
  async lock({ name, wait, ttl_ms }) {
    const lock = await pd.lock(name, { blocking: wait, timeout: wait ? PATIENCE_MS : undefined, ttl: ttl_ms ?? undefined });
    if (lock === null) return 'no';
    held.set(name, lock);
    return { granted: lock.token };
  },
  async unlock({ name }) {
    const lock = held.get(name);
    if (lock === undefined) return 'no';
    held.delete(name);
    await lock.release();
    return 'done';
  },
  async look({ name }) {
    const info = await pd.lockInfo(name);
    if (info === null) return { held: { holder: null, waiters: [] } };
    return { held: { holder: [info.agent, info.token], waiters: info.waiters.map((w) => w.agent) } };
  },
  publish: async ({ channel, id }) => ({ at: (await pd.publish(channel, id)).seq }),
  receive: ({ position }) => receive(position),
  never: async ({ ms }) => (await pd.waitForSignal('never:published', { timeout: ms }), 'done'),
  async ack({ seq }) {
    if (subscription === undefined) return 'no';
    await subscription.ack(seq);
    return 'done';
  },
  note: async ({ text }) => ({ at: (await pd.note(text)).note.seq }),
  start: async () => ({ session: (await pd.startSession({ purpose: 'a storm' })).session.id }),
  end: async ({ session }) => (await pd.endSession(undefined, { session }), 'done'),
  async claim({ session, files, force }) {
    const done = await pd.claimFiles(files, { force, session });
    return {
      claimed: {
        claimed: done.claimed.map((c) => c.pattern),
        conflicts: done.conflicts.map(overlap),
        dead: done.deadOverlaps.map(overlap),
      },
    };
  },
  drop: async ({ session }) => (await pd.releaseFiles([], { session }), 'done'),
  port: async ({ identity }) => ({ ports: [(await pd.claim(identity, { range: PORTS })).port] }),
  give_up: async ({ identity }) => ({ ports: (await pd.release(identity)).map((c) => c.port) }),
  dead: async () => ({ agents: (await pd.salvage()).items.map((item) => item.agent) }),
  salvage: async ({ agent }) => (await pd.salvageClaim(agent), 'done'),
};

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  const [name, args] = typeof call === 'string' ? [call, {}] : Object.entries(call)[0];
  let answer;
  try {
    answer = await calls[name](args);
  } catch (error) {
    answer = { failed: error.code ?? String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await pd.close();
