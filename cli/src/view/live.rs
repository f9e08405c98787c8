//! The screen while it lives: keys from one thread, changes from another, signals from a third; this one reads and draws.
//!
//! Nothing is polled: a change in the database wakes the second. What no write tells (a death that nobody has noticed, a
//! port that something listens on) is looked for every few seconds, and ages are drawn anew once a second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, Error, ErrorKind, Overview, OverviewFilter, Wait};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;

use super::model::{self, PANES, Pane};
use super::screen::{Frame, Screen};
use super::tty::{self, Tty};
use crate::output::{Failure, Outcome, escape, now_ms};

/// Looks follow each other no faster, however much changes.
const APART: Duration = Duration::from_millis(200);
/// Without a change, the next look is this far.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Ages are in whole seconds.
const AGES: Duration = Duration::from_secs(1);

static TTY: Tty = Tty::new();

enum Event {
    Key(KeyEvent),
    /// Another size, or back from a stop.
    Anew,
    Changed,
    /// The terminal is gone.
    Gone,
}

/// `port daddy  shop  3 active, 1 stale, 1 dead  1 to salvage`
pub(crate) fn header(seen: &Overview, all: bool) -> String {
    let status = &seen.status;
    let agents = &status.agents;
    let scope = if all { "all scopes".to_owned() } else { format!("scope {}", escape(&status.scope)) };
    let mut text =
        format!("pd top  {scope}  agents: {} active, {} stale, {} dead", agents.active, agents.stale, agents.dead);
    if !status.waiters.is_empty() {
        text += &format!("  waiting: {}", status.waiters.len());
    }
    if status.salvage > 0 {
        text += &format!("  to salvage: {}", status.salvage);
    }
    text
}

/// Shows the screen until the person who looks has seen enough.
pub(crate) fn run(pd: &Coordinator, mut all: bool, colour: bool) -> Outcome {
    let look = |all| pd.overview(&OverviewFilter { all, limit: None });
    // What can't be read at all is said on the terminal as it was.
    let mut seen = look(all)?;
    let (send, events) = mpsc::channel();
    let changed = Arc::new(AtomicBool::new(false));
    follow(pd, &send, &changed);
    let (mut looked, mut due) = (Instant::now(), true);
    signals::attend(&send)?;
    tty::give_back_on_panic(&TTY);
    TTY.take()?;
    let _given_back = GivenBack;
    let mut terminal = Terminal::new(CrosstermBackend::new(tty::buffered()?))?;
    keys(&send);
    let mut screen = Screen::new(colour);
    let mut trouble = None;
    let mut panes = model::panes(&seen, now_ms())?;
    loop {
        if due && looked.elapsed() >= APART {
            // Before the look: what changes during it calls for another.
            changed.store(false, Ordering::SeqCst);
            (due, looked) = (false, Instant::now());
            match look(all) {
                Ok(now) => (seen, trouble) = (now, None),
                Err(e) if e.kind() == ErrorKind::Closed => return Err(e.into()),
                Err(e) => {
                    trouble = Some(
                        escape(&format!("{} (as of {} s ago)", e.message(), (now_ms() - seen.at_ms) / 1000))
                            .into_owned(),
                    )
                }
            }
        }
        panes = model::panes(&seen, now_ms()).unwrap_or(panes);
        let (head, gone) = (header(&seen, all), "the terminal is gone");
        let drawn = TTY.drawing(|| {
            let frame = Frame { header: &head, trouble: trouble.as_deref() };
            terminal.draw(|f| {
                let area = f.area();
                screen.draw(f.buffer_mut(), area, &frame, &panes);
            })?;
            Ok(())
        });
        if let Err(e) = drawn {
            return Err(Failure::from(io::Error::new(io::ErrorKind::BrokenPipe, format!("{gone}: {e}"))));
        }
        let pause = if due { APART.saturating_sub(looked.elapsed()) } else { AGES };
        match events.recv_timeout(pause) {
            Ok(Event::Key(key)) => match press(&mut screen, &panes, key) {
                Pressed::Quit => return Ok(()),
                Pressed::Scopes => (all, due) = (!all, true),
                Pressed::Stop => signals::stop(),
                Pressed::Seen => {}
            },
            Ok(Event::Anew) => {
                // Clears it. `clear` would ask the terminal where its cursor is, and the answer would come as keys.
                let _ = TTY.drawing(|| {
                    let size = terminal.size()?;
                    terminal.resize(Rect::new(0, 0, size.width, size.height))
                });
            }
            Ok(Event::Changed) => due = true,
            Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => return Err(Failure::BrokenPipe),
            Err(RecvTimeoutError::Timeout) => due |= looked.elapsed() >= LOOK_AGAIN,
        }
    }
}

struct GivenBack;

impl Drop for GivenBack {
    fn drop(&mut self) {
        TTY.give_back();
    }
}

/// Says that something has changed, once for all changes since the last look. Its thread ends with the process.
fn follow(pd: &Coordinator, send: &Sender<Event>, changed: &Arc<AtomicBool>) {
    let (pd, send, changed) = (pd.clone(), send.clone(), Arc::clone(changed));
    thread::spawn(move || {
        let tell = || Ok(changed.swap(true, Ordering::SeqCst) || send.send(Event::Changed).is_ok());
        // If it can't go on, the look every few seconds says why.
        let _: Result<(), Error> = pd.follow_changes(&Wait::default(), tell);
    });
}

fn keys(send: &Sender<Event>) {
    let send = send.clone();
    thread::spawn(move || {
        loop {
            let event = match event::read() {
                Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => Event::Key(key),
                Ok(event::Event::Resize(..)) => Event::Anew,
                Ok(_) => continue,
                Err(_) => Event::Gone,
            };
            let is_gone = matches!(event, Event::Gone);
            if send.send(event).is_err() || is_gone {
                return;
            }
        }
    });
}

enum Pressed {
    Quit,
    Scopes,
    Stop,
    Seen,
}

fn press(screen: &mut Screen, panes: &[Pane; PANES], key: KeyEvent) -> Pressed {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => return Pressed::Quit,
        KeyCode::Char('z') if control => return Pressed::Stop,
        KeyCode::Char(_) if control => {}
        KeyCode::Enter if screen.typing => screen.typing = false,
        KeyCode::Esc if screen.typing || !screen.filter.is_empty() => {
            screen.typing = false;
            screen.filter.clear();
        }
        KeyCode::Backspace if screen.typing => {
            screen.filter.pop();
        }
        KeyCode::Char(c) if screen.typing => {
            let room = screen.filter.len() < 64;
            screen.filter.extend(room.then_some(c));
        }
        KeyCode::Esc if screen.help => screen.help = false,
        KeyCode::Char('q') | KeyCode::Esc => return Pressed::Quit,
        KeyCode::Char('a') => return Pressed::Scopes,
        KeyCode::Char('?') => screen.help = !screen.help,
        KeyCode::Char('/') => {
            screen.typing = true;
            screen.filter.clear();
        }
        KeyCode::Tab | KeyCode::Right => screen.next_pane(false),
        KeyCode::BackTab | KeyCode::Left => screen.next_pane(true),
        KeyCode::Up | KeyCode::Char('k') => screen.scroll(panes, -1),
        KeyCode::Down | KeyCode::Char('j') => screen.scroll(panes, 1),
        KeyCode::PageUp => screen.scroll(panes, -screen.page()),
        KeyCode::PageDown => screen.scroll(panes, screen.page()),
        KeyCode::Home => screen.scroll(panes, -FAR),
        KeyCode::End => screen.scroll(panes, FAR),
        _ => {}
    }
    Pressed::Seen
}

/// Farther than any pane has rows.
const FAR: isize = 1 << 20;

#[cfg(unix)]
mod signals {
    //! What a signal would do is done after the terminal is given back.

    use std::io;
    use std::sync::mpsc::Sender;

    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::{emulate_default_handler, raise};

    use super::{Event, TTY};

    pub(super) fn attend(send: &Sender<Event>) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT])?;
        let send = send.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if signal != SIGCONT {
                    TTY.give_back();
                    // The process ends here, or stops and goes on.
                    let _ = emulate_default_handler(signal);
                }
                if TTY.take().is_err() || send.send(Event::Anew).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    pub(super) fn stop() {
        let _ = raise(SIGTSTP);
    }
}

#[cfg(not(unix))]
mod signals {
    use std::io;
    use std::sync::mpsc::Sender;

    use super::Event;

    pub(super) fn attend(_: &Sender<Event>) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn stop() {}
}
