//! Running with signals passed on.

use std::io;
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

/// Runs a command to its end. The inner error: it could not be started.
pub(super) fn run(command: &mut Command, pd: &Coordinator) -> Result<io::Result<Exit>, Error> {
    // Before the child exists: a signal that comes in between is kept until there is somebody to send it to.
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
        .map_err(|e| Error::invalid(format!("signals can't be passed on: {e}")))?;
    let proof = pd.inherit_proof()?;
    let spawned = command.spawn();
    drop(proof);
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => return Ok(Err(e)),
    };
    let pid = Pid::from_child(&child);
    let running = Arc::new(Mutex::new(Some(pid)));
    let (handle, target) = (signals.handle(), Arc::clone(&running));
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
    let end = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), end) {}
    *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let status = child.wait();
    handle.close();
    let _ = forwarder.join();
    Ok(status.map(exit))
}

fn exit(status: ExitStatus) -> Exit {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Exit(u8::try_from(code).unwrap_or(u8::MAX))
}
