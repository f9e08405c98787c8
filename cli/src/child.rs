//! A command that runs under a lock or with a port: it gets our proof of life and our signals, and its end is ours.

#[cfg_attr(unix, path = "child/unix.rs")]
#[cfg_attr(not(unix), path = "child/portable.rs")]
mod platform;

use std::ffi::OsString;
use std::process::Command;

use portdaddy_core::{Coordinator, Error};

use crate::exit_code::{Exit, NOT_STARTED};
use crate::output::Ui;

/// A command to run to its end.
pub(crate) struct Child {
    command: Command,
    name: String,
}

/// How a command ended.
pub(crate) enum Ended {
    /// By itself or by a signal.
    Exit(Exit),
    /// Before it began.
    NotStarted(Error),
}

impl Child {
    pub(crate) fn new(words: &[OsString]) -> Self {
        let program = words.first().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(words.get(1..).unwrap_or_default());
        Self { command, name: program.to_string_lossy().into_owned() }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it. What proves our life is inherited, so that it holds on if we are killed.
    pub(crate) fn run(mut self, pd: &Coordinator) -> Result<Ended, Error> {
        match platform::run(&mut self.command, pd)? {
            Ok(exit) => Ok(Ended::Exit(exit)),
            Err(e) => Ok(Ended::NotStarted(
                Error::invalid(format!("the command {:?} can't be run: {e}", self.name))
                    .with("command", self.name.as_str())
                    .hint("check its name and your PATH")
                    .caused_by(e),
            )),
        }
    }
}

impl Ended {
    /// The exit code that shells give: its own, 128 and the signal's number, 127 for a command that can't be run.
    pub(crate) fn report(self, ui: &mut Ui) -> Exit {
        match self {
            Self::Exit(exit) => exit,
            Self::NotStarted(e) => {
                ui.error(&e);
                NOT_STARTED
            }
        }
    }
}

/// The command as one line, for people.
pub(crate) fn shown(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ").chars().take(200).collect()
}
