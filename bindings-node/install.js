// Puts the native pd in the place of the scripts in bin/, which start Node before it. Only a shortcut: whatever
// goes wrong here, the scripts are left as they are, and the install goes on.
'use strict';
const { execFileSync } = require('node:child_process');
const { copyFileSync, linkSync, renameSync, rmSync } = require('node:fs');
const { join } = require('node:path');

// Other package managers, and npm on Windows, wrap what stands in bin/ in a script that runs it with Node.
const npm = /^npm\//.test(process.env.npm_config_user_agent ?? '');
if (npm && process.platform !== 'win32') {
  try {
    const { version } = require('./package.json');
    const name = `port-daddy-${process.platform}-${process.arch}${process.platform === 'linux' ? '-gnu' : ''}`;
    const native = join(require.resolve(`${name}/package.json`), '..', 'pd');
    const said = execFileSync(native, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000 });
    if (said.trim().split(' ').at(-1) === version) {
      // The other way round, port-daddy could be a script that loads a program.
      for (const file of ['port-daddy', 'pd']) put(native, join(__dirname, 'bin', file));
    }
  } catch {
    // The scripts say what is wrong when they are run.
  }
}

/** Renamed into place, so that nobody finds half a program there, and no hard link of a cache is written through. */
function put(native, place) {
  const made = `${place}.${process.pid}`;
  try {
    try {
      linkSync(native, made);
    } catch {
      copyFileSync(native, made);
    }
    renameSync(made, place);
  } finally {
    rmSync(made, { force: true });
  }
}
