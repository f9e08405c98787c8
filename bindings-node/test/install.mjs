// Installs the packed tarballs in an empty project, as a user would, and runs the suites there: `port-daddy/client` is
// then what was packed and nothing else. `node install.mjs [FILE…]` runs the named suites alone.
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const packed = join(root, 'target', 'npm');
const project = join(packed, 'project');

const tarballs = existsSync(packed) ? readdirSync(packed).filter((name) => name.endsWith('.tgz')) : [];
if (tarballs.length < 2) throw new Error(`${packed} has not both packages; run make npm first`);

/** A project with the packages in it. `--offline`: nothing is asked of a registry; other platforms' packages are optional. */
function install(dir) {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'consumer', version: '0.0.0', private: true }));
  const files = tarballs.map((name) => join(packed, name));
  const options = ['--offline', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
  execFileSync('npm', ['install', ...options, ...files], { cwd: dir, stdio: 'inherit' });
}

install(project);
// Another copy of the same packages, for those who end up with two.
const second = join(packed, 'second');
rmSync(second, { recursive: true, force: true });
mkdirSync(second, { recursive: true });
cpSync(join(project, 'node_modules'), join(second, 'node_modules'), { recursive: true, verbatimSymlinks: true });
writeFileSync(join(second, 'package.json'), JSON.stringify({ name: 'second', version: '0.0.0', private: true }));

const suites = join(project, 'test');
cpSync(here, suites, { recursive: true });

const named = process.argv.slice(2).map((name) => basename(name));
const files = readdirSync(suites)
  .filter((name) => name.endsWith('.test.mjs') && (named.length === 0 || named.includes(name)))
  .sort()
  .map((name) => join(suites, name));
const native = readdirSync(join(project, 'node_modules')).find((name) => name.startsWith('port-daddy-'));
const env = {
  ...process.env,
  PD_TEST_ROOT: root,
  PD_TEST_SECOND: second,
  PORT_DADDY_ADDON: join(project, 'node_modules', native, 'portdaddy.node'),
};
const run = spawn(process.execPath, ['--test', '--test-timeout=90000', '--test-reporter=spec', ...files], { cwd: project, stdio: 'inherit', env });
run.on('exit', (code, signal) => {
  process.exitCode = signal ? 1 : code;
});
