//! The answer on stdout, the narration on stderr, and nothing else anywhere.
//!
//! Three modes: for people; `-q`, the bare value and no narration; `--json`, one document (or one a line for streams)
//! and a silent stderr.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use portdaddy_core::{Clock, Coordinator, Error, ErrorKind, Progress, SystemClock};
use serde::Serialize;
use serde_json::Value;

/// How long a wait goes on before it says what it waits for.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// What is printed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    People,
    Quiet,
    Json,
}

/// Why a command ends early.
pub(crate) enum Failure {
    /// The library refused, or the arguments are wrong.
    Error(Error),
    /// Whoever read our output went away.
    BrokenPipe,
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Error(e)
    }
}

impl From<io::Error> for Failure {
    /// Only writing the answer fails with a bare I/O error.
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Error(Error::new(ErrorKind::StoreIo, format!("the answer can't be written: {e}")).caused_by(e))
    }
}

/// What a step of a command gives.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Both streams of a command.
pub(crate) struct Ui {
    /// Not locked: `pd mcp` has a thread that writes there, too.
    out: BufWriter<Stdout>,
    mode: Mode,
    coordinator: Option<Coordinator>,
}

impl Ui {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { out: BufWriter::new(io::stdout()), mode, coordinator: None }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// From now on, what the library wants the caller to know goes out with the answer.
    pub(crate) fn attend(&mut self, coordinator: &Coordinator) {
        self.coordinator = Some(coordinator.clone());
    }

    /// The answer, once for each mode: `document`, `bare`, or what `people` writes.
    pub(crate) fn answer(
        &mut self,
        document: &impl Serialize,
        bare: &dyn Display,
        people: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Outcome {
        match self.mode {
            Mode::Json => self.document(document),
            Mode::Quiet => self.bare(bare),
            Mode::People => Ok(people(&mut self.out)?),
        }
    }

    /// The answer of a listing: the same lines with and without `-q`.
    pub(crate) fn listing(
        &mut self,
        document: &impl Serialize,
        lines: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Outcome {
        match self.mode {
            Mode::Json => self.document(document),
            Mode::Quiet | Mode::People => Ok(lines(&mut self.out)?),
        }
    }

    /// Text that is the answer in every mode.
    pub(crate) fn text(&mut self, text: &str) -> Outcome {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// One line of a stream, seen by the reader at once.
    pub(crate) fn stream_line(&mut self, line: &dyn Display) -> Outcome {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// One JSON line of a stream, seen by the reader at once.
    pub(crate) fn stream_json(&mut self, document: &impl Serialize) -> Outcome {
        self.stream_line(&json_line(document)?)
    }

    fn bare(&mut self, value: &dyn Display) -> Outcome {
        let value = value.to_string();
        if !value.is_empty() {
            writeln!(self.out, "{value}")?;
        }
        Ok(())
    }

    fn document(&mut self, document: &impl Serialize) -> Outcome {
        let notices = self.coordinator.as_ref().map(Coordinator::take_notices).unwrap_or_default();
        let line = if notices.is_empty() {
            json_line(document)?
        } else {
            let mut value = to_value(document)?;
            if let Value::Object(object) = &mut value {
                object.insert("notices".to_owned(), notices.into());
            }
            json_line(&value)?
        };
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Forgets what could not be written.
    pub(crate) fn discard(&mut self) {
        drop(std::mem::replace(&mut self.out, BufWriter::new(io::stdout())).into_parts());
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        Ok(self.out.flush()?)
    }

    /// Progress.
    pub(crate) fn status(&mut self, text: impl Display) {
        self.narrate("", None, &text);
    }

    /// Something worth knowing.
    pub(crate) fn note(&mut self, text: impl Display) {
        self.narrate("Note: ", Some(AnsiColor::Cyan), &text);
    }

    /// Something that may go wrong.
    pub(crate) fn warning(&mut self, text: impl Display) {
        self.narrate("Warning: ", Some(AnsiColor::Yellow), &text);
    }

    /// What to do next.
    pub(crate) fn hint(&mut self, text: impl Display) {
        self.narrate("Hint: ", Some(AnsiColor::Green), &text);
    }

    /// Says that a listing left rows of other scopes out.
    pub(crate) fn elsewhere(&mut self, count: u64, one: &str, many: &str) {
        if count > 0 {
            let what = if count == 1 { one } else { many };
            self.note(format_args!("{count} {what} of other scopes left out (--all shows them)"));
        }
    }

    fn narrate(&mut self, label: &str, colour: Option<AnsiColor>, text: &dyn Display) {
        if self.mode == Mode::People {
            // The answer so far comes first where both go to one terminal.
            let _ = self.out.flush();
            say(label, colour, text);
        }
    }

    /// Says after a second what is being waited for, until the guard is dropped.
    pub(crate) fn while_waiting(&self, text: impl FnOnce() -> Option<String> + Send + 'static) -> Patience {
        Patience::begin(self.mode, text)
    }

    /// Several lines as they are, but for what has power over the terminal.
    pub(crate) fn said(&mut self, text: &str) {
        text.lines().for_each(|line| say("", None, &escape(line)));
    }

    /// Shows after a second how far a copy is, until the guard is dropped: anew each half second on a terminal.
    pub(crate) fn while_copying(&self, doing: &'static str, progress: Progress) -> Copying {
        if self.mode != Mode::People {
            return Copying(None);
        }
        let (done, over) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || show(doing, &progress, &over));
        Copying(Some((done, thread)))
    }

    /// What was wrong, in words or as a document.
    pub(crate) fn error(&mut self, error: &Error) {
        if self.mode == Mode::Json {
            let _ = self.document(&serde_json::json!({ "error": error }));
            return;
        }
        let _ = self.out.flush();
        say("Error: ", Some(AnsiColor::Red), &escape(error.message()));
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !error.message().contains(&text) {
                say("Caused by: ", None, &escape(&text));
            }
            source = cause.source();
        }
        if let Some(hint) = error.next_step() {
            say("Hint: ", Some(AnsiColor::Green), &escape(hint));
        }
    }

    /// What the library wants the caller to know although it didn't ask.
    pub(crate) fn notices(&mut self) {
        for notice in self.coordinator.as_ref().map(Coordinator::take_notices).unwrap_or_default() {
            self.warning(escape(&notice));
        }
    }
}

/// A wait that is narrated if it takes long.
pub(crate) struct Patience {
    _done: Option<Sender<()>>,
}

impl Patience {
    pub(crate) fn begin(mode: Mode, text: impl FnOnce() -> Option<String> + Send + 'static) -> Self {
        if mode != Mode::People {
            return Self { _done: None };
        }
        let (done, over) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if over.recv_timeout(SILENT_WAIT) == Err(RecvTimeoutError::Timeout)
                && let Some(text) = text()
            {
                say("", None, &text);
            }
        });
        Self { _done: Some(done) }
    }
}

/// A copy that shows how far it is.
pub(crate) struct Copying(Option<(Sender<()>, std::thread::JoinHandle<()>)>);

impl Drop for Copying {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            // Its last line is gone before anything else is said.
            let _ = thread.join();
        }
    }
}

fn show(doing: &str, progress: &Progress, over: &mpsc::Receiver<()>) {
    let is_terminal = io::stderr().is_terminal();
    let mut pause = SILENT_WAIT;
    while over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let (done, all) = progress.bytes();
        let text = match (done.checked_mul(100).unwrap_or(0)).checked_div(all) {
            Some(100) => format!("{doing}: {} MiB copied, looking whether all is sound", all >> 20),
            Some(percent) => format!("{doing}: {percent} % of {} MiB", all >> 20),
            None => doing.to_owned(),
        };
        if !is_terminal {
            say("", None, &text);
            return;
        }
        let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        pause = SILENT_WAIT / 2;
    }
    if is_terminal && pause != SILENT_WAIT {
        let _ = write!(io::stderr().lock(), "\r\x1b[K");
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemClock.wall_ms()
}

/// One write to stderr; nobody is left to tell if it fails.
fn say(label: &str, colour: Option<AnsiColor>, text: &dyn Display) {
    let mut line = String::new();
    let style = colour.filter(|_| stderr_has_colour()).map(|c| Style::new().bold().fg_color(Some(c.into())));
    let _ = match style {
        Some(style) => writeln!(line, "{style}{label}{style:#}{text}"),
        None => writeln!(line, "{label}{text}"),
    };
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

fn stderr_has_colour() -> bool {
    static COLOUR: OnceLock<bool> = OnceLock::new();
    *COLOUR.get_or_init(|| anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never)
}

/// A word in colour where stdout is a terminal that shows colour.
pub(crate) struct Painted<'a>(pub(crate) &'a str, pub(crate) AnsiColor);

impl Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static COLOUR: OnceLock<bool> = OnceLock::new();
        let coloured =
            *COLOUR.get_or_init(|| anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never);
        if !coloured {
            return f.write_str(self.0);
        }
        let style = Style::new().fg_color(Some(self.1.into()));
        write!(f, "{style}{}{style:#}", self.0)
    }
}

/// A panic, in a sentence.
pub(crate) fn defect(what: &str) {
    let what = what.replace('\n', " ");
    say("Error: ", Some(AnsiColor::Red), &format_args!("pd has a defect and can't go on: {}", escape(&what)));
    say("Hint: ", Some(AnsiColor::Green), &"please report it with the command that you ran");
}

/// Something that hung was given up.
pub(crate) fn gave_up(what: &str) {
    say("Warning: ", Some(AnsiColor::Yellow), &format_args!("{} took too long and was given up", escape(what)));
}

/// Text that somebody else wrote, on one line and without power over the terminal.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if !is_dangerous(c) => safe.push(c),
            c if u32::from(c) < 0x100 => {
                let _ = write!(safe, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(safe)
}

/// Controls, line separators, and what turns the direction of text around.
fn is_dangerous(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A document on one line: JSON's own escapes, and the same dangers escaped as elsewhere.
pub(crate) fn json_line(document: &impl Serialize) -> Outcome<String> {
    let line = serde_json::to_string(document).map_err(|e| bug(&e))?;
    if line.is_ascii() && !line.contains('\x7f') {
        return Ok(line);
    }
    let mut safe = String::with_capacity(line.len() + 8);
    for c in line.chars() {
        // Outside strings JSON is plain ASCII, so what is escaped here is inside one.
        if is_dangerous(c) {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Ok(safe)
}

/// A document as a value, to add to it.
pub(crate) fn to_value(document: &impl Serialize) -> Outcome<Value> {
    Ok(serde_json::to_value(document).map_err(|e| bug(&e))?)
}

fn bug(e: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("the answer can't be written as JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_on_its_line_and_off_the_terminal() {
        assert_eq!(escape("plain ünïcode 🚀"), "plain ünïcode 🚀");
        assert_eq!(escape("a\nb\tc\r"), "a\\nb\\tc\\r");
        assert_eq!(escape("\x1b[31mred\x07\u{9b}"), "\\x1b[31mred\\x07\\x9b");
        assert_eq!(escape("\u{202e}evil\u{2069}"), "\\u{202e}evil\\u{2069}");
    }

    #[test]
    fn json_stays_json_with_the_dangers_escaped() {
        let value = serde_json::json!({"a": "é\u{202e}\u{7f}\u{1b}"});
        let line = json_line(&value).ok().unwrap();
        assert_eq!(line, r#"{"a":"é\u202e\u007f\u001b"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
