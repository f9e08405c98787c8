// Prints the part of benches/README.md about the npm package: `await` in a Node program, ours and node-redis in turns.
// benches/run.sh calls it, with PD_BENCH_CLIENT (the built package's client) and PD_BENCH_REDIS (the port of a server that
// keeps nothing). What needs a second process starts this program again in a role.
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hrtime } from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { createClient } from 'redis';

const { PortDaddy } = await import(pathToFileURL(process.env.PD_BENCH_CLIENT).href);

const ROUNDS = 21;
const CALLS = 300;
const MESSAGES = 300;
const PAUSE_MS = 2;
const UNLOCK = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end`;
const CLAIM = `local port = redis.call('HGET', KEYS[1], ARGV[1])
if port then return port end
port = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], port)
return port`;

const microseconds = () => Number(hrtime.bigint()) / 1000;
const openOurs = (agentId, db) => new PortDaddy({ agentId, db, global: true });
const openRedis = async () => createClient({ url: `redis://127.0.0.1:${process.env.PD_BENCH_REDIS}` }).connect();

if (process.argv[2] === 'listen') await listen(process.argv[3], process.argv[4]);
else await main();

/** A child's part: says how long each message took from the call of publish to the handler. */
async function listen(which, db) {
  let latencies = [];
  const take = ({ at }) => {
    latencies.push(microseconds() - at);
    if (latencies.length < MESSAGES) return;
    process.send(latencies);
    latencies = [];
  };
  if (which === 'ours') {
    const subscription = openOurs('listener', db).subscribe('bench:*', { replay: 'none' });
    subscription.on('message', take);
    await subscription.ready;
  } else {
    const client = await openRedis();
    await client.pSubscribe('bench:*', (text) => take(JSON.parse(text)));
  }
  process.on('disconnect', () => process.exit(0));
  process.send('ready');
}

async function main() {
  const dir = mkdtempSync(join(process.env.PD_BENCH_DIR ?? tmpdir(), 'pd-bench-node-'));
  const db = join(dir, 'state', 'pd.db');
  const ours = openOurs('bench', db);
  const redis = await openRedis();
  const [unlock, claim] = [await redis.scriptLoad(UNLOCK), await redis.scriptLoad(CLAIM)];
  const payload = { status: 'healthy', port: 3101 };
  await ours.claim('bench:api');
  const children = {};
  for (const which of ['ours', 'redis']) {
    children[which] = fork(process.argv[1], ['listen', which, db]);
    await new Promise((resolve) => children[which].once('message', resolve));
  }
  const publish = {
    ours: (at) => ours.publish('bench:latency', { at }),
    redis: (at) => redis.publish('bench:latency', JSON.stringify({ at })),
  };
  const works = [
    {
      what: '`lock`, then `release`',
      peer: '`SET NX PX`, then a scripted `DEL`',
      ours: calls(async () => (await ours.lock('m')).release()),
      redis: calls(async (n) => {
        await redis.set('m', `token-${n}`, { NX: true, PX: 30_000 });
        await redis.evalSha(unlock, { keys: ['m'], arguments: [`token-${n}`] });
      }),
    },
    {
      what: '`publish`',
      peer: '`PUBLISH`, which stores nothing',
      ours: calls(() => ours.publish('quiet:api', payload)),
      redis: calls(() => redis.publish('quiet:api', JSON.stringify(payload))),
    },
    {
      what: '`claim` of a port that one has',
      peer: 'a script: `HGET`, else `INCR` and `HSET`',
      ours: calls(() => ours.claim('bench:api')),
      redis: calls(() => redis.evalSha(claim, { keys: ['ports', 'next'], arguments: ['bench:api'] })),
    },
    {
      what: 'from `publish` to the handler in another process',
      peer: '`PUBLISH` to `PSUBSCRIBE`',
      ours: () => latency(children.ours, publish.ours),
      redis: () => latency(children.redis, publish.redis),
    },
  ];
  const rows = [];
  for (const work of works) {
    for (const which of ['ours', 'redis']) await work[which]();
    const rounds = [];
    for (let round = 0; round < ROUNDS; round++) {
      // Who goes first changes, so that what one leaves behind meets both alike.
      const order = round % 2 === 0 ? ['ours', 'redis'] : ['redis', 'ours'];
      const found = {};
      for (const which of order) found[which] = await work[which]();
      rounds.push(found);
    }
    rows.push({ ...work, rounds });
  }
  for (const child of Object.values(children)) child.disconnect();
  await ours.close();
  await redis.close();
  rmSync(dir, { recursive: true });
  print(rows);
}

/** Runs a call again and again, one after the other, and gives the times of each. */
function calls(call) {
  return async () => {
    const times = [];
    for (let n = 0; n < CALLS; n++) {
      const begin = microseconds();
      await call(n);
      times.push(microseconds() - begin);
    }
    return times;
  };
}

/** Publishes with pauses, and gives what the listening process measured. */
async function latency(child, send) {
  const heard = new Promise((resolve) => child.once('message', resolve));
  for (let n = 0; n < MESSAGES; n++) {
    await send(microseconds());
    await pause(PAUSE_MS);
  }
  return heard;
}

function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
}

function print(rows) {
  const say = (line = '') => process.stdout.write(`${line}\n`);
  say(`Node ${process.version}, node-redis over loopback to a server without persistence. ${ROUNDS} rounds of ${CALLS} calls each, in`);
  say(`turns, one after the other; medians of the rounds' medians (p50) and of their 99th percentiles, and the rounds' ratios.`);
  say();
  say('| work | peer | ours p50 | peer p50 | ratio | least–most | ours p99 | peer p99 | ratio |');
  say('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const { what, peer, rounds } of rows) {
    const cell = (q) => {
      const ours = quantile(rounds.map((round) => quantile(round.ours, q)), 0.5);
      const theirs = quantile(rounds.map((round) => quantile(round.redis, q)), 0.5);
      const ratios = rounds.map((round) => quantile(round.ours, q) / quantile(round.redis, q));
      return { ours, theirs, ratio: quantile(ratios, 0.5), least: quantile(ratios, 0), most: quantile(ratios, 1) };
    };
    const [middle, tail] = [cell(0.5), cell(0.99)];
    const us = (value) => `${value.toFixed(0)} µs`;
    const spread = `${middle.least.toFixed(2)}–${middle.most.toFixed(2)}`;
    say(
      `| ${what} | ${peer} | ${us(middle.ours)} | ${us(middle.theirs)} | ${middle.ratio.toFixed(2)} | ${spread} ` +
        `| ${us(tail.ours)} | ${us(tail.theirs)} | ${tail.ratio.toFixed(2)} |`,
    );
  }
}
