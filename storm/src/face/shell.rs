//! `pd`, a process for each call. The driver is the harness whose life is the agent's.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use super::piped::dies_with_its_parent;
use super::{BATCH, CHANNELS, Face, NEVER, PORTS, SCOPE, patience_ms};
use crate::history::{Answer, Call, Overlap, Recorder};

/// One call in so many runs with a fault, and may not come back.
const FAULTS: u32 = 12;
const POINTS: [&str; 4] = ["gated", "in-transaction", "committed", "committed-in-gate"];

pub(crate) struct Shell {
    pd: PathBuf,
    db: PathBuf,
    agent: String,
    faults: bool,
}

/// What a command said, line by line, and how it ended; no status where a signal ended it.
struct Said {
    lines: Vec<Value>,
    code: Option<i32>,
}

impl Shell {
    pub(crate) fn new(pd: PathBuf, db: PathBuf, agent: &str, faults: bool) -> Self {
        Self { pd, db, agent: agent.to_owned(), faults }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.pd);
        command
            .env("PORT_DADDY_DB", &self.db)
            .env("PORT_DADDY_SCOPE", SCOPE)
            .env("PORT_DADDY_AGENT", &self.agent)
            .env("PORT_DADDY_RANGE", format!("{}-{}", PORTS.0, PORTS.1))
            .env("CLAUDE_CODE_SESSION_ID", &self.agent)
            .env("CLAUDE_PID", std::process::id().to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if self.faults && fastrand::u32(..FAULTS) == 0 {
            let point = POINTS[fastrand::usize(..POINTS.len())];
            command.env("PORT_DADDY_FAULT", format!("{point}=kill@{}", fastrand::u32(1..3)));
        }
        command
    }

    fn run(&self, words: &[&str]) -> Said {
        let mut command = self.command();
        command.args(words).arg("--json").stdout(Stdio::piped());
        let mut child = dies_with_its_parent(&mut command).spawn().expect("pd starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines = stdout.lines().map_while(Result::ok).filter_map(|l| serde_json::from_str(&l).ok()).collect();
        let code = child.wait().ok().as_ref().and_then(ExitStatus::code);
        Said { lines, code }
    }

    fn receive(&self, position: &str) -> Answer {
        let count = BATCH.to_string();
        let said =
            self.run(&["sub", CHANNELS, "--as", position, "--replay", "all", "--count", &count, "--timeout", "50ms"]);
        let message = |line: &Value| {
            let message = &line["message"];
            Some((message["seq"].as_i64()?, message["payload"].as_str()?.to_owned()))
        };
        let got: Vec<_> = said.lines.iter().filter_map(message).collect();
        let last = got.last().map(|(seq, _)| *seq);
        match said.code {
            Some(0 | 4) => Answer::Messages { got, acked: last, maybe: None, warned: Vec::new() },
            // What it had printed it may have noted, or not.
            _ => Answer::Messages { got, acked: None, maybe: last, warned: Vec::new() },
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn overlaps(list: &Value) -> Vec<Overlap> {
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let overlap = |c: &Value| Overlap {
        pattern: text(&c["pattern"]),
        session: text(&c["with"]["session"]),
        agent: text(&c["with"]["agent"]),
    };
    all.iter().map(overlap).collect()
}

fn strings(list: &Value, of: impl Fn(&Value) -> String) -> Vec<String> {
    list.as_array().map(|all| all.iter().map(of).collect()).unwrap_or_default()
}

fn ports(list: &Value) -> Vec<u16> {
    let port = |claim: &Value| claim["port"].as_u64().and_then(|p| u16::try_from(p).ok());
    list.as_array().map(|all| all.iter().filter_map(port).collect()).unwrap_or_default()
}

impl Face for Shell {
    fn perform(&mut self, call: &Call) -> Option<Answer> {
        let patience = format!("{}ms", patience_ms());
        let ttl = |ttl_ms: &Option<u64>| ttl_ms.map(|t| format!("{t}ms"));
        let json;
        let said = match call {
            Call::Lock { name, wait, ttl_ms } => {
                let ttl = ttl(ttl_ms);
                // What a killed command has left to this agent is no deadlock.
                let mut words = vec!["lock", name.as_str(), "--patient"];
                if *wait {
                    words.extend(["--wait", patience.as_str()]);
                }
                if let Some(ttl) = &ttl {
                    words.extend(["--ttl", ttl.as_str()]);
                }
                self.run(&words)
            }
            Call::Unlock { name, .. } => self.run(&["unlock", name]),
            Call::Look { .. } => self.run(&["locks"]),
            Call::Publish { channel, id } => {
                json = Value::from(id.as_str()).to_string();
                self.run(&["pub", channel, &json])
            }
            Call::Receive { position } => return Some(self.receive(position)),
            Call::Never { ms } => self.run(&["sub", NEVER, "--timeout", &format!("{ms}ms")]),
            // The command has done it.
            Call::Ack { .. } => return Some(Answer::No),
            Call::Note { text } => self.run(&["note", text]),
            Call::Start => self.run(&["session", "start", "a storm"]),
            Call::End { session } => self.run(&["session", "end", "--session", session]),
            Call::Claim { session, files, force } => {
                let mut words = vec!["files", "add", "--session", session];
                words.extend(files.iter().map(String::as_str));
                words.extend(force.then_some("--force"));
                self.run(&words)
            }
            Call::Drop { session } => self.run(&["files", "rm", "--all", "--session", session]),
            Call::Port { identity } => self.run(&["claim", identity]),
            Call::GiveUp { identity } => self.run(&["release", identity]),
            Call::Dead => self.run(&["salvage"]),
            Call::Salvage { agent } => self.run(&["salvage", "claim", agent]),
        };
        let code = said.code?;
        let Some(value) = said.lines.last() else { return Some(Answer::Failed(format!("exit {code}"))) };
        if let Some(error) = value.get("error") {
            let code = text(&error["code"]);
            return Some(if code == "LOCK_HELD" { Answer::No } else { Answer::Failed(code) });
        }
        Some(match call {
            Call::Lock { .. } => Answer::Granted(value["token"].as_i64()?),
            Call::Look { name } => {
                let locks = value["locks"].as_array().map(Vec::as_slice).unwrap_or_default();
                let held = locks.iter().find(|lock| lock["name"] == name.as_str());
                let holder = held.and_then(|lock| Some((text(&lock["agent"]), lock["token"].as_i64()?)));
                let waiters = held.map(|lock| strings(&lock["waiters"], |w| text(&w["agent"]))).unwrap_or_default();
                Answer::Held { holder, waiters }
            }
            Call::Publish { .. } => Answer::At(value["seq"].as_i64()?),
            Call::Note { .. } => Answer::At(value["note"]["seq"].as_i64()?),
            Call::Start => Answer::Session(text(&value["session"]["id"])),
            Call::Claim { .. } => Answer::Claimed {
                claimed: strings(&value["claimed"], |claim| text(&claim["pattern"])),
                conflicts: overlaps(&value["conflicts"]),
                dead: overlaps(&value["dead_overlaps"]),
            },
            Call::Port { .. } => Answer::Ports(vec![u16::try_from(value["port"].as_u64()?).ok()?]),
            Call::GiveUp { .. } => Answer::Ports(ports(value)),
            Call::Dead => Answer::Agents(strings(&value["items"], |item| text(&item["agent"]))),
            _ => Answer::Done,
        })
    }

    /// `pd with-lock NAME -- storm hold …`: what runs under the lock says when it has it, and when it gives it back.
    fn hold(&mut self, call: &Call, recorder: &mut Recorder, history: &Path, ms: u64) -> bool {
        let Call::Lock { name, ttl_ms: None, .. } = call else { return false };
        let (lock, unlock) = (recorder.next_op(), recorder.next_op());
        recorder.call(lock, call);
        let mut command = self.command();
        command.args(["with-lock", name, "--patient", "--timeout", &format!("{}ms", patience_ms()), "--"]);
        command.arg(std::env::current_exe().expect("its own path")).arg("hold").arg(history);
        command.args([lock.to_string(), unlock.to_string(), ms.to_string(), name.clone()]).stdout(Stdio::null());
        let code = dies_with_its_parent(&mut command).status().ok().and_then(|status| status.code());
        match code {
            Some(0) => recorder.answer(unlock, &Answer::Done),
            Some(4) => recorder.answer(lock, &Answer::Failed("TIMEOUT".to_owned())),
            Some(other) => recorder.answer(lock, &Answer::Failed(format!("exit {other}"))),
            // What runs under it, if it got so far, has the lock yet.
            None => recorder.lost(lock),
        }
        true
    }

    fn close(&mut self) {}
}
