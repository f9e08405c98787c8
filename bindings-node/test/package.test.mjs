// The packed tarballs, as tools and consumers see them. Needs `make npm` before it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

// The suites may run in a project elsewhere; the tools are where they were installed.
const root = process.env.PD_TEST_ROOT ?? join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const tools = join(root, 'bindings-node', 'node_modules');
const packed = join(root, 'target', 'npm');
const tarballs = readdirSync(packed).filter((name) => name.endsWith('.tgz'));
const client = tarballs.find((name) => /^port-daddy-\d/.test(name));
assert.ok(client && tarballs.length === 2, `${packed} has not both packages: ${tarballs.join(', ')}`);

function run(tool, args, options = {}) {
  try {
    return execFileSync(process.execPath, [join(tools, tool), ...args], { encoding: 'utf8', stdio: 'pipe', ...options });
  } catch (error) {
    assert.fail(`${tool}: ${error.stdout}${error.stderr}`);
  }
}

/** An empty project with what was packed, and with Node's types alone. */
function project(t, files) {
  const dir = mkdtempSync(join(tmpdir(), 'pd-package-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, 'node_modules', '@types'), { recursive: true });
  for (const name of ['@types/node', 'undici-types']) symlinkSync(join(tools, name), join(dir, 'node_modules', name));
  symlinkSync(join(packed, 'port-daddy'), join(dir, 'node_modules', 'port-daddy'));
  writeFileSync(join(dir, 'package.json'), '{}');
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}

test('the_declarations_fit_every_way_of_importing', () => {
  run('@arethetypeswrong/cli/dist/index.js', [join(packed, client)]);
});

test('the_manifests_are_without_complaint', () => {
  for (const name of tarballs) {
    const said = run('publint/src/cli.js', [join(packed, name), '--strict']);
    assert.match(said, /All good!/);
  }
});

test('the_platform_s_package_is_of_the_same_version', () => {
  const read = (name) => JSON.parse(execFileSync('tar', ['-xOf', join(packed, name), 'package/package.json'], { encoding: 'utf8' }));
  const [own, native] = [client, tarballs.find((name) => name !== client)].map(read);
  assert.deepEqual(own.optionalDependencies, { [native.name]: native.version });
  assert.equal(own.version, native.version);
  assert.deepEqual(own.devDependencies, undefined);
});

test('strict_consumers_compile_with_node_s_types_alone', (t) => {
  const body = `
    const pd = new PortDaddy({ agentId: 'a' });
    const held: Lock = await pd.lock('x', { timeout: 5 });
    const perhaps: Lock | null = await pd.lock('x', { blocking: false });
    const n: number = await pd.withLock('x', (token) => token);
    const { session, conflicts } = await pd.startSession({ purpose: 'p', files: ['a'] });
    const text: string = session.id + conflicts.map((c) => c.witness).join();
    const sub: Subscription<{ status: string }> = pd.subscribe<{ status: string }>('c', { replay: 'none' });
    sub.on('message', (msg, meta) => console.log(msg.status, meta.channel)).on('error', (e: Error) => console.log(e));
    for await (const { payload, meta } of sub) console.log(payload.status, meta.seq);
    for await (const note of pd.followNotes({ limit: 1 })) console.log(note.text);
    pd.subscribe('c').on('message', async (msg) => console.log(msg.anything));
    const port: number = (await pd.claim('p:api', { range: [3000, 3010] })).port;
    try {
      await pd.publish('c', { port });
    } catch (e) {
      if (e instanceof PortDaddyError && e.code === 'INVALID') console.log(e.hint, e.fields);
    }
    // @ts-expect-error there is no such option
    await pd.publish('c', 1, { tll: 5 });
    // @ts-expect-error it may be null
    const never: Lock = await pd.lock('x', { blocking: false });
    await using lock = held;
    console.log(perhaps, n, text, never, lock);`;
  const names = 'import { Lock, PortDaddy, PortDaddyError, Subscription }';
  const dir = project(t, {
    'esm.mts': `${names} from 'port-daddy/client';\n${body}\n`,
    'cjs.cts': `${names} from 'port-daddy';\nasync function main(): Promise<void> {${body}\n}\nvoid main();\n`,
  });
  const strict = ['--strict', '--exactOptionalPropertyTypes', '--skipLibCheck', 'false', '--noEmit'];
  for (const module of ['node16', 'nodenext', 'preserve']) {
    const libraries = ['--target', 'es2022', '--lib', 'es2022,esnext.disposable', '--types', 'node'];
    run('typescript/bin/tsc', [...strict, ...libraries, '--module', module, 'esm.mts', 'cjs.cts'], { cwd: dir });
  }
});
