//! The terminal: taken over, and given back however this ends.
//!
//! Who draws and who gives back exclude each other, so that nothing is drawn after the terminal is given back. A signal's
//! thread waits for a drawing in progress, but not for ever: a terminal that takes no more text must not keep a
//! process alive that was told to end.

use std::io::{self, BufWriter, Write as _};
use std::sync::{Condvar, Mutex, PoisonError};
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
    drawing: bool,
    taken: bool,
}

impl Tty {
    pub(super) const fn new() -> Self {
        Self { state: Mutex::new(State { drawing: false, taken: false }), drawn: Condvar::new() }
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
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.drawn.wait_timeout_while(state, DRAWN_WITHIN, |state| state.drawing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.taken) {
            let _ = disable_raw_mode();
            // A terminal that takes no text would hold this up: its modes are back already.
            if !state.drawing {
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
        state.drawing = true;
        drop(state);
        // Also when drawing panics: the hook gives the terminal back.
        let done = Done(self);
        let drawn = draw();
        drop(done);
        drawn
    }
}

struct Done<'a>(&'a Tty);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).drawing = false;
        self.0.drawn.notify_all();
    }
}

/// Buffered, for one write a screen.
pub(super) fn buffered() -> io::Result<BufWriter<Out>> {
    let mut out = BufWriter::with_capacity(1 << 16, out()?);
    out.flush()?;
    Ok(out)
}
