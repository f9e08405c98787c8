//! A command that runs under a lock or with a port: it gets our proof of life and our signals, and its end is ours.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use portdaddy_core::{Coordinator, Error};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

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

    /// Runs it. What proves our life is inherited, so that it holds on if we are killed.
    pub(crate) fn run(mut self, pd: &Coordinator) -> Result<Exit, Error> {
        // Before the child exists: a signal that comes in between is kept until there is somebody to send it to.
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
            .map_err(|e| Error::invalid(format!("signals can't be passed on: {e}")))?;
        let proof = pd.inherit_proof()?;
        let spawned = self.command.spawn();
        drop(proof);
        let mut child = spawned.map_err(|e| cannot_run(&self.name, e))?;
        let pid = Pid::from_child(&child);
        let running = Arc::new(Mutex::new(Some(pid)));
        let handle = signals.handle();
        let target = Arc::clone(&running);
        let forwarder = thread::spawn(move || {
            for origin in &mut signals {
                // What the terminal sends, it sends to the whole foreground group: the child has it already.
                if matches!(origin.cause, Cause::Kernel) {
                    continue;
                }
                let target = target.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some(pid), Some(signal)) = (*target, Signal::from_named_raw(origin.signal)) {
                    let _ = kill_process(pid, signal);
                }
            }
        });
        // Look without reaping: the pid stays the child's until nobody can send to it any more.
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {
        }
        *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let status = child.wait().map_err(|e| cannot_run(&self.name, e))?;
        handle.close();
        let _ = forwarder.join();
        Ok(exit(status))
    }
}

/// The command as one line, for people.
pub(crate) fn shown(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ").chars().take(200).collect()
}

fn cannot_run(name: &str, e: std::io::Error) -> Error {
    Error::invalid(format!("the command {name:?} can't be run: {e}"))
        .with("command", name)
        .hint("check its name and your PATH")
        .caused_by(e)
}

fn exit(status: ExitStatus) -> Exit {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Exit(u8::try_from(code).unwrap_or(u8::MAX))
}
