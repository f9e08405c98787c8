// Assembles what is published from what was built: target/npm/port-daddy, target/npm/port-daddy-linux-x64-gnu, and
// their tarballs. `make npm` builds first, then runs this.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..');
const built = process.argv[2] ?? join(root, 'target', 'release');
const out = join(root, 'target', 'npm');
const read = (path) => JSON.parse(readFileSync(path, 'utf8'));

const manifest = read(join(here, 'package.json'));
const platform = read(join(here, 'npm', 'package.json'));
const cargo = readFileSync(join(root, 'Cargo.toml'), 'utf8');
const workspace = /^\[workspace\.package\][^[]*?^version = "(.+?)"/ms.exec(cargo)?.[1];
for (const { name, version } of [manifest, platform]) {
  if (version !== workspace) throw new Error(`${name} is ${version}, the workspace is ${workspace}`);
}

rmSync(out, { recursive: true, force: true });
assemble(platform, [
  [join(built, 'libportdaddy_node.so'), 'portdaddy.node'],
  [join(built, 'pd'), 'pd'],
  [join(here, 'npm', 'README.md'), 'README.md'],
]);
// Left out while developing: npm would look for that package before it is published.
const { private: _private, devDependencies: _tools, ...published } = manifest;
assemble({ ...published, optionalDependencies: { [platform.name]: platform.version } }, [
  [join(here, 'bin'), 'bin'],
  [join(here, 'dist'), 'dist'],
  [join(here, 'README.md'), 'README.md'],
]);

function assemble(manifest, files) {
  const folder = join(out, manifest.name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const [from, to] of files) cpSync(from, join(folder, to), { recursive: true });
  for (const licence of ['LICENSE-MIT', 'LICENSE-APACHE']) cpSync(join(root, licence), join(folder, licence));
  if (manifest.name === platform.name) chmodSync(join(folder, 'pd'), 0o755);
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--pack-destination', out], { cwd: folder, encoding: 'utf8' }));
  const tarball = join(out, packed.filename);
  console.log(`${tarball}  ${Math.round(statSync(tarball).size / 1024)} KiB, ${packed.entryCount} files`);
}
