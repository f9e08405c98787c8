//! What this program does when a bench starts it as another process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, ErrorKind, NewNote, Publish};
use serde_json::json;

use crate::measure::us;
use crate::setting::{self, Setting};
use crate::{contended, hand_over, idle, listener};

/// A process in a role.
pub(crate) struct Player {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Player {
    pub(crate) fn start(setting: &Setting, role: &str, agent: &str, rest: &[&str]) -> Player {
        Self::start_as(&std::env::current_exe().expect("this program's path"), setting, role, agent, rest)
    }

    /// In another build of this program.
    pub(crate) fn start_as(program: &Path, setting: &Setting, role: &str, agent: &str, rest: &[&str]) -> Player {
        let (db, repository) = (setting.db(), setting.repository());
        let at = [db.to_str().expect("UTF-8"), repository.to_str().expect("UTF-8"), agent];
        let mut command = setting.command(program, &["role", role]);
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

    /// The next line, as numbers.
    pub(crate) fn said_numbers(&mut self) -> Vec<f64> {
        self.said().split_whitespace().map(|n| n.parse().expect("a number")).collect()
    }

    /// Gives it a line to go on with.
    pub(crate) fn tell(&mut self, what: impl std::fmt::Display) {
        let stdin = self.stdin.as_mut().expect("a process that listens");
        writeln!(stdin, "{what}").expect("a process that listens");
    }

    /// Lets it go on, for good.
    pub(crate) fn go(&mut self) {
        self.stdin = None;
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stdin = None;
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

pub(crate) fn say(what: impl std::fmt::Display) {
    println!("{what}");
    std::io::stdout().flush().expect("stdout");
}

pub(crate) fn say_numbers(numbers: &[f64]) {
    say(numbers.iter().map(|n| format!("{n:.3}")).collect::<Vec<_>>().join(" "));
}

/// What the bench tells us next; none when it is done with us.
pub(crate) fn told() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().read_line(&mut line).expect("stdin") > 0).then(|| line.trim().to_owned())
}

/// Waits until the bench lets us go on.
pub(crate) fn wait() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

pub(crate) fn play(role: &str, args: &[&str]) {
    let [db, repository, agent, rest @ ..] = args else { panic!("a role needs a place and a name") };
    if role == "publications" {
        return crate::retention::publish(db, repository, agent, rest);
    }
    let open = || setting::open(Path::new(db), Path::new(repository), agent);
    match (role, rest) {
        ("hold", []) => hand_over::hold(&open()),
        ("turns", rest) => contended::take_turns(rest, open),
        ("listen", rest) => listener::listen(rest, open),
        ("wait", [count]) => idle::wait_in_tasks(&open(), count.parse().expect("a number")),
        ("signals" | "notes", [seconds]) => write(&open(), role, seconds.parse().expect("seconds")),
        _ => panic!("there is no role {role}"),
    }
}

/// Writes for a while, and says how long each took, in microseconds.
fn write(pd: &Coordinator, what: &str, seconds: f64) {
    let once = || match what {
        "notes" => pd.note(&NewNote { text: "Built it".to_owned(), ..NewNote::default() }).map(|_| ()),
        _ => pd.publish("bench:done", &json!({"n": 1}), &Publish::default()).map(|_| ()),
    };
    once().expect("a first time");
    say("ready");
    told();
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        // Who gives up after SQLite's five seconds tries again: it has waited all the time.
        while let Err(e) = once() {
            assert_eq!(e.kind(), ErrorKind::StoreBusy, "{e}");
        }
        times.push(us(start.elapsed()));
    }
    say_numbers(&times);
    // It lives until it has been counted.
    wait();
}
