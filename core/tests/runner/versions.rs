//! Files of older versions: each is brought to the present schema, and what it held is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portdaddy_core::{
    ClaimFilter, Clock, Coordinator, Event, LockOptions, NewNote, NoteFilter, Publish, Replay, SalvageFilter,
    ScopeChoice, ServiceFilter, SessionFilter, Subscribe, Wait,
};
use portdaddy_testutil::TempStore;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;

/// A table's rows, by the names of its columns.
pub(super) type Rows = Vec<BTreeMap<String, String>>;

fn fixture(version: i64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/schema-{version}.sql"))
}

/// The schema of a file that this build makes.
pub(super) fn present() -> i64 {
    let store = TempStore::new();
    store.open("a").close();
    version(&store.db())
}

pub(super) fn version(db: &Path) -> i64 {
    Connection::open(db).unwrap().query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap()
}

/// A store with the file of that version.
pub(super) fn restored(version: i64) -> TempStore {
    let store = TempStore::new();
    let dir = store.db().parent().unwrap().to_owned();
    fs::create_dir(&dir).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let conn = Connection::open(store.db()).unwrap();
    let sql = fs::read_to_string(fixture(version)).unwrap();
    // The size of a page is decided before the log is.
    let (page_size, rest) = sql.split_once('\n').unwrap();
    conn.execute_batch(&format!("{page_size} PRAGMA journal_mode = WAL; {rest}")).unwrap();
    // The moment when it was made, give or take: much of what it holds expires.
    let made: i64 = conn.query_row("SELECT max(at_ms) FROM activity", [], |r| r.get(0)).unwrap();
    // A minute after the machine's next start: nobody has been silent for long.
    store.clock().advance(60_000 - Clock::awake_ms(store.clock()));
    store.clock().sleep(made - Clock::wall_ms(store.clock()));
    store
}

/// All that a file holds.
pub(super) fn contents(db: &Path) -> BTreeMap<String, Rows> {
    let conn = Connection::open(db).unwrap();
    let mut tables =
        conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").unwrap();
    let tables: Vec<String> = tables.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    let rows = |table: &str| {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let row = |r: &rusqlite::Row<'_>| {
            Ok(names
                .iter()
                .enumerate()
                .map(|(n, name)| (name.clone(), format!("{:?}", r.get::<_, Value>(n).unwrap())))
                .collect())
        };
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    tables.into_iter().map(|table| (table.clone(), rows(&table))).collect()
}

/// What of `before` isn't in `after`: columns may have been added, and a wait ends with the version that it began in.
pub(super) fn missing(before: &BTreeMap<String, Rows>, after: &BTreeMap<String, Rows>) -> Vec<String> {
    let mut missing = Vec::new();
    for (table, rows) in before.iter().filter(|(table, _)| *table != "waiters") {
        let there = after.get(table).map(Vec::as_slice).unwrap_or_default();
        for row in rows {
            if !there.iter().any(|other| row.iter().all(|(column, value)| other.get(column) == Some(value))) {
                missing.push(format!("{table}: {row:?}"));
            }
        }
        if there.len() != rows.len() {
            missing.push(format!("{table}: {} rows instead of {}", there.len(), rows.len()));
        }
    }
    missing
}

#[test]
fn every_version_has_a_file_that_fills_every_table() {
    for version in 1..=present() {
        let path = fixture(version);
        assert!(path.exists(), "{} is missing: tests/fixtures/README.md says how it is made", path.display());
        let store = restored(version);
        let empty: Vec<String> =
            contents(&store.db()).into_iter().filter(|(_, rows)| rows.is_empty()).map(|(table, _)| table).collect();
        assert!(empty.is_empty(), "version {version} has nothing in {empty:?}");
    }
}

#[test]
fn a_file_of_any_version_is_brought_to_the_present_one_and_all_that_it_held_is_there() {
    let present = present();
    for old in 1..=present {
        let store = restored(old);
        let before = contents(&store.db());
        assert_eq!(version(&store.db()), old);
        let pd = Coordinator::open(store.options().agent("bob").scope(ScopeChoice::Named("shop".into()))).unwrap();
        assert_eq!(version(&store.db()), present);
        let after = contents(&store.db());
        let lost = missing(&before, &after);
        assert!(lost.is_empty(), "from version {old}: {lost:#?}");
        // What waited in an older version can't keep its place in the queue.
        assert_eq!(after["waiters"].is_empty(), old < present);
        as_its_users_see_it(&pd);
        pd.close();
        let conn = Connection::open(store.db()).unwrap();
        let sound: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok", "from version {old}");
        assert!(!conn.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap(), "from version {old}");
    }
}

fn as_its_users_see_it(pd: &Coordinator) {
    let texts: Vec<String> = pd.notes(&NoteFilter::default()).unwrap().notes.into_iter().map(|n| n.text).collect();
    assert_eq!(
        texts,
        ["The API speaks JSON", "Money is in cents", "Pages are static", "Pages are done", "Half of them pass"]
    );
    let sessions = pd.sessions(&SessionFilter::default()).unwrap().sessions;
    let mut of: Vec<(&str, &str)> = sessions.iter().map(|s| (s.agent.as_str(), s.purpose.as_str())).collect();
    of.sort_unstable();
    assert_eq!(
        of,
        [
            ("alice", "Build the API"),
            ("bob", "Build the pages"),
            ("bob", "Write the tests"),
            ("claude-222222", "Write the manual")
        ]
    );
    let mut claims: Vec<String> =
        pd.file_claims(&ClaimFilter::default()).unwrap().claims.into_iter().map(|c| c.pattern).collect();
    claims.sort();
    assert_eq!(claims, ["src/*.sql", "src/api.rs", "tests"]);
    let mut ports: Vec<(String, u16)> =
        pd.services(&ServiceFilter::default()).unwrap().services.into_iter().map(|s| (s.identity, s.port)).collect();
    ports.sort();
    assert_eq!(ports, [("shop:api".to_owned(), 3150), ("shop:pages".to_owned(), 5400)]);
    let dead = pd.salvage(&SalvageFilter::default()).unwrap().items;
    assert_eq!(dead.iter().map(|item| item.agent.as_str()).collect::<Vec<_>>(), ["claude-222222"]);
    let held = pd.lock_info("migrations").unwrap().unwrap();
    assert_eq!((held.agent.as_str(), held.token), ("alice", 1 << 32));

    // The position is where it was, and the order of commits and the tokens go on.
    let worker = Subscribe {
        patterns: "build:*".into(),
        replay: Replay::All,
        durable: Some("worker".into()),
        ..Subscribe::default()
    };
    let mut worker = pd.subscribe(&worker).unwrap();
    let mut payloads = Vec::new();
    while let Some(event) = worker.next(&Wait::at_most(Duration::ZERO)).unwrap() {
        if let Event::Message(delivery) = event {
            payloads.push(delivery.message.payload);
        }
    }
    assert_eq!(payloads, [json!({"ok": true, "n": 2}), json!("why")]);
    let last = pd.activity(&Default::default()).unwrap().entries.iter().map(|entry| entry.seq).max().unwrap();
    let published = pd.publish("build:done", &json!(3), &Publish::default()).unwrap();
    let note = pd.note(&NewNote { text: "after".into(), ..NewNote::default() }).unwrap().note;
    assert!(published.seq > last && note.seq > published.seq, "{last} {} {}", published.seq, note.seq);
    let lock = pd.lock("new", &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap();
    assert!(lock.token() > (1 << 32) + 2, "{}", lock.token());
}

#[test]
fn a_file_that_was_brought_to_the_present_version_has_the_schema_of_a_new_one() {
    let schema = |db: &Path| -> Vec<(String, String, Option<String>)> {
        let conn = Connection::open(db).unwrap();
        let mut all = conn.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").unwrap();
        all.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap().map(Result::unwrap).collect()
    };
    let new = TempStore::new();
    new.open("a").close();
    for old in 1..=present() {
        let store = restored(old);
        store.open("a").close();
        assert_eq!(schema(&store.db()), schema(&new.db()), "from version {old}");
    }
}
