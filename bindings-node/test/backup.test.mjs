import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { Store, refused } from './setup.mjs';

test('a_backup_is_made_looked_into_and_put_back', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.note('one');
  const file = join(dirname(store.db), 'backup');
  const made = await pd.backup(file);
  assert.ok(made.file === file && made.bytes > 0 && made.seq > 0, JSON.stringify(made));
  await refused(pd.backup(file), 'INVALID');
  await pd.backup(file, { force: true });
  const lost = await pd.note('two');
  const copy = store.open('reader', { db: file });
  assert.deepEqual((await copy.notes()).notes.map((note) => note.text), ['one']);
  await copy.close();
  const restored = await pd.restore(file);
  assert.deepEqual([restored.db, restored.file, restored.wasDamaged], [store.db, file, false]);
  assert.ok(existsSync(restored.kept));
  const after = await pd.note('three');
  assert.ok(after.note.seq > lost.note.seq);
  assert.deepEqual((await pd.notes()).notes.map((note) => note.text), ['one', 'three']);
  const lock = await pd.lock('m');
  await refused(pd.restore(file), 'NOT_OWNER');
  assert.equal((await pd.restore(file, { force: true, keep: false })).kept, null);
  await lock.release();
});
