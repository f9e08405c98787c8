//! Who is calling: found from what the call says and from its surroundings, the same way for every face.
//!
//! In this order: the call's own words; `PORT_DADDY_AGENT`; the session id that a coding agent's program ("harness")
//! gives to its commands; the nearest ancestor process that is a harness; for a shell command, the nearest interactive
//! shell that leads its terminal's session. Never the working directory, never "the latest on the machine". Processes
//! are looked at only when the answer depends on them.
//!
//! A harness's hook sets `PORT_DADDY_AGENT` for all commands of its session, so that a harness which is started by one of
//! them inherits it. What was made from a session's id is therefore believed only where no other session calls.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::harness::{HARNESSES, Harness, harness_of, program, terminal_of};
use crate::identity::{AGENT_MAX, check_agent_id, check_name, shown};
use crate::sys::process::{self, ProcessId, ProcessInfo};

/// How far up the tree of processes a caller is looked for.
const MOST_ANCESTORS: usize = 32;
const AGENT_VAR: &str = "PORT_DADDY_AGENT";
const SESSION_VAR: &str = "PORT_DADDY_SESSION";

/// Looks up a variable of the environment by its name.
pub(crate) type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the resolution looks at. [`Surroundings::system`] gives the real ones.
pub struct Surroundings {
    /// A variable of the environment.
    pub env: Variables,
    /// The calling process.
    pub pid: u32,
    /// The processes above it, nearest first.
    pub(crate) ancestors: Box<dyn Fn() -> Vec<ProcessInfo> + Send + Sync>,
    /// What a harness says of the session that calls.
    session: Option<GivenSession>,
}

/// A harness's session, as the input of its hook names it.
struct GivenSession {
    harness: &'static Harness,
    id: String,
    sub_agent: Option<String>,
}

impl Surroundings {
    /// Those of this process. Its ancestors are looked up once, when first asked for.
    pub fn system() -> Self {
        let pid = std::process::id();
        let ancestors = OnceLock::new();
        Surroundings {
            env: Box::new(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())),
            pid,
            ancestors: Box::new(move || ancestors.get_or_init(|| process::ancestors(pid, MOST_ANCESTORS)).clone()),
            session: None,
        }
    }

    /// The call is a hook that a harness (`claude`) runs: its input names the session, and the sub-agent that acts in it if
    /// one does. The agent is the one that the session's own commands are taken to come from; a sub-agent is an agent of its
    /// own, which lives by the same process. `PORT_DADDY_AGENT` is stronger here, too.
    ///
    /// # Errors
    /// `INVALID` for a harness that isn't known or gives its sessions no ids.
    pub fn in_session(mut self, harness: &str, id: &str, sub_agent: Option<&str>) -> Result<Self> {
        let known = HARNESSES.iter().find(|h| h.name == harness && h.session.is_some());
        let harness = known.ok_or_else(|| {
            Error::invalid(format!("{} is no harness whose sessions have ids", shown(harness))).with("value", harness)
        })?;
        let sub_agent = sub_agent.filter(|id| !id.is_empty()).map(str::to_owned);
        self.session = Some(GivenSession { harness, id: id.to_owned(), sub_agent });
        Ok(self)
    }

    /// Only the given variables, and no ancestors: the same everywhere, for tests and for hosts that know their caller.
    pub fn given<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables: BTreeMap<String, String> =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Surroundings {
            env: Box::new(move |name| variables.get(name).cloned()),
            pid: std::process::id(),
            ancestors: Box::new(Vec::new),
            session: None,
        }
    }

    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}

/// The kind of face that a call comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// A command: it ends soon, whoever ran it is the caller.
    Shell,
    /// A library in a process that stays: without anything else, the instance is its own agent.
    Library,
}

/// What a call says about its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The agent's id.
    pub agent: Option<String>,
    /// The session's id, or the beginning of one.
    pub session: Option<String>,
}

/// How a caller was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The call says so.
    Named,
    /// `PORT_DADDY_AGENT` says so.
    Environment,
    /// The harness's session id, from the environment.
    HarnessSession,
    /// The nearest ancestor process that is a harness.
    HarnessProcess,
    /// The interactive shell that the command was typed into.
    Shell,
    /// The open instance of the library is an agent of its own.
    Instance,
    /// Not found.
    Nobody,
}

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The agent's id. None: nobody, or an instance that has no id yet.
    pub agent: Option<String>,
    /// The session that the call or `PORT_DADDY_SESSION` names, as it was given.
    pub session: Option<String>,
    /// How the agent was found.
    pub source: Source,
    /// The harness that it runs in: `claude`, `codex`, …
    pub harness: Option<String>,
    /// `ai` for a harness, `human` for an interactive shell.
    pub kind: Option<String>,
    /// The agent whose sub-agent it is.
    pub(crate) parent: Option<String>,
    /// Processes that prove its life.
    pub(crate) proofs: Vec<ProcessProof>,
}

/// A process whose life says something about an agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessProof {
    pub id: ProcessId,
    pub strength: Strength,
    pub name: String,
}

/// How much a process's life proves. Its end proves the agent's death in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// The agent lives as long as the process.
    Strong,
    /// The process may outlive the agent's work: a shell left open.
    Weak,
}

/// What an operation that needs an agent says when there is none.
pub(crate) fn no_agent_error() -> Error {
    Error::new(ErrorKind::NoAgent, "no agent could be found for this call: nothing around it says who is calling")
        .hint("pass --agent NAME or set PORT_DADDY_AGENT")
}

/// Finds the caller.
///
/// # Errors
/// `INVALID` if the call or the environment names an agent or session by an impossible id; `AMBIGUOUS` if several
/// harnesses left their session's id in the environment and the processes don't tell which is the nearest.
pub(crate) fn resolve(face: Face, named: &Named, around: &Surroundings) -> Result<Caller> {
    let view = View { around, ancestors: OnceCell::new() };
    let env_agent = around.variable(AGENT_VAR);
    let mut caller = match &named.agent {
        Some(id) => {
            check_agent_id(id)?;
            view.named(face, id, env_agent.as_deref())
        }
        None => view.alone(face, env_agent.as_deref())?,
    };
    // The environment's session is the environment's agent's: a call in another's name doesn't mean it.
    let another = env_agent.is_some() && caller.agent != env_agent;
    if let (Some(id), Some(part)) = (&caller.agent, around.session.as_ref().and_then(|s| s.sub_agent.as_ref()))
        && named.agent.is_none()
    {
        let sub_agent = sub_agent_id(id, part);
        caller.parent = caller.agent.replace(sub_agent);
    }
    caller.session = match &named.session {
        Some(session) => {
            check_name("session", session, 128)?;
            Some(session.clone())
        }
        None if another => None,
        None => {
            let session = around.variable(SESSION_VAR);
            session
                .map(|s| check_name("session", &s, 128).map(|()| s))
                .transpose()
                .map_err(|e| in_env(SESSION_VAR, &e))?
        }
    };
    Ok(caller)
}

/// The error of a variable's value.
pub(crate) fn in_env(variable: &'static str, e: &Error) -> Error {
    let mut told = Error::new(e.kind(), format!("{variable} is set wrongly: {}", e.message()))
        .with("variable", variable)
        .hint(format!("correct {variable}, or unset it"));
    if let Some(value) = e.fields().get("value") {
        told = told.with("value", value.clone());
    }
    told
}

/// The surroundings of one resolution, its ancestors looked at once at most.
struct View<'a> {
    around: &'a Surroundings,
    ancestors: OnceCell<Vec<ProcessInfo>>,
}

/// A harness that the environment speaks of.
struct Mentioned {
    harness: &'static Harness,
    /// The variable and its value.
    session: Option<(&'static str, String)>,
}

impl View<'_> {
    fn ancestors(&self) -> &[ProcessInfo] {
        self.ancestors.get_or_init(|| {
            let mut all = (self.around.ancestors)();
            all.truncate(MOST_ANCESTORS);
            all
        })
    }

    /// A call in the name of `id`, which may be another's: only the environment's own agent has its processes' proof.
    fn named(&self, face: Face, id: &str, env_agent: Option<&str>) -> Caller {
        let own = match env_agent {
            Some(env) if env == id => true,
            Some(env) if session_of(env).is_none() => false,
            _ => id.starts_with("tty-") || HARNESSES.iter().any(|h| derived_from(id, h.name)),
        };
        let found = own.then(|| self.alone(face, env_agent).ok()).flatten();
        match found.filter(|c| c.agent.as_deref() == Some(id)) {
            Some(caller) => Caller { source: Source::Named, ..caller },
            None => caller(Some(id.to_owned()), Source::Named),
        }
    }

    /// What the surroundings alone say, steps 2 to 6.
    fn alone(&self, face: Face, env_agent: Option<&str>) -> Result<Caller> {
        if let Some(id) = env_agent {
            check_agent_id(id).map_err(|e| in_env(AGENT_VAR, &e))?;
            let inherited = session_of(id).is_some_and(|harness| self.is_of_another(id, harness));
            if !inherited {
                return Ok(self.environment(id));
            }
        }
        let mentioned = self.mentioned();
        if let Some(found) = self.harness_session(&mentioned)? {
            return Ok(found);
        }
        if let Some((process, harness)) = self.harness_process() {
            let mut found =
                caller(Some(format!("{}-{}", harness.name, digest(&process.id, 6))), Source::HarnessProcess);
            found.run_by(harness, Some(process));
            return Ok(found);
        }
        // A harness that gives no id and can't be seen: its name is known all the same.
        let marked = mentioned.first().map(|m| m.harness);
        let mut found = match (face, self.interactive_shell()) {
            (Face::Library, _) => caller(None, Source::Instance),
            (Face::Shell, None) => caller(None, Source::Nobody),
            (Face::Shell, Some((shell, tty))) => Caller {
                kind: Some("human".to_owned()),
                proofs: vec![proof(shell, Strength::Weak)],
                ..caller(Some(format!("tty-{tty}-{}", digest(&shell.id, 4))), Source::Shell)
            },
        };
        if let Some(harness) = marked {
            found.run_by(harness, None);
        }
        Ok(found)
    }

    /// Whether the id, made from a session of `harness`, comes from further out than the harness that calls.
    fn is_of_another(&self, id: &str, harness: &Harness) -> bool {
        match self.harness_session(&self.mentioned()) {
            Ok(Some(session)) => session.agent.as_deref() != Some(id),
            Ok(None) => self.harness_process().is_some_and(|(_, nearest)| nearest.name != harness.name),
            // The processes don't tell.
            Err(_) => false,
        }
    }

    /// Step 2: the id is given, its proofs are what the processes show.
    fn environment(&self, id: &str) -> Caller {
        let mut found = caller(Some(id.to_owned()), Source::Environment);
        let mentioned = self.mentioned();
        if let Some(session) = self.harness_session(&mentioned).ok().flatten() {
            found = Caller { agent: found.agent, source: found.source, ..session };
        } else if let Some((process, harness)) = self.harness_process() {
            found.run_by(harness, Some(process));
        } else if let Some(m) = mentioned.first() {
            found.run_by(m.harness, None);
        }
        if found.proofs.is_empty() {
            found.proofs.extend(self.interactive_shell().map(|(shell, _)| proof(shell, Strength::Weak)));
        }
        found
    }

    fn mentioned(&self) -> Vec<Mentioned> {
        if let Some(given) = &self.around.session {
            return vec![Mentioned { harness: given.harness, session: Some(("session_id", given.id.clone())) }];
        }
        let mention = |harness: &'static Harness| {
            let session = harness.session.and_then(|v| self.around.variable(v).map(|value| (v, value)));
            let marked = || harness.markers.iter().any(|m| self.around.variable(m).is_some_and(|v| v != "0"));
            (session.is_some() || marked()).then_some(Mentioned { harness, session })
        };
        HARNESSES.iter().filter_map(mention).collect()
    }

    /// Step 3: the nearest of the harnesses that the environment speaks of, if it has a session's id.
    fn harness_session(&self, mentioned: &[Mentioned]) -> Result<Option<Caller>> {
        if !mentioned.iter().any(|m| m.session.is_some()) {
            return Ok(None);
        }
        let chosen = match mentioned {
            [one] => one,
            several => {
                let near = several.iter().filter_map(|m| Some((self.place_of(m.harness)?, m)));
                match near.min_by_key(|(place, _)| *place) {
                    Some((_, m)) => m,
                    None => return Err(ambiguous(several)),
                }
            }
        };
        // Only a marker: step 4 finds the same process, or one still nearer.
        let Some((variable, session)) = &chosen.session else { return Ok(None) };
        let id = format!("{}-{}", chosen.harness.name, session_part(variable, session)?);
        let mut found = caller(Some(id), Source::HarnessSession);
        let outside = || self.process_outside(chosen.harness);
        let process = self.place_of(chosen.harness).map(|i| self.ancestors()[i].clone()).or_else(outside);
        found.run_by(chosen.harness, process.as_ref());
        Ok(Some(found))
    }

    /// Where among the ancestors the process of `harness` is.
    fn place_of(&self, harness: &'static Harness) -> Option<usize> {
        let pid = self.pid_of(harness);
        let by_pid = pid.and_then(|pid| self.ancestors().iter().position(|p| p.id.pid == pid));
        by_pid.or_else(|| self.ancestors().iter().position(|p| harness_of(p).is_some_and(|h| h.name == harness.name)))
    }

    fn pid_of(&self, harness: &Harness) -> Option<u32> {
        self.around.variable(harness.pid?)?.parse().ok()
    }

    /// The process that the environment says is the harness, though it isn't an ancestor: a command that was detached.
    /// The pid may have gone to another since, or belong to another namespace, so that the process must look like it.
    fn process_outside(&self, harness: &Harness) -> Option<ProcessInfo> {
        let process = process::info(self.pid_of(harness)?)?;
        harness_of(&process).is_some_and(|h| h.name == harness.name).then_some(process)
    }

    /// Step 4.
    fn harness_process(&self) -> Option<(&ProcessInfo, &'static Harness)> {
        self.ancestors().iter().find_map(|p| Some((p, harness_of(p)?)))
    }

    /// Step 5: the shell and its terminal's short name.
    fn interactive_shell(&self) -> Option<(&ProcessInfo, String)> {
        self.ancestors().iter().find_map(|p| Some((p, terminal_of(p)?)))
    }
}

fn caller(agent: Option<String>, source: Source) -> Caller {
    Caller { agent, session: None, source, harness: None, kind: None, parent: None, proofs: Vec::new() }
}

fn proof(process: &ProcessInfo, strength: Strength) -> ProcessProof {
    ProcessProof { id: process.id.clone(), strength, name: program(&process.name).to_owned() }
}

impl Caller {
    fn run_by(&mut self, harness: &Harness, process: Option<&ProcessInfo>) {
        self.harness = Some(harness.name.to_owned());
        self.kind = Some("ai".to_owned());
        // Named for the harness: the process's own name may be that of an interpreter.
        let strong = |p: &ProcessInfo| ProcessProof { name: harness.name.to_owned(), ..proof(p, Strength::Strong) };
        self.proofs.extend(process.map(strong));
    }
}

fn ambiguous(mentioned: &[Mentioned]) -> Error {
    let name = |m: &Mentioned| match &m.session {
        Some((variable, value)) => {
            let id = session_part(variable, value).map(|part| format!("{}-{part}", m.harness.name));
            id.unwrap_or_else(|_| m.harness.name.to_owned())
        }
        None => m.harness.name.to_owned(),
    };
    let candidates: Vec<String> = mentioned.iter().map(name).collect();
    let list = candidates.join(", ");
    Error::new(
        ErrorKind::Ambiguous,
        format!(
            "the environment names several harnesses ({list}), and no process above this one tells which is calling"
        ),
    )
    .with("candidates", candidates)
    .hint("set PORT_DADDY_AGENT to the agent that is calling, or pass --agent NAME")
}

/// Six characters that tell one session of a harness from another.
fn session_part(variable: &'static str, session: &str) -> Result<String> {
    let all: Vec<char> = session.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if all.is_empty() {
        let e = format!("{variable} is {}: a session id needs at least one letter or digit", shown(session));
        return Err(Error::invalid(e)
            .with("variable", variable)
            .with("value", session)
            .hint("set PORT_DADDY_AGENT to the agent that is calling"));
    }
    // A version 7 UUID begins with the time: its first six digits are the same for all sessions of four hours.
    let uuid7 = session.len() == 36 && all.len() == 32 && all[12] == '7' && all.iter().all(char::is_ascii_hexdigit);
    let from = if uuid7 { all.len() - 6 } else { 0 };
    Ok(all.into_iter().skip(from).take(6).collect())
}

/// Whether `id` looks like one that was made for `harness`: its name, `-` and six or fewer characters.
pub(crate) fn derived_from(id: &str, harness: &str) -> bool {
    id.strip_prefix(harness).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| (1..=6).contains(&rest.len()))
}

/// The harness from whose session's id `id` was made, by its looks: such ids are hexadecimal. A name chosen by hand
/// (`claude-review`) is none.
fn session_of(id: &str) -> Option<&'static Harness> {
    let made_for = |harness: &&Harness| {
        let part = id.strip_prefix(harness.name).and_then(|rest| rest.strip_prefix('-'));
        part.is_some_and(|part| part.len() == 6 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    HARNESSES.iter().filter(|h| h.session.is_some()).find(made_for)
}

/// `length` characters that are the same for a process as long as it lives, in every call.
fn digest(id: &ProcessId, length: u32) -> String {
    spelled(&format!("{}\0{}\0{}\0{}", crate::sys::boot_id(), id.namespace, id.pid, id.start), length)
}

/// A sub-agent's id: its parent's, and six characters that its own stands for.
fn sub_agent_id(parent: &str, part: &str) -> String {
    // Ids are ASCII, so that any length is a boundary.
    let kept = parent.len().min(AGENT_MAX - PART - 1);
    format!("{}.{}", &parent[..kept], spelled(part, PART as u32))
}

const PART: usize = 6;
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `length` characters that stand for a text, the same in every version.
fn spelled(text: &str, length: u32) -> String {
    // FNV-1a: the standard library's hashes may change between versions, and several versions run side by side.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    // The low bits alone are weak in FNV.
    let hash = hash ^ (hash >> 32);
    (0..length).map(|i| char::from(DIGITS[(hash >> (5 * i)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn process(pid: u32, name: &str, args: &[&str]) -> ProcessInfo {
        ProcessInfo {
            id: ProcessId { pid, start: u64::from(pid) * 10, namespace: 1 },
            parent: pid - 1,
            session_leader: false,
            tty: None,
            name: name.to_owned(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
        }
    }

    fn shell(pid: u32, name: &str, args: &[&str]) -> ProcessInfo {
        ProcessInfo { session_leader: true, tty: Some("pts/3".to_owned()), ..process(pid, name, args) }
    }

    fn around(env: &[(&str, &str)], ancestors: Vec<ProcessInfo>) -> Surroundings {
        let env: std::collections::HashMap<String, String> =
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Surroundings {
            env: Box::new(move |name| env.get(name).cloned()),
            pid: 99_999,
            ancestors: Box::new(move || ancestors.clone()),
            session: None,
        }
    }

    fn find(env: &[(&str, &str)], ancestors: Vec<ProcessInfo>) -> Caller {
        resolve(Face::Shell, &Named::default(), &around(env, ancestors)).unwrap()
    }

    fn pids(caller: &Caller) -> Vec<(u32, Strength)> {
        caller.proofs.iter().map(|p| (p.id.pid, p.strength)).collect()
    }

    const CLAUDE: (&str, &str) = ("CLAUDE_CODE_SESSION_ID", "3F9A2C11-5d7e-4a4b-9c55-0a1b2c3d4e5f");
    const CODEX: (&str, &str) = ("CODEX_THREAD_ID", "0199a213-81c0-7800-8aa1-bbab2a035a53");

    fn claude_tree() -> Vec<ProcessInfo> {
        vec![
            process(30, "zsh", &["zsh", "-c", "pd note"]),
            process(20, "claude", &["claude"]),
            shell(10, "zsh", &["-zsh"]),
        ]
    }

    #[test]
    fn the_environment_names_the_agent_and_the_session() {
        let c = find(&[("PORT_DADDY_AGENT", "api"), ("PORT_DADDY_SESSION", "session-1"), CLAUDE], claude_tree());
        assert_eq!((c.agent.as_deref(), c.source), (Some("api"), Source::Environment));
        assert_eq!((c.session.as_deref(), c.harness.as_deref()), (Some("session-1"), Some("claude")));
        assert_eq!(pids(&c), [(20, Strength::Strong)]);
        let c = find(&[("PORT_DADDY_AGENT", "api")], vec![shell(10, "bash", &["bash"])]);
        assert_eq!((c.kind, c.harness.as_deref()), (None, None));
        assert_eq!(c.proofs, [proof(&shell(10, "bash", &[]), Strength::Weak)]);
        let c = find(&[("PORT_DADDY_AGENT", "api"), CLAUDE], vec![shell(10, "bash", &["bash"])]);
        assert_eq!((c.harness.as_deref(), pids(&c)), (Some("claude"), vec![(10, Strength::Weak)]));
        let c = find(&[("PORT_DADDY_AGENT", ""), ("PORT_DADDY_SESSION", "")], vec![]);
        assert_eq!((c.agent, c.session, c.source), (None, None, Source::Nobody));
    }

    #[test]
    fn the_harness_session_gives_the_id_and_its_process_the_proof() {
        let c = find(&[CLAUDE, ("CLAUDECODE", "1")], claude_tree());
        assert_eq!((c.agent.as_deref(), c.source), (Some("claude-3f9a2c"), Source::HarnessSession));
        assert_eq!((c.harness.as_deref(), c.kind.as_deref()), (Some("claude"), Some("ai")));
        assert_eq!(c.proofs, [proof(&process(20, "claude", &[]), Strength::Strong)]);
        // The pid says which, whatever its name.
        let c = find(&[CLAUDE, ("CLAUDE_PID", "15")], vec![process(20, "claude", &[]), process(15, "2.0.1", &[])]);
        assert_eq!(pids(&c), [(15, Strength::Strong)]);
        // Its process can't be seen: the id is known, and nothing proves its life.
        let c = find(&[CLAUDE], vec![shell(10, "zsh", &["-zsh"])]);
        assert_eq!((c.agent.as_deref(), c.proofs), (Some("claude-3f9a2c"), vec![]));
        // A pid that now is another program's.
        let me = std::process::id().to_string();
        assert_eq!(find(&[CLAUDE, ("CLAUDE_PID", &me)], vec![]).proofs, []);
    }

    #[test]
    fn sessions_begun_in_one_hour_have_different_ids() {
        let c = find(&[CODEX], vec![process(20, "codex", &["codex"])]);
        assert_eq!(c.agent.as_deref(), Some("codex-035a53"));
        let other = find(&[("CODEX_THREAD_ID", "0199a213-99ff-7123-8aa1-bbab2a011111")], vec![]);
        assert_eq!(other.agent.as_deref(), Some("codex-011111"));
        assert_eq!(find(&[("CODEX_THREAD_ID", "Ab-1")], vec![]).agent.as_deref(), Some("codex-ab1"));
    }

    #[test]
    fn a_harness_in_a_harness_is_the_nearest() {
        let codex = || process(40, "codex", &["codex", "exec"]);
        let mut inside = vec![process(50, "bash", &["bash", "-lc", "pd note"]), codex()];
        inside.extend(claude_tree());
        let c = find(&[CLAUDE, CODEX], inside);
        assert_eq!((c.agent.as_deref(), pids(&c)), (Some("codex-035a53"), vec![(40, Strength::Strong)]));
        let mut outside = claude_tree();
        outside.push(codex());
        assert_eq!(find(&[CLAUDE, CODEX], outside).agent.as_deref(), Some("claude-3f9a2c"));
        // The nearer one has only a marker: it is known by its process.
        let mut gemini = vec![process(40, "node", &["node", "/opt/@google/gemini-cli/dist/index.js"])];
        gemini.extend(claude_tree());
        let c = find(&[CLAUDE, ("GEMINI_CLI", "1")], gemini);
        assert_eq!((c.harness.as_deref(), c.source), (Some("gemini"), Source::HarnessProcess));
        let named = Named::default();
        let e = resolve(Face::Shell, &named, &around(&[CLAUDE, CODEX], vec![])).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Ambiguous);
        assert_eq!(e.fields()["candidates"], serde_json::json!(["claude-3f9a2c", "codex-035a53"]));
        assert!(e.next_step().unwrap().contains("PORT_DADDY_AGENT"));
        // A name settles it.
        assert_eq!(find(&[CLAUDE, CODEX, ("PORT_DADDY_AGENT", "me")], vec![]).agent.as_deref(), Some("me"));
    }

    #[test]
    fn a_harness_process_gives_an_id_that_stays() {
        let tree =
            || vec![process(30, "bash", &["bash", "-c", "pd"]), process(20, "gemini", &[]), process(10, "claude", &[])];
        let c = find(&[], tree());
        assert_eq!((c.source, pids(&c)), (Source::HarnessProcess, vec![(20, Strength::Strong)]));
        let id = c.agent.unwrap();
        assert!(derived_from(&id, "gemini") && id.len() == "gemini-".len() + 6, "{id}");
        assert_eq!(find(&[("GEMINI_CLI", "1")], tree()).agent, Some(id.clone()));
        let mut other = tree();
        other[1].id.start += 1;
        assert_ne!(find(&[], other).agent, Some(id));
    }

    #[test]
    fn a_shell_command_belongs_to_the_terminal_it_was_typed_into() {
        let c = find(&[], vec![process(30, "make", &["make"]), shell(10, "zsh", &["-zsh"])]);
        let id = c.agent.clone().unwrap();
        assert!(id.starts_with("tty-pts3-") && id.len() == "tty-pts3-".len() + 4, "{id}");
        assert_eq!((c.source, c.kind.as_deref()), (Source::Shell, Some("human")));
        assert_eq!(c.proofs, [proof(&shell(10, "zsh", &[]), Strength::Weak)]);
        // A script's shell doesn't lead, a one-command shell isn't typed into, an editor is no shell.
        let none = [
            process(30, "bash", &["bash", "x.sh"]),
            shell(20, "bash", &["bash", "-c", "pd note"]),
            shell(10, "vim", &["vim"]),
            process(1, "init", &[]),
        ];
        assert_eq!(find(&[], none.to_vec()).source, Source::Nobody);
        let c = find(&[("CURSOR_AGENT", "1")], vec![shell(10, "zsh", &["zsh", "--login"])]);
        assert_eq!(
            (c.source, c.harness.as_deref(), c.kind.as_deref()),
            (Source::Shell, Some("cursor-agent"), Some("ai"))
        );
        let e = no_agent_error();
        assert_eq!((e.kind(), e.next_step()), (ErrorKind::NoAgent, Some("pass --agent NAME or set PORT_DADDY_AGENT")));
    }

    #[test]
    fn a_library_is_its_own_agent_unless_something_says_otherwise() {
        let library =
            |env: &[(&str, &str)], tree| resolve(Face::Library, &Named::default(), &around(env, tree)).unwrap();
        let c = library(&[], vec![shell(10, "zsh", &["-zsh"])]);
        assert_eq!((c.agent, c.source, c.proofs), (None, Source::Instance, vec![]));
        assert_eq!(library(&[CLAUDE], claude_tree()).agent.as_deref(), Some("claude-3f9a2c"));
        assert_eq!(library(&[("PORT_DADDY_AGENT", "api")], vec![]).agent.as_deref(), Some("api"));
    }

    #[test]
    fn a_named_agent_has_proofs_only_where_it_is_the_environments_own() {
        let named = |id: &str, env: &[(&str, &str)]| {
            let named = Named { agent: Some(id.to_owned()), session: None };
            resolve(Face::Shell, &named, &around(env, claude_tree())).unwrap()
        };
        for (id, env, strong) in [
            ("api", &[("PORT_DADDY_AGENT", "api")][..], true),
            ("api", &[("PORT_DADDY_AGENT", "web")], false),
            ("claude-3f9a2c", &[CLAUDE], true),
            ("claude-000000", &[CLAUDE], false),
            ("claude-3f9a2c", &[CLAUDE, ("PORT_DADDY_AGENT", "web")], false),
            ("api", &[CLAUDE], false),
        ] {
            let c = named(id, env);
            assert_eq!((c.agent.as_deref(), c.source), (Some(id), Source::Named));
            assert_eq!(c.proofs.len(), usize::from(strong), "{id} {env:?}");
            assert_eq!(c.harness.is_some(), strong, "{id} {env:?}");
        }
        let session = [("PORT_DADDY_AGENT", "web"), ("PORT_DADDY_SESSION", "s1")];
        assert_eq!(named("web", &session).session.as_deref(), Some("s1"));
        assert_eq!(named("api", &session).session, None);
        assert_eq!(named("api", &session[1..]).session.as_deref(), Some("s1"));
    }

    #[test]
    fn a_hook_calls_as_the_commands_of_its_session_do() {
        let hook = |env: &[(&str, &str)], sub_agent| {
            let session = "3f9a2c11-0000-4000-8000-000000000000";
            let around = around(env, claude_tree()).in_session("claude", session, sub_agent).unwrap();
            resolve(Face::Shell, &Named::default(), &around).unwrap()
        };
        let command = find(&[CLAUDE], claude_tree());
        let c = hook(&[], None);
        assert_eq!((&c.agent, pids(&c), c.source), (&command.agent, pids(&command), Source::HarnessSession));
        // Whatever the environment says of sessions: another harness's, or an older one of its own.
        let c = hook(&[CODEX, ("CLAUDE_CODE_SESSION_ID", "ffffff-1"), ("GEMINI_CLI", "1")], None);
        assert_eq!((&c.agent, c.harness.as_deref()), (&command.agent, Some("claude")));
        let c = hook(&[("PORT_DADDY_AGENT", "api")], None);
        assert_eq!((c.agent.as_deref(), pids(&c)), (Some("api"), pids(&command)));

        let (one, other) = (hook(&[], Some("agent-abc123")), hook(&[], Some("agent-abc124")));
        let (one_id, other_id) = (one.agent.clone().unwrap(), other.agent.unwrap());
        assert!(one_id.starts_with("claude-3f9a2c.") && one_id != other_id, "{one_id} {other_id}");
        check_agent_id(&one_id).unwrap();
        assert_eq!((pids(&one), hook(&[], Some("agent-abc123")).agent), (pids(&command), one.agent.clone()));
        assert_eq!((one.parent, hook(&[], None).parent), (command.agent.clone(), None));
        let long = "a".repeat(AGENT_MAX);
        let c = hook(&[("PORT_DADDY_AGENT", &long)], Some("x y\n\0"));
        check_agent_id(&c.agent.unwrap()).unwrap();
        assert_eq!(hook(&[], Some("")).agent, command.agent);
        let unknown = around(&[], vec![]).in_session("gemini", "1", None);
        assert_eq!(unknown.err().unwrap().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_harness_that_another_one_started_is_not_taken_for_it() {
        const INHERITED: (&str, &str) = ("PORT_DADDY_AGENT", "claude-aaaaaa");
        let agent = |env: &[(&str, &str)], tree| find(env, tree).agent.unwrap();
        let own = find(&[CLAUDE], claude_tree());
        // A command of the inner session, and a hook of it.
        let c = find(&[INHERITED, ("PORT_DADDY_SESSION", "s1"), CLAUDE], claude_tree());
        assert_eq!((&c.agent, pids(&c), c.source, c.session), (&own.agent, pids(&own), Source::HarnessSession, None));
        let hook = |env: &[(&str, &str)], sub_agent| {
            let around = around(env, claude_tree()).in_session("claude", CLAUDE.1, sub_agent).unwrap();
            resolve(Face::Shell, &Named::default(), &around).unwrap().agent.unwrap()
        };
        assert_eq!(hook(&[INHERITED], None), "claude-3f9a2c");
        assert!(hook(&[INHERITED], Some("x")).starts_with("claude-3f9a2c."));
        // It may be named, too, with the same proofs.
        let named = Named { agent: own.agent.clone(), session: None };
        let c = resolve(Face::Shell, &named, &around(&[INHERITED, CLAUDE], claude_tree())).unwrap();
        assert_eq!(pids(&c), pids(&own));
        // Another harness inside, with and without ids of sessions.
        let codex = || [vec![process(25, "codex", &["codex"])], claude_tree()].concat();
        assert_eq!(agent(&[INHERITED, CLAUDE, CODEX], codex()), agent(&[CLAUDE, CODEX], codex()));
        assert!(agent(&[INHERITED, CLAUDE, CODEX], codex()).starts_with("codex-"));
        let gemini = || [vec![process(25, "gemini", &["gemini"])], claude_tree()].concat();
        assert!(agent(&[INHERITED, CLAUDE, ("GEMINI_CLI", "1")], gemini()).starts_with("gemini-"));
        // Nothing says otherwise, or nothing says which is the nearest.
        assert_eq!(agent(&[INHERITED], claude_tree()), "claude-aaaaaa");
        assert_eq!(agent(&[INHERITED], vec![]), "claude-aaaaaa");
        assert_eq!(agent(&[INHERITED, CLAUDE, CODEX], vec![]), "claude-aaaaaa");
        // What a person chose is stronger, whatever it looks like.
        for chosen in ["api", "claude-review", "claude-1", "claude-aaaaaa.b"] {
            assert_eq!(agent(&[("PORT_DADDY_AGENT", chosen), CLAUDE], claude_tree()), chosen);
            assert_eq!(hook(&[("PORT_DADDY_AGENT", chosen)], None), chosen);
        }
    }

    #[test]
    fn a_named_agent_costs_no_look_at_the_processes() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = looks.clone();
        let surroundings = Surroundings {
            ancestors: Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                claude_tree()
            }),
            ..around(&[CLAUDE, CODEX], vec![])
        };
        let named = Named { agent: Some("api".to_owned()), session: Some("s".to_owned()) };
        assert_eq!(resolve(Face::Shell, &named, &surroundings).unwrap().session.as_deref(), Some("s"));
        assert_eq!(looks.load(Ordering::Relaxed), 0);
        resolve(Face::Shell, &Named::default(), &surroundings).unwrap();
        assert_eq!(looks.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn impossible_ids_are_refused_by_the_name_of_their_variable() {
        for (variable, value) in
            [("PORT_DADDY_AGENT", "two words"), ("PORT_DADDY_SESSION", "a\nb"), ("CODEX_THREAD_ID", "---")]
        {
            let e = resolve(Face::Shell, &Named::default(), &around(&[(variable, value)], vec![])).unwrap_err();
            assert_eq!((e.kind(), e.fields()["variable"].as_str()), (ErrorKind::Invalid, Some(variable)));
            assert!(e.message().starts_with(variable), "{e}");
        }
        for named in [
            Named { agent: Some(String::new()), session: None },
            Named { agent: None, session: Some("a b".to_owned()) },
        ] {
            let e = resolve(Face::Shell, &named, &around(&[], vec![])).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Invalid);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_real_script_named_like_a_harness_is_found_above_its_child() {
        use std::io::{BufRead, BufReader};
        use std::os::unix::fs::PermissionsExt;
        use std::process::{Command, Stdio};

        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("claude");
        // The child tells its pid, then lives until its input ends.
        std::fs::write(&script, "#!/bin/sh\nsh -c 'echo $$; read -r line'\nexit 0\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut run = Command::new(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let pid: u32 = line.trim().parse().unwrap();

        let ancestors = move || process::ancestors(pid, MOST_ANCESTORS);
        let at = |env: &[(&str, &str)]| Surroundings { pid, ancestors: Box::new(ancestors), ..around(env, vec![]) };
        let c = resolve(Face::Shell, &Named::default(), &at(&[])).unwrap();
        assert_eq!((c.harness.as_deref(), c.source), (Some("claude"), Source::HarnessProcess));
        assert_eq!(pids(&c), [(run.id(), Strength::Strong)]);
        assert_eq!(c.proofs[0].id, process::info(run.id()).unwrap().id);
        // Named by its pid alone, as a detached command sees it.
        let text = run.id().to_string();
        let detached = find(&[CLAUDE, ("CLAUDE_PID", &text)], vec![]);
        assert_eq!(pids(&detached), [(run.id(), Strength::Strong)]);

        drop(run.stdin.take());
        assert!(run.wait().unwrap().success());
    }

    #[test]
    fn the_system_has_surroundings() {
        let system = Surroundings::system();
        assert_eq!(system.pid, std::process::id());
        let above = (system.ancestors)();
        assert!(!above.is_empty() && above.len() <= MOST_ANCESTORS);
        assert_eq!((system.env)("PORT_DADDY_NOT_SET"), None);
    }
}
