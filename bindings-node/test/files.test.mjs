// File claims: what is claimed, what meets, and whose a path is.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Store, git, refused } from './setup.mjs';

const patterns = (claims) => claims.map((c) => c.pattern);
const start = (pd, purpose, ...files) => pd.startSession({ purpose, files });

test('the_day_of_the_tutorial', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  store.write('shop/src/middleware/auth.ts');
  const backend = store.open('backend', { cwd });
  await backend.registerAgent({ name: 'Backend Agent' });
  const first = await start(backend, 'Building payment API', 'src/api/payments/*', 'src/types/Payment.ts', 'src/middleware/auth.ts');
  assert.equal(first.claimed.length, 3);
  const [claim] = first.claimed;
  assert.deepEqual([claim.session, claim.agent, claim.agentName], [first.session.id, 'backend', 'Backend Agent']);
  assert.deepEqual([claim.root, claim.lines, claim.forced, claim.scope], [cwd, null, false, 'shop']);
  assert.ok(claim.sinceMs > 0);

  const oauth = store.open('oauth', { cwd });
  const second = await start(oauth, 'OAuth integration', 'src/middleware/auth.ts', 'src/oauth/*');
  assert.deepEqual(patterns(second.claimed), ['src/oauth/*']);
  assert.equal(second.conflicts.length, 1);
  const [conflict] = second.conflicts;
  assert.deepEqual([conflict.pattern, conflict.lines], ['src/middleware/auth.ts', null]);
  assert.deepEqual([conflict.with.session, conflict.with.agentName], [first.session.id, 'Backend Agent']);
  assert.equal(conflict.sessionPurpose, 'Building payment API');
  assert.deepEqual([conflict.witness, conflict.exists], ['src/middleware/auth.ts', true]);
  assert.deepEqual([conflict.sameWorktree, conflict.holderState], [true, 'active']);

  const forced = await oauth.claimFiles(['src/middleware/auth.ts', 'src/free.ts'], { force: true });
  assert.deepEqual([forced.session, forced.conflicts.length, forced.deadOverlaps], [second.session.id, 1, []]);
  assert.deepEqual(forced.claimed.map((c) => c.forced), [true, false]);
  const again = await oauth.claimFiles(['src/middleware/auth.ts', './src//free.ts']);
  assert.deepEqual([again.claimed.length, again.conflicts.length], [2, 0]);
  assert.equal((await oauth.fileClaims()).claims.length, 6);
});

test('patterns_meet_patterns_both_ways_with_a_witness_that_exists', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  store.write('shop/src/auth/login.test.ts');
  const [a, b] = [store.open('a', { cwd }), store.open('b', { cwd })];
  await start(a, 'Tests', 'src/**/*.test.ts');
  const found = await start(b, 'Auth', 'src/auth/**', 'src/b/*.rs');
  assert.deepEqual(found.conflicts.map((c) => [c.witness, c.exists]), [['src/auth/login.test.ts', true]]);
  assert.deepEqual(patterns(found.claimed), ['src/b/*.rs']);
  const back = await a.claimFiles('src');
  assert.deepEqual([back.conflicts[0].with.pattern, back.conflicts[0].exists], ['src/b/*.rs', false]);
});

test('lines_meet_only_where_they_overlap', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  const [a, b] = [store.open('a', { cwd }), store.open('b', { cwd })];
  const top = await start(a, 'Top', 'f.rs:10-50');
  assert.deepEqual(top.claimed[0].lines, { first: 10, last: 50 });
  const found = await start(b, 'Rest', 'f.rs:51-60', 'f.rs#L50', 'f.rs');
  assert.equal(found.claimed.length, 1);
  assert.deepEqual(found.conflicts.map((c) => c.lines?.first), [50, undefined]);
});

test('input_is_relative_to_the_directory_and_a_file_that_exists_is_meant_as_it_is', async (t) => {
  const store = new Store(t);
  const repo = store.repository('shop');
  store.write('shop/app/[id]/page.tsx');
  store.write('shop/app/i/page.tsx');
  const a = store.open('a', { cwd: join(repo, 'app') });
  const { claimed } = await start(a, 'x', '[id]/page.tsx', './api/../web/', join(repo, 'abs/*.ts'));
  assert.deepEqual(patterns(claimed), ['app/\\[id]/page.tsx', 'app/web', 'abs/*.ts']);
  assert.equal(claimed[0].root, repo);
  assert.equal((await a.whoOwns('[id]/page.tsx')).owners.length, 1);
  assert.equal((await a.whoOwns('i/page.tsx')).owners.length, 0);
  await refused(a.claimFiles(['../../other']), 'INVALID');
});

test('another_working_tree_is_a_merge_ahead', async (t) => {
  const store = new Store(t);
  const repo = store.repository('shop');
  git(repo, 'worktree', 'add', '-q', 'trees/two', '-b', 'two');
  const [a, b] = [store.open('a', { cwd: repo }), store.open('b', { cwd: join(repo, 'trees/two') })];
  await start(a, 'One', 'src/**');
  const found = await start(b, 'Two', 'src/x.rs');
  assert.deepEqual(found.conflicts.map((c) => c.sameWorktree), [false]);
  await a.claimFiles('trees/two/docs');
  const inner = await b.claimFiles('docs/a.md');
  assert.deepEqual(inner.conflicts.map((c) => [c.sameWorktree, c.witness]), [[true, 'docs/a.md']]);
});

test('claims_meet_on_disk_across_repositories_and_outside', async (t) => {
  const store = new Store(t);
  const [outer, inner] = [store.repository('outer'), store.repository('outer/vendor/lib')];
  store.write('outer/vendor/lib/src/a.rs');
  const [top, low, out] = [store.open('top', { cwd: outer }), store.open('low', { cwd: inner }), store.open('out')];
  await start(low, 'Inner', 'src/a.rs');
  const { conflicts } = await start(top, 'Outer', 'vendor/**', 'docs');
  assert.deepEqual(conflicts.map((c) => [c.witness, c.exists, c.sameWorktree]), [['vendor/lib/src/a.rs', true, true]]);
  // Outside any repository, by the path from the root of the disk.
  const outside = await start(out, 'All', 'outer/docs/x');
  assert.equal(outside.conflicts[0].with.pattern, 'docs');
  assert.ok(outside.conflicts[0].witness.endsWith('/outer/docs/x'), outside.conflicts[0].witness);
  // And from inside, what only the absolute path tells.
  await out.claimFiles('outer/vendor/lib/tests');
  assert.equal((await low.claimFiles('tests/t.rs')).conflicts[0].witness, 'tests/t.rs');
});

test('the_dead_block_nobody_and_the_ended_are_gone', async (t) => {
  const store = new Store(t);
  const child = store.child('work', 'dead');
  assert.equal(await child.said(), 'working');
  const b = store.open('b');
  assert.equal((await start(b, 'Too early', 'migrations/a')).conflicts.length, 1);
  await child.kill();
  const { owners } = await b.whoOwns('migrations/a');
  assert.deepEqual(owners.map((o) => o.state), ['dead']);
  const found = await b.claimFiles(['migrations/a', 'migrations/b']);
  assert.deepEqual([found.claimed.length, found.conflicts.length, found.deadOverlaps.length], [2, 0, 2]);
  assert.equal(found.deadOverlaps[0].holderState, 'dead');
  assert.equal(found.claimed[0].forced, false);
  await b.done();
  assert.equal((await start(store.open('c'), 'Next', 'migrations/a')).deadOverlaps.length, 1);
  assert.equal((await b.whoOwns('migrations/b')).owners.length, 1, "only the dead one's");
});

test('one_agents_sessions_meet_as_well', async (t) => {
  const store = new Store(t);
  const a = store.open('a', { cwd: store.repository('shop') });
  await start(a, 'One', 'src');
  assert.equal((await start(a, 'Two', 'src/x')).conflicts.length, 1);
});

test('releasing_is_exact', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  const [a, b] = [store.open('a', { cwd }), store.open('b', { cwd })];
  const { session } = await start(a, 'Work', 'src/*', 'f.rs:1-5', 'f.rs:8', 'docs');
  await refused(a.releaseFiles(['src/*', 'nothing']), 'NOT_FOUND');
  const names = async (...args) => patterns(await a.releaseFiles(...args)).join(' ');
  assert.equal(await names(['./src/*', 'f.rs:8']), 'src/* f.rs');
  assert.equal(await names('f.rs'), 'f.rs');
  assert.equal(await names([], { session: session.id }), 'docs');
  assert.equal(await names([]), '');
  assert.equal((await start(b, 'Free', 'src/x', 'docs')).conflicts.length, 0);
  await refused(b.releaseFiles([], { session: session.id }), 'NOT_OWNER');
});

test('a_path_has_owners_above_it_and_a_directory_those_below', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  store.write('shop/src/api/a.ts');
  const [a, b, c] = [store.open('a', { cwd }), store.open('b', { cwd }), store.open('c')];
  await start(a, 'Api', 'src/api/*');
  const { session } = await start(b, 'Rust');
  await b.claimFiles(['**/*.rs'], { force: true, session: session.id });
  const who = async (path) => (await a.whoOwns(path)).owners.map((o) => o.claim.agent).join('');
  assert.equal(await who('src/api/a.ts'), 'a');
  assert.equal(await who('src/api/a.rs'), 'ab');
  assert.equal(await who('src'), 'ab');
  assert.equal(await who('README.md'), '');
  const all = await c.whoOwns('shop/src/api/new.rs');
  assert.equal(all.owners.length, 2);
  assert.equal(typeof all.path, 'string');
  const [owner] = all.owners;
  assert.deepEqual([owner.purpose, owner.state, typeof owner.sameWorktree], ['Api', 'active', 'boolean']);
});

test('lists_see_their_scope', async (t) => {
  const store = new Store(t);
  const a = store.open('a', { cwd: store.repository('shop') });
  const b = store.open('b', { cwd: store.repository('blog') });
  const { id } = (await start(a, 'A', 'x', 'y')).session;
  await start(b, 'B', 'z');
  const list = async (filter) => {
    const { claims, elsewhere } = await b.fileClaims(filter);
    return [patterns(claims).join(' '), elsewhere];
  };
  assert.deepEqual(await list(), ['z', 2]);
  assert.deepEqual(await list({ all: true }), ['x y z', 0]);
  assert.deepEqual(await list({ session: id }), ['x y', 0]);
  assert.deepEqual(await list({ agent: 'a' }), ['', 2]);
});

test('a_thousand_patterns_in_one_call', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  const [a, b] = [store.open('a', { cwd }), store.open('b', { cwd })];
  const files = Array.from({ length: 1000 }, (_, i) => `src/m${i % 50}/f${i}.rs`);
  assert.equal((await start(a, 'All', ...files)).claimed.length, 1000);
  const found = await start(b, 'Everything', '**', 'src/m1/*');
  assert.deepEqual([found.claimed.length, found.conflicts.length], [0, 1001]);
  assert.equal((await b.claimFiles(files)).claimed.length, 0);
});

test('of_those_who_claim_at_once_one_is_first', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  for (let round = 0; round < 10; round++) {
    const agents = Array.from({ length: 4 }, (_, i) => store.open(`a${i}`, { cwd }));
    const claims = await Promise.all(agents.map((pd) => start(pd, 'Race', `r${round}/**/*.ts`)));
    const conflicts = claims.map((c) => c.conflicts.length).sort();
    // The others' claims are refused, so each of them meets the first one's and no other.
    assert.deepEqual(conflicts, [0, 1, 1, 1]);
    await Promise.all(agents.map((pd) => pd.close()));
  }
});

test('a_claimed_file_has_nothing_below_it', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('repo');
  mkdirSync(join(cwd, 'src/lib'), { recursive: true });
  store.write('repo/src/main');
  const [a, b] = [store.open('a', { cwd }), store.open('b', { cwd })];
  await start(a, 'p', 'src/main', 'src/lib', 'src/new.ts', 'later');
  await start(b, 'q');
  const meets = async (pattern) => (await b.claimFiles([pattern])).conflicts.map((c) => c.with.pattern);
  assert.deepEqual(await meets('src/**/*.test.ts'), ['src/lib']);
  assert.deepEqual(await meets('later/x.ts'), ['later']);
  assert.deepEqual(await meets('src/new.ts'), ['src/new.ts']);
  assert.deepEqual(await meets('src/ma*'), ['src/main']);
});

test('of_eight_processes_that_claim_one_file_at_once_one_gets_it', async (t) => {
  const store = new Store(t);
  const files = ['src/{a,b}.ts', 'own/*'];
  const children = Array.from({ length: 8 }, (_, n) => store.child('files', `agent-${n}`, { files }));
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) child.go();
  const said = [];
  for (const child of children) {
    const conflicts = await child.said();
    said.push(conflicts.filter(([pattern]) => pattern.endsWith('src/{a,b}.ts')).map(([, agent]) => agent));
  }
  const winner = said.findIndex((met) => met.length === 0);
  said.forEach((met, n) => assert.deepEqual(met, n === winner ? [] : [`agent-${winner}`]));
});

test('what_a_program_claims_a_shell_is_warned_of', async (t) => {
  const store = new Store(t);
  await start(store.open('api'), 'Api', 'src/auth.ts');
  assert.match(await store.pd('looker', 'who-owns', 'src/auth.ts'), /api/);
  const list = await store.json('looker', 'files', 'list');
  assert.ok(list.claims[0].pattern.endsWith('src/auth.ts'));
});
