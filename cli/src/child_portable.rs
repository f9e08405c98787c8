//! A command that runs under a lock or with a port, where there are no signals to pass on: a console sends its own to
//! every process that is attached to it.

use std::ffi::OsString;
use std::process::Command;

use portdaddy_core::{Coordinator, Error};

use crate::exit_code::Exit;

/// A command to run to its end.
pub(crate) struct Child {
    command: Command,
    name: String,
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

    pub(crate) fn run(mut self, _pd: &Coordinator) -> Result<Exit, Error> {
        let status = self.command.status().map_err(|e| {
            Error::invalid(format!("the command {:?} can't be run: {e}", self.name))
                .with("command", self.name.as_str())
                .hint("check its name and your PATH")
                .caused_by(e)
        })?;
        Ok(Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)))
    }
}

/// The command as one line, for people.
pub(crate) fn shown(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ").chars().take(200).collect()
}
