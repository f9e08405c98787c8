//! `pd`: the shell's face of Port Daddy. It parses, calls the library and prints; every rule is the library's.

mod app;
mod bench;
mod child;
mod commands;
mod duration;
mod exit_code;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod hook;
mod mcp;
mod output;
mod setup;
mod view;

use std::process::ExitCode;

/// Runs one command and gives its exit code; `pd` and `port-daddy` are both this.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| output::defect(&panic.to_string())));
    match std::panic::catch_unwind(|| app::run(std::env::args_os().collect())) {
        Ok(exit) => ExitCode::from(exit.0),
        Err(_) => ExitCode::from(exit_code::BUG.0),
    }
}
