//! Running where there are no signals to pass on: a console sends its own to every process that is attached to it.

use std::io;
use std::process::Command;

use portdaddy_core::{Coordinator, Error};

use crate::exit_code::Exit;

/// Runs a command to its end. The inner error: it could not be started.
pub(super) fn run(command: &mut Command, _pd: &Coordinator) -> Result<io::Result<Exit>, Error> {
    let status = command.status();
    Ok(status.map(|status| Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))))
}
