//! `pd top`

use std::io::{IsTerminal as _, stdin, stdout};

use portdaddy_core::{Error, OverviewFilter};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, now_ms};
use crate::view::live;
use crate::view::model;
use crate::view::screen::{Frame, Screen, plain};

/// The largest screen that is drawn as text.
const LARGEST: u16 = 500;

/// Watch agents, sessions, locks, claims, ports and the timeline, live
///
/// Keys: q quits, Tab goes to the next pane, arrows scroll, a shows all scopes, / filters, ? helps. Who looks leaves no
/// trace: no agent is registered. `pd status` prints the same once.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd top
  pd top --all
  pd top --once --size 80x24
  pd top --json")]
pub(crate) struct Args {
    /// Those of every scope
    #[arg(long)]
    all: bool,
    /// Draw one screen as plain text, on a terminal or not
    #[arg(long)]
    once: bool,
    /// The size of that screen in columns and rows [default: the terminal's, else 80x24]
    #[arg(long, value_name = "COLUMNSxROWS", requires = "once", value_parser = parse_size)]
    size: Option<(u16, u16)>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    if app.ui.mode() == Mode::Json {
        let seen = app.open()?.overview(&OverviewFilter { all: args.all, limit: None })?;
        app.ui.answer(&model::document(&seen)?, &"", |_| Ok(()))?;
        return Ok(DONE);
    }
    if args.once {
        let seen = app.open()?.overview(&OverviewFilter { all: args.all, limit: None })?;
        let terminal = || stdout().is_terminal().then(ratatui::crossterm::terminal::size).and_then(Result::ok);
        let (columns, rows) = args.size.or_else(terminal).unwrap_or((80, 24));
        let area = Rect::new(0, 0, columns.min(LARGEST), rows.min(LARGEST));
        let (mut buffer, header) = (Buffer::empty(area), live::header(&seen, args.all));
        let frame = Frame { header: &header, trouble: None };
        Screen::new(false).draw(&mut buffer, area, &frame, &model::panes(&seen, now_ms())?);
        app.ui.text(&plain(&buffer))?;
        return Ok(DONE);
    }
    check_terminal()?;
    let colour = anstream::AutoStream::choice(&stdout()) != anstream::ColorChoice::Never;
    let pd = app.open()?;
    live::run(&pd, args.all, colour)?;
    Ok(DONE)
}

/// Refuses what can't be drawn on.
fn check_terminal() -> Outcome {
    let hint = "pd status prints the same once, pd top --once draws one screen as text";
    let missing = if !stdout().is_terminal() {
        Some("stdout")
    } else if !stdin().is_terminal() {
        Some("stdin")
    } else {
        None
    };
    if let Some(stream) = missing {
        return Err(Error::invalid(format!("pd top needs a terminal, and {stream} is none")).hint(hint).into());
    }
    match std::env::var("TERM").as_deref() {
        Ok("dumb") => Err(Error::invalid("pd top can't draw on this terminal: TERM is dumb").hint(hint).into()),
        Err(_) | Ok("") if cfg!(unix) => {
            Err(Error::invalid("pd top doesn't know this terminal: TERM is not set").hint(hint).into())
        }
        _ => Ok(()),
    }
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let read = || {
        let (columns, rows) = text.split_once('x')?;
        Some((columns.parse().ok()?, rows.parse().ok()?))
    };
    match read() {
        Some((columns, rows)) if (1..=LARGEST).contains(&columns) && (1..=LARGEST).contains(&rows) => {
            Ok((columns, rows))
        }
        _ => Err(format!("{text:?} is no size: write columns and rows, each 1 to {LARGEST}, like 80x24")),
    }
}
