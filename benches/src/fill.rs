//! Fills a file that the library made: straight SQL, as the library would have written it, in one transaction.

use portdaddy_core::{ClaimFiles, Coordinator, LockOptions, NewNote, NewSession, Publish, Tie};
use rusqlite::Connection;
use serde_json::json;

use crate::setting::Setting;

/// How much of each there is afterwards, in the scope of the setting's repository.
#[derive(Clone, Copy)]
pub(crate) struct Amounts {
    pub(crate) notes: u32,
    pub(crate) messages: u32,
    pub(crate) channels: u32,
    pub(crate) claims: u32,
    pub(crate) locks: u32,
    pub(crate) agents: u32,
    pub(crate) activity: u32,
}

/// The library writes one of each, which the statements then take as their example.
pub(crate) fn fill(setting: &Setting, amounts: Amounts) {
    let pd = setting.open("example");
    example(&pd);
    pd.close();
    let Amounts { notes, messages, channels, claims, locks, agents, activity } = amounts;
    let conn = Connection::open(setting.db()).expect("the file");
    let series =
        |count: u32| format!("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})");
    let (agent, session) =
        (format!("printf('filled-%04d', i % {agents})"), format!("printf('session-filled-%04d', i % {agents})"));
    let (of_agents, of_claims, of_locks) = (series(agents), series(claims), series(locks));
    let (of_messages, of_notes, of_activity) = (series(messages), series(notes), series(activity));
    // The order of commits: sessions, notes, messages; then what was done, which is last.
    let script = format!(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;
         BEGIN IMMEDIATE;
         CREATE TEMP TABLE at AS SELECT max(c.seq, coalesce((SELECT max(seq) FROM activity), 0)) + 1 AS seq,
             c.token + 1 AS token FROM counters c;
         INSERT INTO agents SELECT {agent}, 'Filled ' || i, 'filled:agent:n' || i, purpose, type, harness, scope, 'alive', 0,
                 registered_ms, seen_ms, seen_awake_ms, boot, NULL, NULL
             FROM ({of_agents} SELECT i FROM n) JOIN agents WHERE id = 'example';
         INSERT INTO sessions SELECT {session}, scope, {agent}, NULL, purpose, 'active', phase, repository, worktree, branch,
                 commit_id, started_ms, NULL, (SELECT seq FROM at) + i, NULL
             FROM ({of_agents} SELECT i FROM n) JOIN (SELECT * FROM sessions WHERE agent = 'example');
         INSERT INTO claims (scope, session, repository, root, pattern, file, prefix, place, forced, since_ms)
             SELECT scope, {session}, repository, root, p, file, p, root || '/' || p, 0, since_ms
             FROM ({of_claims} SELECT i, printf('packages/p%03d/src/m%d/f%d.ts', i % 97, i / 97 % 9, i) AS p FROM n)
             JOIN (SELECT * FROM claims WHERE pattern = 'example.ts');
         INSERT INTO locks SELECT scope, printf('filled-%04d', i), (SELECT token FROM at) + i, {agent}, {session}, NULL, NULL,
                 NULL, since_ms, NULL, NULL, boot
             FROM ({of_locks} SELECT i FROM n) JOIN locks WHERE name = 'example';
         INSERT INTO notes SELECT (SELECT seq FROM at) + {agents} + i, scope, {session}, {agent}, type,
                 'Moved the part ' || i || ' of the parser, tests pass', at_ms
             FROM ({of_notes} SELECT i FROM n) JOIN (SELECT * FROM notes WHERE agent = 'example');
         INSERT INTO messages SELECT (SELECT seq FROM at) + {agents} + {notes} + i, scope,
                 printf('payments:c%03d', i % {channels}), {agent}, at_ms, expires_ms, '{{\"status\":\"healthy\",\"n\":' || i || '}}'
             FROM ({of_messages} SELECT i FROM n) JOIN (SELECT * FROM messages WHERE channel = 'example');
         INSERT INTO channels SELECT channel, scope, max(seq), max(at_ms), count(*), 0 FROM messages
             WHERE channel LIKE 'payments:%' GROUP BY scope, channel;
         INSERT INTO activity SELECT (SELECT seq FROM at) + {agents} + {notes} + {messages} + i, at_ms, scope, {agent}, type,
                 subject, detail
             FROM ({of_activity} SELECT i FROM n) JOIN (SELECT * FROM activity WHERE type = 'publish');
         UPDATE counters SET seq = (SELECT seq FROM at) + {agents} + {notes} + {messages} + {activity},
                 token = (SELECT token FROM at) + {locks};
         COMMIT;
         PRAGMA wal_checkpoint (TRUNCATE);"
    );
    conn.execute_batch(&script).expect("rows as the schema wants them");
    let count = |table: &str| -> u32 {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).expect("a count")
    };
    assert!(
        count("messages") > messages && count("notes") > notes && count("claims") > claims && count("locks") > locks
    );
    assert_eq!(count("channels"), channels + 1);
}

fn example(pd: &Coordinator) {
    pd.start_session(&NewSession { purpose: "An example".to_owned(), ..NewSession::default() }).expect("a session");
    let claim = ClaimFiles { files: vec!["example.ts".to_owned()], ..ClaimFiles::default() };
    assert_eq!(pd.claim_files(&claim).expect("a claim").claimed.len(), 1);
    let options = LockOptions { tie: Tie::Agent, ..LockOptions::default() };
    pd.lock("example", &options).expect("the lock").expect("a wait without end").leave();
    pd.note(&NewNote { text: "An example".to_owned(), ..NewNote::default() }).expect("a note");
    pd.publish("example", &json!({"n": 1}), &Publish::default()).expect("published");
}
