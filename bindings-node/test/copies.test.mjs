// Two copies of the package in one process: each brings an SQLite of its own, and two of these on one file lose data.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import { PortDaddy } from 'port-daddy/client';

import { Store } from './setup.mjs';

const second = createRequire(join(process.env.PD_TEST_SECOND, 'package.json'))('port-daddy/client');

test('a_second_copy_of_the_library_in_one_process_is_refused', async (t) => {
  assert.notEqual(second.PortDaddy, PortDaddy);
  const store = new Store(t);
  const pd = store.open('a');
  await pd.note('first');
  const other = new second.PortDaddy({ db: store.db, cwd: store.dir('.'), agentId: 'b' });
  t.after(() => other.close());
  const error = await other.note('second').then(() => assert.fail('it was taken'), (e) => e);
  assert.ok(error instanceof second.PortDaddyError);
  assert.equal(error.code, 'SECOND_COPY');
  const versions = Object.entries(error.fields).filter(([name]) => /version/i.test(name));
  assert.ok(versions.length === 2 && versions.every(([, version]) => /^\d+\.\d+\.\d+/.test(version)), JSON.stringify(error.fields));
  // The first goes on.
  await pd.note('third');
  assert.deepEqual((await pd.notes()).notes.map((n) => n.text), ['first', 'third']);
  // On a file of its own, the second is as good as any.
  const own = new second.PortDaddy({ db: join(store.root, 'state', 'other.db'), agentId: 'b' });
  await own.note('alone');
  await own.close();
  // And when the first has gone, on that file as well.
  await pd.close();
  const late = new second.PortDaddy({ db: store.db, cwd: store.dir('.'), agentId: 'b' });
  await late.note('fourth');
  await late.close();
});
