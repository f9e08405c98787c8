//! What `pd` does when a benchmark starts it as another process. It says lines on stdout; the end of its stdin ends it.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use portdaddy_core::{
    Cancel, Coordinator, Error, ErrorKind, Event, LockOptions, Options, Replay, Subscribe, Subscription, Wait,
};

use super::{moment, options, signal, take};
use crate::output::{Outcome, Ui};

/// How long the keeper tries to remove what others may still write to.
const REMOVING: Duration = Duration::from_secs(10);

/// `pd` as another process.
pub(super) struct Player {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Player {
    pub(super) fn start(database: &Path, role: &str, rest: &[&OsStr]) -> Result<Player, Error> {
        let failed = |e| Error::invalid(format!("pd can't be started as another process: {e}")).caused_by(e);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["bench", "--json", "--db"]).arg(database).args(["--role", role]).args(rest);
        // A process group of its own: Ctrl-C ends us alone, and our end the others, the keeper last.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| Error::invalid("another process has no output"))?;
        Ok(Player { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// The next line that it says.
    pub(super) fn said(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        if read.is_ok_and(|length| length > 0) && !line.starts_with("{\"error\"") {
            return Ok(line.trim_end().to_owned());
        }
        let error: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let why = error.and_then(|e| Some(e["error"]["message"].as_str()?.to_owned()));
        let why = why.unwrap_or_else(|| "it ended without a word".to_owned());
        Err(Error::new(ErrorKind::StoreIo, format!("another process of the benchmark failed: {why}"))
            .hint("pd doctor checks the database's directory"))
    }

    /// The next line, as a moment.
    pub(super) fn said_when(&mut self) -> Result<Duration, Error> {
        Ok(self.said_times()?.first().copied().unwrap_or_default())
    }

    /// The next line, as nanoseconds.
    pub(super) fn said_times(&mut self) -> Result<Vec<Duration>, Error> {
        Ok(self.said()?.split(' ').filter_map(|ns| ns.parse().ok()).map(Duration::from_nanos).collect())
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => self.said().map(drop),
        }
    }

    /// Lets it go on.
    pub(super) fn go(&mut self) {
        self.stdin = None;
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// Plays a role of the benchmark; `base` names its database.
pub(crate) fn play(role: &[OsString], base: Options, ui: &mut Ui) -> Outcome {
    let words: Vec<_> = role.iter().map(|word| word.to_string_lossy()).collect();
    let open = |agent: &str| {
        // Who comes late must not make the directory anew that the keeper has removed.
        let database = base.database()?;
        if !database.ancestors().nth(2).is_some_and(Path::exists) {
            return Err(Error::new(ErrorKind::StoreIo, "the benchmark is over"));
        }
        Coordinator::open(options(base, agent))
    };
    match (words[0].as_ref(), &words[1..]) {
        ("keep", [_]) => keep(Path::new(&role[1]), ui),
        ("listen", []) => listen(&open("listener")?, ui),
        ("wait", []) => wait(&open("waiter")?, ui),
        ("write", [n, ms]) => write(&open(&format!("writer-{n}"))?, ms.parse().unwrap_or_default(), ui),
        (other, _) => Err(Error::invalid(format!("the benchmark has no role {other:?}")).into()),
    }
}

fn say_moment(ui: &mut Ui) -> Outcome {
    ui.stream_line(&moment().as_nanos())
}

/// Makes a directory, says its name, and removes it when the other end of the pipe is gone.
fn keep(place: &Path, ui: &mut Ui) -> Outcome {
    let name = format!(".pd-bench-{}", std::process::id());
    let dir = place.join(&name);
    std::fs::create_dir(&dir).map_err(|e| {
        Error::new(ErrorKind::StoreIo, format!("the directory {} can't be made: {e}", dir.display())).caused_by(e)
    })?;
    let said = ui.stream_line(&name);
    if said.is_ok() {
        until_alone();
    }
    let begin = Instant::now();
    // The others end at the same time as we do: until then they may put something into it again.
    while std::fs::remove_dir_all(&dir).is_err() && dir.exists() && begin.elapsed() < REMOVING {
        std::thread::sleep(Duration::from_millis(5));
    }
    said
}

/// Comes back at the end of stdin.
fn until_alone() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// A wait that the end of stdin ends.
fn until_stdin_ends() -> Wait {
    let cancel = Cancel::new();
    let ended = cancel.clone();
    std::thread::spawn(move || {
        until_alone();
        ended.cancel();
    });
    Wait { timeout: None, cancel: Some(cancel) }
}

/// Says when each message arrived.
fn listen(pd: &Coordinator, ui: &mut Ui) -> Outcome {
    let subscribe = Subscribe { patterns: "bench:delivery".to_owned(), replay: Replay::None, ..Subscribe::default() };
    let mut subscription: Subscription = pd.subscribe(&subscribe)?;
    let wait = until_stdin_ends();
    ui.stream_line(&"ready")?;
    while let Some(event) = orderly(subscription.next(&wait))?.flatten() {
        if matches!(event, Event::Message(_)) {
            say_moment(ui)?;
        }
    }
    Ok(())
}

/// Waits for one lock after the other, and says when it had each.
fn wait(pd: &Coordinator, ui: &mut Ui) -> Outcome {
    let options = LockOptions { wait: until_stdin_ends(), ..LockOptions::default() };
    ui.stream_line(&"ready")?;
    for n in 0_u64.. {
        let Some(lock) = orderly(take(pd, &format!("bench-{n}"), &options))? else { break };
        say_moment(ui)?;
        lock.release()?;
    }
    Ok(())
}

/// Publishes for so long from the end of stdin on, and says when it ended and how long each took.
fn write(pd: &Coordinator, ms: u64, ui: &mut Ui) -> Outcome {
    signal(pd, "bench:writers")?;
    ui.stream_line(&"ready")?;
    until_alone();
    let times = super::calls(Duration::from_millis(ms), || signal(pd, "bench:writers"))?;
    say_moment(ui)?;
    let each: Vec<_> = times.each.iter().map(|time| time.as_nanos().to_string()).collect();
    ui.stream_line(&each.join(" "))
}

/// None where a wait was cancelled.
fn orderly<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(e) if e.kind() == ErrorKind::Cancelled => Ok(None),
        other => other.map(Some),
    }
}
