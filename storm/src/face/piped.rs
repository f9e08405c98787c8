//! A face in another language: a program that reads a call a line and writes an answer a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Face;
use crate::history::{Answer, Call};

pub(crate) struct Piped {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Piped {
    pub(crate) fn start(mut command: Command) -> std::io::Result<Self> {
        let mut child = dies_with_its_parent(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Ok(Self { child, stdin, stdout })
    }
}

/// What a killed driver leaves behind would go on with an operation that nobody records.
pub(super) fn dies_with_its_parent(command: &mut Command) -> &mut Command {
    use rustix::process::{Signal, set_parent_process_death_signal};
    // SAFETY: one system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) }
}

impl Face for Piped {
    fn perform(&mut self, call: &Call) -> Option<Answer> {
        let mut line = serde_json::to_vec(call).expect("a call is JSON");
        line.push(b'\n');
        self.stdin.as_mut()?.write_all(&line).ok()?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).ok()?;
        // Nothing, or half a line: it is gone.
        serde_json::from_str(&answer).ok()
    }

    fn close(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
