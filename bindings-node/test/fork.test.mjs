// A process that forks: the child has the parent's handles, and must not use them. A small addon in C does what Node
// itself never does.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Store, until } from './setup.mjs';

// Node-API is a stable interface: the few functions of it are declared here, so that no headers are needed.
const SOURCE = `
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct env *napi_env;
typedef struct value *napi_value;
typedef struct info *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
int napi_create_int32(napi_env, int32_t, napi_value *);
int napi_get_value_int32(napi_env, napi_value, int32_t *);
int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
int napi_set_named_property(napi_env, napi_value, const char *, napi_value);

static int32_t argument(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value value;
    int32_t number = 0;
    napi_get_cb_info(env, info, &count, &value, NULL, NULL);
    napi_get_value_int32(env, value, &number);
    return number;
}

static napi_value number(napi_env env, int32_t number) {
    napi_value value;
    napi_create_int32(env, number, &value);
    return value;
}

/* V8 keeps its memory from children. One that is to run JavaScript gets it all the same. */
static void share_memory(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    unsigned long start, end;
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx", &start, &end) == 2) madvise((void *)start, end - start, MADV_DOFORK);
    }
    fclose(maps);
}

/* 0 in the child, which is ended after a while whatever it does: a child that hangs is a failure. */
static napi_value forked(napi_env env, napi_callback_info info) {
    (void)info;
    share_memory();
    pid_t pid = fork();
    if (pid == 0) alarm(20);
    return number(env, pid);
}

/* How a child ended: its exit code, 1000 and its signal, or -1 while it runs. */
static napi_value ended(napi_env env, napi_callback_info info) {
    int status = 0;
    if (waitpid(argument(env, info), &status, WNOHANG) == 0) return number(env, -1);
    return number(env, WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status));
}

/* Ends the process at once, with nothing of the parent's run. */
static napi_value quit(napi_env env, napi_callback_info info) {
    _exit(argument(env, info));
}

static void export(napi_env env, napi_value exports, const char *name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, (size_t)-1, function, NULL, &value);
    napi_set_named_property(env, exports, name, value);
}

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
    export(env, exports, "fork", forked);
    export(env, exports, "ended", ended);
    export(env, exports, "quit", quit);
    return exports;
}
`;

test('a_forked_child_is_refused_and_the_parent_goes_on', async (t) => {
  const store = new Store(t);
  const [source, addon] = [join(store.root, 'fork.c'), join(store.root, 'fork.node')];
  writeFileSync(source, SOURCE);
  if (process.platform !== 'linux') return t.skip('elsewhere V8 keeps its memory from a forked child');
  const built = spawnSync('cc', ['-shared', '-fPIC', '-o', addon, source], { encoding: 'utf8' });
  if (built.error) return t.skip('there is no C compiler');
  assert.equal(built.status, 0, built.stderr);

  const child = store.child('fork', 'a', { addon });
  const { ended, after, held, state } = await child.said();
  assert.equal(ended, 0, 'what the forked child found');
  assert.deepEqual({ after, held, state }, { after: ['before', 'after'], held: true, state: 'active' });
  // The parent ends as it would have.
  await child.end();
  const looker = store.open('looker');
  await until(async () => (await looker.lockInfo('m')) === null, 'its end');
  assert.equal((await looker.agent('a')).state, 'active');
});
