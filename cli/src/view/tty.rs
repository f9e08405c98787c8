//! The terminal: taken over, and given back however this ends.
//!
//! Who draws and who gives back exclude each other, so that nothing is drawn after the terminal is given back. A signal's
//! thread waits for a drawing in progress, but not for ever: a terminal that takes no more text must not keep a
//! process alive that was told to end.

use std::io::{self, BufWriter, Write as _};
use std::panic;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

const DRAWN_WITHIN: Duration = Duration::from_millis(500);

/// What is written to: a descriptor of its own, for the command holds the lock of stdout as long as it runs.
#[cfg(unix)]
pub(super) type Out = std::fs::File;
#[cfg(not(unix))]
pub(super) type Out = io::Stdout;

pub(super) fn out() -> io::Result<Out> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
    }
    #[cfg(not(unix))]
    Ok(io::stdout())
}

pub(super) struct Tty {
    state: Mutex<State>,
    drawn: Condvar,
}

#[derive(Default)]
struct State {
    /// Who draws.
    drawing: Option<ThreadId>,
    taken: bool,
}

impl Tty {
    pub(super) const fn new() -> Self {
        Self { state: Mutex::new(State { drawing: None, taken: false }), drawn: Condvar::new() }
    }

    /// Takes the terminal over: keys one by one, a screen of its own.
    pub(super) fn take(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken = true;
        // After a stop the shell has set its own modes: those that are remembered as ours aren't the terminal's.
        let _ = disable_raw_mode();
        enable_raw_mode()?;
        execute!(out()?, EnterAlternateScreen, Hide)
    }

    /// Gives it back. What fails has nobody left to tell.
    pub(super) fn give_back(&self) {
        // Who is in the middle of drawing and comes here has panicked, and draws no more.
        let me = thread::current().id();
        let by_another = |state: &State| state.drawing.is_some_and(|thread| thread != me);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.drawn.wait_timeout_while(state, DRAWN_WITHIN, |state| by_another(state));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.taken) {
            let _ = disable_raw_mode();
            // A terminal that takes no text would hold this up: its modes are back already.
            if !by_another(&state) {
                let _ = out().and_then(|mut out| execute!(out, LeaveAlternateScreen, Show));
            }
        }
    }

    /// Draws, if the terminal is still ours.
    pub(super) fn drawing(&self, draw: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.taken {
            return Ok(());
        }
        state.drawing = Some(thread::current().id());
        drop(state);
        // Also when drawing panics.
        let done = Done(self);
        let drawn = draw();
        drop(done);
        drawn
    }
}

/// Has a panic, wherever it is, give the terminal back before it says what it is.
pub(super) fn give_back_on_panic(tty: &'static Tty) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tty.give_back();
        before(what);
    }));
}

struct Done<'a>(&'a Tty);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).drawing = None;
        self.0.drawn.notify_all();
    }
}

/// Buffered, for one write a screen.
pub(super) fn buffered() -> io::Result<BufWriter<Out>> {
    let mut out = BufWriter::with_capacity(1 << 16, out()?);
    out.flush()?;
    Ok(out)
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    static TTY: Tty = Tty::new();
    /// What makes this test's process the one on the terminal, and who panics there.
    const ROLE: &str = "PD_TEST_PANICS";

    /// Panics while the terminal is taken.
    fn panics(who: &str) {
        give_back_on_panic(&TTY);
        TTY.take().unwrap();
        let fail = |what: &str| -> io::Result<()> { panic!("{what} fails") };
        match who {
            "drawing" => TTY.drawing(|| fail(who)).unwrap(),
            _ => fail(who).unwrap(),
        }
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if let Ok(who) = std::env::var(ROLE) {
            return panics(&who);
        }
        for who in ["drawing", "looking"] {
            let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
            grantpt(&ours).unwrap();
            unlockpt(&ours).unwrap();
            let name = ptsname(&ours, Vec::new()).unwrap();
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            let terminal = open(name.as_c_str(), flags, Mode::empty()).unwrap();
            let mut ours = std::fs::File::from(ours);
            let reader = thread::spawn(move || {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"END") {
                    let mut some = [0; 4096];
                    let n = ours.read(&mut some).unwrap();
                    bytes.extend(&some[..n]);
                }
                bytes
            });
            let end = || Stdio::from(terminal.try_clone().unwrap());
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "view::tty::tests::a_panic_gives_the_terminal_back", "--nocapture"]);
            command.env(ROLE, who).env("RUST_BACKTRACE", "0").stdin(end()).stdout(end()).stderr(end());
            let mut child = command.spawn().unwrap();
            drop(command);
            assert!(!child.wait().unwrap().success(), "{who}");
            let modes = tcgetattr(&terminal).unwrap().local_modes;
            assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{who}: {modes:?}");
            // All that was written is there, and ends with this.
            io::Write::write_all(&mut std::fs::File::from(terminal), b"END").unwrap();
            let bytes = reader.join().unwrap();
            let mut shown = vt100::Parser::new(60, 200, 0);
            assert!(String::from_utf8_lossy(&bytes).contains("\x1b[?1049h"), "{who}: it was taken");
            shown.process(&bytes);
            let screen = shown.screen();
            assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{who}: {}", screen.contents());
            assert!(screen.contents().contains(&format!("{who} fails")), "{who}: {}", screen.contents());
        }
    }
}
