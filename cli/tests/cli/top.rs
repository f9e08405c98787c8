//! `pd top` on a real terminal: a pty, behind which a terminal's emulator draws what a person would see.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::place::{LIMIT, Place, assert_run};

/// `pd top` on a terminal of its own.
struct Top {
    child: Child,
    keyboard: File,
    /// The other side, held open so that its modes can be asked for after the end.
    terminal: OwnedFd,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Top {
    fn start(place: &Place, size: (u16, u16), args: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let terminal = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&ours, winsize(size)).unwrap();
        let mut command = place.command(args);
        let end = || terminal.try_clone().unwrap();
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        // SAFETY: both are system calls that may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let (send, output) = mpsc::channel();
        let keyboard = File::from(ours);
        let mut read = keyboard.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = read.read(&mut bytes) {
                if send.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, terminal, output, screen: vt100::Parser::new(size.1, size.0, 0) }
    }

    fn shown(&self) -> String {
        self.screen.screen().contents()
    }

    /// Draws what comes until it is as it should be.
    fn until(&mut self, is_so: impl Fn(&vt100::Screen) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so(self.screen.screen()) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!(
                        "it never came about: {}, {}\n{}",
                        self.screen.screen().alternate_screen(),
                        self.screen.screen().hide_cursor(),
                        self.shown()
                    )
                }
            }
        }
    }

    fn until_shown(&mut self, text: &str) {
        self.until(|screen| screen.contents().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, name: &str) {
        let sent =
            std::process::Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the main screen, and checks that the terminal is as the shell left it. Its exit code, or minus the signal.
    fn ended(mut self) -> i32 {
        self.until(|screen| !screen.alternate_screen() && !screen.hide_cursor());
        let status = self.child.wait().unwrap();
        self.is_cooked();
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }

    fn is_cooked(&self) {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn winsize((columns, rows): (u16, u16)) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Four agents: two overlap, one waits for another's lock, one is dead and has left work.
fn populated() -> (Place, crate::place::Running) {
    let mut place = Place::new();
    assert!(place.program("git").args(["init", "-q", "."]).status().unwrap().success());
    for (agent, name, purpose) in [
        ("backend", "Backend API", "The payment API"),
        ("frontend", "Frontend", "The checkout, 結帳頁面"),
        ("tests", "Integration Tests", "Testing \u{1b}[31mit\u{202e} all"),
    ] {
        place.agent(agent).ok(&[
            "agent",
            "register",
            "--name",
            name,
            "--identity",
            &format!("payments:{agent}"),
            "--purpose",
            purpose,
        ]);
    }
    place.agent("backend").ok(&[
        "session",
        "start",
        "Stripe API integration",
        "--files",
        "src/api/**",
        "src/types/Payment.ts",
    ]);
    place.agent("frontend").ok(&["session", "start", "Checkout 結帳頁面", "--files", "src/web/**"]);
    place.ok(&["files", "add", "--force", "src/types/*.ts"]);
    place.agent("backend").ok(&["lock", "db-migrations"]);
    let waiting = place.agent("tests").start(&["lock", "db-migrations", "--wait"]);
    place.until_waiting(1);
    place.agent("frontend").ok(&["claim", "payments:frontend", "--port", "3999"]);
    place.ok(&["note", "Leaving src/types to its owner", "--type", "blocker"]);
    place.agent("looker");
    (place, waiting)
}

/// A drawn screen without what differs from run to run.
macro_rules! assert_screen {
    ($screen:expr, $($expected:tt)*) => {
        insta::with_settings!({filters => vec![
            (r"session-[0-9a-z]{5}", "session-IDIDI"),
            (r"\S*/pd-test-\w{6}", "/tmp/pd-test-RANDOM"),
            (r"\d\d:\d\d:\d\d", "HH:MM:SS"),
            (r" ?\b\d{1,2}s\b", " Ns"),
        ]}, { insta::assert_snapshot!($screen, $($expected)*) })
    };
}

#[test]
fn a_screen_of_80_by_24() {
    let (place, _waiting) = populated();
    assert_screen!(place.ok(&["top", "--once", "--size", "80x24"]), @r#"
    pd top  scope work  agents: 3 active, 0 stale, 0 dead  waiting: 1
    > AGENTS 3 ---------------------------------------------------------------------
     active  backend   Backend API        payments:backend    Ns  The payment API
     active  frontend  Frontend           payments:frontend   Ns  The checkout, 結…
     active  tests     Integration Tests  payments:tests      Ns  waits for lock db…
    - SESSIONS 2 -------------------------------------------------------------------
     Backend API  session-IDIDI   Ns  -  0 notes  Stripe API integration
     Frontend     session-IDIDI   Ns  -  1 note   Checkout 結帳頁面
    - LOCKS 1, 1 waiting -----------------------------------------------------------
     db-migrations  Backend API (alive)   Ns  1 waiting: Integration Tests; Stripe …
    - CLAIMS 4, 1 conflict ---------------------------------------------------------
     conflict  src/types/Payment.ts  Backend API (alive) src/types/Payment.ts and F…
     claim     src/api/**            Backend API, Ns
     claim     src/types/Payment.ts  Backend API, Ns
     claim     src/web/**            Frontend, Ns
     forced    src/types/*.ts        Frontend, Ns
    - PORTS 1 ----------------------------------------------------------------------
     3999  payments:frontend  idle  Frontend, /tmp/pd-test-RANDOM/work
    - TIMELINE 13 (rows 10-13 of 13) -----------------------------------------------
     HH:MM:SS  lock.grant  Backend API        took db-migrations
     HH:MM:SS  lock.wait   Integration Tests  waits for db-migrations, held by back…
     HH:MM:SS  port.claim  Frontend           got port 3999 for payments:frontend
     HH:MM:SS  blocker     Frontend           Leaving src/types to its owner
    q quit  Tab pane  up/down scroll  a all scopes  / filter  ? help
    "#);
}

#[test]
fn a_screen_of_120_by_40() {
    let (place, _waiting) = populated();
    assert_screen!(place.ok(&["top", "--once", "--size", "120x40"]), @r#"
    pd top  scope work  agents: 3 active, 0 stale, 0 dead  waiting: 1
    > AGENTS 3 -------------------------------------------------------------------------------------------------------------
     active  backend   Backend API        payments:backend    Ns  The payment API
     active  frontend  Frontend           payments:frontend   Ns  The checkout, 結帳頁面
     active  tests     Integration Tests  payments:tests      Ns  waits for lock db-migrations ( Ns)
    - SESSIONS 2 -----------------------------------------------------------------------------------------------------------
     Backend API  session-IDIDI   Ns  -  0 notes  Stripe API integration
     Frontend     session-IDIDI   Ns  -  1 note   Checkout 結帳頁面
    - LOCKS 1, 1 waiting ---------------------------------------------------------------------------------------------------
     db-migrations  Backend API (alive)   Ns  1 waiting: Integration Tests; Stripe API integration
    - CLAIMS 4, 1 conflict -------------------------------------------------------------------------------------------------
     conflict  src/types/Payment.ts  Backend API (alive) src/types/Payment.ts and Frontend (alive) src/types/*.ts
     claim     src/api/**            Backend API, Ns
     claim     src/types/Payment.ts  Backend API, Ns
     claim     src/web/**            Frontend, Ns
     forced    src/types/*.ts        Frontend, Ns
    - PORTS 1 --------------------------------------------------------------------------------------------------------------
     3999  payments:frontend  idle  Frontend, /tmp/pd-test-RANDOM/work
    - TIMELINE 13 ----------------------------------------------------------------------------------------------------------
     HH:MM:SS  agent.register  Backend API        registered backend as payments:backend
     HH:MM:SS  agent.register  Frontend           registered frontend as payments:frontend
     HH:MM:SS  agent.register  Integration Tests  registered tests as payments:tests
     HH:MM:SS  session.start   Backend API        started session-IDIDI: Stripe API integration
     HH:MM:SS  files.claim     Backend API        claimed src/api/**, src/types/Payment.ts
     HH:MM:SS  session.start   Frontend           started session-IDIDI: Checkout 結帳頁面
     HH:MM:SS  files.claim     Frontend           claimed src/web/**
     HH:MM:SS  files.claim     Frontend           claimed src/types/*.ts
     HH:MM:SS  files.conflict  Frontend           session-IDIDI {"forced":true,"count":1,"with":[{"pattern":"src/types/*.ts…
     HH:MM:SS  lock.grant      Backend API        took db-migrations
     HH:MM:SS  lock.wait       Integration Tests  waits for db-migrations, held by backend
     HH:MM:SS  port.claim      Frontend           got port 3999 for payments:frontend
     HH:MM:SS  blocker         Frontend           Leaving src/types to its owner







    q quit  Tab pane  up/down scroll  a all scopes  / filter  ? help
    "#);
}

#[test]
fn a_screen_of_40_by_10() {
    let (place, _waiting) = populated();
    assert_screen!(place.ok(&["top", "--once", "--size", "40x10"]), @r#"
    pd top  scope work  agents: 3 active, 0…
    > AGENTS 3 -----------------------------
     active  backend   Backend API        p…
     active  frontend  Frontend           p…
     active  tests     Integration Tests  p…




    q quit  Tab pane  up/down scroll  a all…
    "#);
}

#[test]
fn status_prints_the_same_picture() {
    let (place, _waiting) = populated();
    let status = place.ok(&["status"]);
    let sections = &status[status.find("\nAGENTS").unwrap()..status.find("\nTIMELINE").unwrap()];
    assert_screen!(sections, @r#"
    AGENTS
      active  backend   Backend API        payments:backend    Ns  The payment API
      active  frontend  Frontend           payments:frontend   Ns  The checkout, 結帳頁面
      active  tests     Integration Tests  payments:tests      Ns  waits for lock db-migrations ( Ns)

    SESSIONS
      Backend API  session-IDIDI   Ns  -  0 notes  Stripe API integration
      Frontend     session-IDIDI   Ns  -  1 note   Checkout 結帳頁面

    LOCKS
      db-migrations  Backend API (alive)   Ns  1 waiting: Integration Tests; Stripe API integration

    CLAIMS
      conflict  src/types/Payment.ts  Backend API (alive) src/types/Payment.ts and Frontend (alive) src/types/*.ts
      claim     src/api/**            Backend API, Ns
      claim     src/types/Payment.ts  Backend API, Ns
      claim     src/web/**            Frontend, Ns
      forced    src/types/*.ts        Frontend, Ns

    PORTS
      3999  payments:frontend  idle  Frontend, /tmp/pd-test-RANDOM/work
    "#);
    let (status, top) = (place.json(&["status"]), place.json(&["top"]));
    assert_eq!(status["agents"]["active"], 3);
    assert_eq!(status["overview"]["totals"], top["overview"]["totals"]);
    assert_eq!(status["overview"]["conflicts"][0]["witness"], "src/types/Payment.ts");
}

#[test]
fn what_another_process_does_appears_by_itself_and_q_gives_the_terminal_back() {
    let mut place = Place::new();
    place.agent("looker");
    let mut top = Top::start(&place, (80, 24), &["top"]);
    top.until(|screen| screen.alternate_screen() && screen.contents().contains("TIMELINE 0"));
    place.agent("writer").ok(&["note", "A note from elsewhere"]);
    top.until_shown("A note from elsewhere");
    top.until_shown("active  writer");
    top.press("?");
    top.until_shown("the next pane");
    top.press("?\t");
    top.until_shown("> SESSIONS 1");
    top.press("/nobody\r");
    top.until_shown("> SESSIONS 0");
    top.press("\u{1b}");
    top.until_shown("> SESSIONS 1");
    tcsetwinsize(&top.keyboard, winsize((60, 12))).unwrap();
    top.screen.screen_mut().set_size(12, 60);
    top.until(|screen| screen.rows(0, 60).nth(11).is_some_and(|row| row.starts_with("q quit")));
    top.press("q");
    assert_eq!(top.ended(), 0);
}

#[test]
fn a_signal_gives_the_terminal_back_before_it_ends_the_process() {
    for (name, number) in [("TERM", 15), ("HUP", 1), ("INT", 2)] {
        let place = Place::new();
        let mut top = Top::start(&place, (80, 24), &["top"]);
        top.until_shown("TIMELINE");
        top.signal(name);
        assert_eq!(top.ended(), -number, "{name}");
    }
}

#[test]
fn it_can_be_stopped_and_goes_on() {
    let place = Place::new();
    let mut top = Top::start(&place, (80, 24), &["top"]);
    top.until_shown("TIMELINE");
    let pid = rustix::process::Pid::from_child(&top.child);
    // Ctrl-Z, and what `kill` sends.
    for stop in [|top: &mut Top| top.press("\u{1a}"), |top: &mut Top| top.signal("TSTP")] {
        stop(&mut top);
        top.until(|screen| !screen.alternate_screen() && !screen.hide_cursor());
        let stopped = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(stopped.1.stopped(), "{stopped:?}");
        top.is_cooked();
        top.signal("CONT");
        top.until(|screen| screen.alternate_screen() && screen.contents().contains("TIMELINE"));
    }
    top.press("\u{3}");
    assert_eq!(top.ended(), 0);
}

#[test]
fn who_looks_leaves_no_trace_even_killed() {
    let mut place = Place::new();
    place.agent("writer").ok(&["note", "A note"]);
    let trace = |place: &Place| {
        let status = place.json(&["status"]);
        let live = std::fs::read_dir(place.path("db/port-daddy.db.live")).map_or(0, Iterator::count);
        (status["seq"].clone(), status["overview"]["totals"].clone(), status["waiters"].clone(), live)
    };
    let before = trace(&place);
    place.agent("looker");
    let mut top = Top::start(&place, (80, 24), &["top"]);
    top.until_shown("A note");
    assert_eq!(trace(&place), before, "while it looks");
    top.child.kill().unwrap();
    top.child.wait().unwrap();
    assert_eq!(trace(&place), before, "after it was killed");
    assert!(place.json(&["agents", "--all"])["agents"].as_array().unwrap().iter().all(|a| a["id"] == "writer"));
    place.ok(&["top", "--once"]);
    assert_eq!(trace(&place), before);
}

#[test]
fn colour_is_no_part_of_what_is_said() {
    let (place, _waiting) = populated();
    let mut top = Top::start(&place, (80, 24), &["top"]);
    top.until_shown("conflict");
    let coloured = |screen: &vt100::Screen| {
        (0..24).any(|row| {
            (0..80).any(|column| screen.cell(row, column).is_some_and(|c| c.fgcolor() != vt100::Color::Default))
        })
    };
    assert!(!coloured(top.screen.screen()), "NO_COLOR is set");
}

#[test]
fn what_is_no_terminal_is_refused_with_a_way_out() {
    let place = Place::new();
    assert_run!(place.pd(&["top"]), @r#"
    2> Error: pd top needs a terminal, and stdout is none
    2> Hint: pd status prints the same once, pd top --once draws one screen as text
    exit 2
    "#);
    let dumb = place.sh("command -v script >/dev/null || exit 0; TERM=dumb script -qec 'pd top' /dev/null");
    if !dumb.stdout.is_empty() {
        assert!(dumb.stdout.contains("TERM is dumb") && dumb.exit == 2, "{}", dumb.shown());
    }
    assert!(!place.path("db").exists(), "nothing is made");
    assert_run!(place.pd(&["top", "--once", "--size", "0x9"]), @r#"
    2> error: invalid value '0x9' for '--size <COLUMNSxROWS>': "0x9" is no size: write columns and rows, each 1 to 500, like 80x24
    2> 
    2> For more information, try '--help'.
    exit 2
    "#);
}
