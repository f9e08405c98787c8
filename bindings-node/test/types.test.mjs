// The declarations, as TypeScript finds them in an installed package, under every way of resolving modules.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const tools = join(process.env.PD_TEST_ROOT, 'bindings-node', 'node_modules');

/** Compiles types/use.ts in a directory of its own inside the project; what the compiler says. */
async function compile(t, options, extension) {
  const dir = mkdtempSync(join(import.meta.dirname, 'types-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  cpSync(join(import.meta.dirname, 'types', 'use.ts'), join(dir, `use.${extension}`));
  const compilerOptions = {
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    noEmit: true,
    types: ['node'],
    typeRoots: [join(tools, '@types')],
    ...options,
  };
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [`use.${extension}`] }));
  return new Promise((resolve) => {
    execFile(join(tools, '.bin', 'tsc'), ['-p', dir, '--pretty', 'false'], (error, stdout) => resolve(error ? stdout || String(error) : ''));
  });
}

for (const [name, options, extension] of [
  ['bundler', { module: 'esnext', moduleResolution: 'bundler' }, 'ts'],
  ['bundler_commonjs', { module: 'preserve', moduleResolution: 'bundler' }, 'cts'],
  ['node16_esm', { module: 'node16', moduleResolution: 'node16' }, 'mts'],
  ['node16_commonjs', { module: 'node16', moduleResolution: 'node16' }, 'cts'],
  ['nodenext_esm', { module: 'nodenext', moduleResolution: 'nodenext' }, 'mts'],
  ['nodenext_commonjs', { module: 'nodenext', moduleResolution: 'nodenext' }, 'cts'],
]) {
  test(`everything_compiles_and_nothing_else_does_${name}`, async (t) => {
    assert.equal(await compile(t, options, extension), '');
  });
}
