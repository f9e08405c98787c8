//! What this program does when a bench starts it as another process.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, LockOptions, NewNote, Publish};
use serde_json::json;

use crate::measure::{moment, us};
use crate::setting::{self, Setting};

/// A process in a role.
pub(crate) struct Player {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Player {
    pub(crate) fn start(setting: &Setting, role: &str, agent: &str, rest: &[&str]) -> Player {
        let (db, repository) = (setting.db(), setting.repository());
        let at = [db.to_str().expect("UTF-8"), repository.to_str().expect("UTF-8"), agent];
        let own = std::env::current_exe().expect("this program's path");
        let mut command = setting.command(&own, &["role", role]);
        command.args(at).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("another process");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        Player { child, stdin, stdout }
    }

    /// The next line that it says.
    pub(crate) fn said(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.stdout.read_line(&mut line).expect("its stdout"), 0, "a process ended without a word");
        line.trim().to_owned()
    }

    /// The next line, as a moment.
    pub(crate) fn said_when(&mut self) -> Duration {
        Duration::from_nanos(self.said().parse().expect("a moment"))
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        self.stdin = None;
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

pub(crate) fn say(what: impl std::fmt::Display) {
    println!("{what}");
    std::io::stdout().flush().expect("stdout");
}

/// Waits until the bench lets us go on.
fn wait() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

pub(crate) fn play(role: &str, args: &[&str]) {
    let [db, repository, agent, rest @ ..] = args else { panic!("a role needs a place and a name") };
    if role == "publications" {
        return crate::retention::publish(db, repository, agent, rest);
    }
    let pd = setting::open(Path::new(db), Path::new(repository), agent);
    match (role, rest) {
        ("hold", []) => hold(&pd),
        ("signals" | "notes", [seconds]) => write(&pd, role, seconds.parse().expect("seconds")),
        _ => panic!("there is no role {role}"),
    }
}

/// Takes the lock, says when it has it, and when it lets go.
fn hold(pd: &Coordinator) {
    say("ready");
    let lock = pd.lock("bench", &LockOptions::default()).expect("the lock").expect("a wait without end");
    say(moment().as_nanos());
    wait();
    say(moment().as_nanos());
    lock.release().expect("it is ours");
}

/// Writes for a while, and says how often and how long the slowest took.
fn write(pd: &Coordinator, what: &str, seconds: f64) {
    let once = || match what {
        "notes" => drop(pd.note(&NewNote { text: "Built it".to_owned(), ..NewNote::default() }).expect("a note")),
        _ => drop(pd.publish("bench:done", &json!({"n": 1}), &Publish::default()).expect("a signal")),
    };
    once();
    say("ready");
    wait();
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        once();
        times.push(us(start.elapsed()));
    }
    times.sort_by(f64::total_cmp);
    let last = times.len() - 1;
    say(format!("{} {} {} {}", times.len(), times[last / 2], times[last * 99 / 100], times[last]));
}
