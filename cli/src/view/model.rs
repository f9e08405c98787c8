//! What is seen: panes of rows, in words that need no colour.

use portdaddy_core::{Agent, AgentState, ClaimOverlap, FileClaim, LockInfo, Overview, PortClaim, Session};
use serde_json::Value;

use crate::commands::agents::{life_word, state_word};
use crate::commands::log;
use crate::duration::{length, moment};
use crate::output::{Outcome, escape, to_value};

/// Characters of one cell. Nobody reads a purpose of 4 KiB in a row.
const CELL_MAX: usize = 300;

/// How something stands out, where there is colour. The words say it, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Attention,
    Bad,
    Faint,
}

/// One cell of a row: text of which nothing has power over the terminal.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// The rows of one kind, the last cell of each being as long as it likes.
#[derive(Clone, Debug)]
pub(crate) struct Pane {
    pub(crate) title: &'static str,
    /// Said beside the title; empty for nothing.
    pub(crate) about: String,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// How many there are, shown or not.
    pub(crate) total: u64,
    /// The newest row is the last, and the one to see.
    pub(crate) is_log: bool,
}

/// How many panes there are.
pub(crate) const PANES: usize = 6;

/// All panes. Ages are counted up to `now`.
pub(crate) fn panes(seen: &Overview, now: i64) -> Outcome<[Pane; PANES]> {
    let totals = &seen.totals;
    // Rows that stay where they are: who called last is said in each.
    let mut agents: Vec<_> = seen.agents.iter().collect();
    agents.sort_by_key(|a| (a.state == AgentState::Dead, a.registered_ms, &a.id));
    let mut claims: Vec<_> = seen.conflicts.iter().rev().map(overlap).collect();
    claims.extend(seen.claims.iter().map(|c| claim(c, now)));
    let conflicts = match totals.conflicts {
        0 => String::new(),
        1 => "1 conflict".to_owned(),
        n => format!("{n} conflicts"),
    };
    let waiting = match seen.locks.iter().map(|l| l.waiters.len()).sum() {
        0 => String::new(),
        n => format!("{n} waiting"),
    };
    let pane = |title, total, about, rows| Pane { title, about, rows, total, is_log: false };
    Ok([
        pane("agents", totals.agents, String::new(), agents.into_iter().map(|a| agent(a, seen, now)).collect()),
        pane("sessions", totals.sessions, String::new(), seen.sessions.iter().map(|s| session(s, now)).collect()),
        pane("locks", totals.locks, waiting, seen.locks.iter().map(|l| lock(l, now)).collect()),
        pane("claims", totals.claims, conflicts, claims),
        pane("ports", totals.ports, String::new(), seen.ports.iter().map(port).collect()),
        timeline(seen, now)?,
    ])
}

/// The document of `pd status --json`: the counts as they always were, and the picture beside them.
pub(crate) fn document(seen: &Overview) -> Outcome<Value> {
    let mut overview = to_value(seen)?;
    let mut status = overview.as_object_mut().and_then(|o| o.shift_remove("status")).unwrap_or_default();
    if let Some(object) = status.as_object_mut() {
        object.insert("overview".to_owned(), overview);
    }
    Ok(status)
}

fn cell(text: impl AsRef<str>, tone: Tone) -> Cell {
    let text = text.as_ref();
    let text = match text.char_indices().nth(CELL_MAX) {
        Some((at, _)) => format!("{}…", escape(&text[..at])),
        None => escape(text).into_owned(),
    };
    Cell { text, tone }
}

/// As wide for 3 seconds as for 30, so that what follows stays where it is.
fn age(ms: i64) -> Cell {
    cell(format!("{:>3}", length(ms)), Tone::Faint)
}

fn plain(text: impl AsRef<str>) -> Cell {
    cell(text, Tone::Plain)
}

fn tone_of(state: AgentState) -> Tone {
    match state {
        AgentState::Active => Tone::Good,
        AgentState::Stale => Tone::Attention,
        AgentState::Dead => Tone::Bad,
        AgentState::Left => Tone::Faint,
    }
}

/// `active  backend  Backend API  payments:api  2s  waits for lock db-migrations`
fn agent(agent: &Agent, seen: &Overview, now: i64) -> Vec<Cell> {
    let waits = seen.status.waiters.iter().find(|w| w.agent.as_deref() == Some(&agent.id));
    let last = match (waits, agent.unfinished) {
        (Some(w), _) => {
            cell(format!("waits for {} {} ({})", w.kind, w.name, length(now - w.since_ms)), Tone::Attention)
        }
        (None, true) => cell("left unfinished work: pd salvage", Tone::Bad),
        (None, false) => cell(agent.purpose.as_deref().unwrap_or_default(), Tone::Plain),
    };
    vec![
        cell(state_word(agent.state).to_lowercase(), tone_of(agent.state)),
        plain(&agent.id),
        plain(agent.name.as_deref().unwrap_or("-")),
        plain(agent.identity.as_deref().unwrap_or("-")),
        age(now - agent.seen_ms),
        last,
    ]
}

/// `Backend API  session-ab3  5m  testing  3 notes  Stripe API integration`
fn session(session: &Session, now: i64) -> Vec<Cell> {
    let notes = if session.notes == 1 { "1 note".to_owned() } else { format!("{} notes", session.notes) };
    vec![
        plain(&session.agent_name),
        plain(&session.id),
        age(now - session.started_ms),
        plain(session.phase.as_deref().unwrap_or("-")),
        cell(notes, Tone::Faint),
        plain(&session.purpose),
    ]
}

/// `db-migrations  Database (alive)  3m  2 waiting: Backend API, Tests; adding the refunds table`
fn lock(lock: &LockInfo, now: i64) -> Vec<Cell> {
    let mut about = Vec::new();
    if !lock.waiters.is_empty() {
        let names: Vec<_> = lock.waiters.iter().take(5).map(|w| w.agent_name.as_str()).collect();
        let more = if lock.waiters.len() > names.len() { ", …" } else { "" };
        about.push(format!("{} waiting: {}{more}", lock.waiters.len(), names.join(", ")));
    }
    about.extend(lock.expires_ms.map(|at| format!("ends in {}", length(at - now))));
    about.extend(lock.purpose.clone());
    let tone = if lock.waiters.is_empty() { Tone::Plain } else { Tone::Attention };
    vec![
        plain(&lock.name),
        cell(format!("{} ({})", lock.agent_name, life_word(lock.holder_state)), tone_of(lock.holder_state)),
        age(now - lock.since_ms),
        cell(about.join("; "), tone),
    ]
}

fn pattern(claim: &FileClaim) -> String {
    match claim.lines {
        Some(lines) => format!("{}:{lines}", claim.pattern),
        None => claim.pattern.clone(),
    }
}

/// `claim  src/api/**  Backend API, 3m`
fn claim(claim: &FileClaim, now: i64) -> Vec<Cell> {
    let word = if claim.forced { cell("forced", Tone::Attention) } else { cell("claim", Tone::Faint) };
    vec![word, plain(pattern(claim)), plain(format!("{}, {}", claim.agent_name, length(now - claim.since_ms)))]
}

/// `conflict  src/types/Payment.ts  Backend API (alive) src/types/Payment.ts, Frontend (alive) src/types/*.ts`
fn overlap(overlap: &ClaimOverlap) -> Vec<Cell> {
    let side = |claim: &FileClaim, state| format!("{} ({}) {}", claim.agent_name, life_word(state), pattern(claim));
    let where_ = if overlap.same_worktree { "" } else { "; in another working tree" };
    let text = format!(
        "{} and {}{where_}",
        side(&overlap.first, overlap.first_state),
        side(&overlap.second, overlap.second_state)
    );
    // What a dead agent has claimed blocks nobody.
    let dead = [overlap.first_state, overlap.second_state].contains(&AgentState::Dead);
    let tone = if dead { Tone::Attention } else { Tone::Bad };
    vec![cell(if dead { "overlap" } else { "conflict" }, tone), plain(&overlap.witness), cell(text, tone)]
}

/// `3100  payments:frontend  listening  Frontend, node 4242`
fn port(port: &PortClaim) -> Vec<Cell> {
    let state = if port.listening { cell("listening", Tone::Good) } else { cell("idle", Tone::Faint) };
    let mut about: Vec<String> = port.agent_name.iter().cloned().collect();
    about.extend(port.listener.as_ref().map(|l| format!("{} {}", l.command, l.pid)));
    about.extend(port.worktree.clone());
    vec![plain(port.port.to_string()), plain(&port.identity), state, plain(about.join(", "))]
}

/// What was done and what was noted, in the order of commits.
fn timeline(seen: &Overview, now: i64) -> Outcome<Pane> {
    let mut rows = Vec::new();
    let name = |name: Option<&str>| plain(name.unwrap_or("-"));
    for entry in &seen.activity {
        let tone = match entry.kind.as_str() {
            "agent.dead" | "files.conflict" | "lock.force" => Tone::Bad,
            kind if kind.ends_with(".wait") => Tone::Attention,
            _ => Tone::Plain,
        };
        let who = name(entry.agent_name.as_deref());
        let kind = cell(&entry.kind, Tone::Faint);
        let time = cell(moment(entry.at_ms, now), Tone::Faint);
        rows.push((entry.seq, vec![time, kind, who, cell(log::sentence(entry)?, tone)]));
    }
    for note in &seen.notes {
        let tone = if note.kind == "blocker" { Tone::Attention } else { Tone::Plain };
        let kind = cell(&note.kind, Tone::Faint);
        let time = cell(moment(note.at_ms, now), Tone::Faint);
        rows.push((note.seq, vec![time, kind, name(Some(&note.agent_name)), cell(&note.text, tone)]));
    }
    rows.sort_by_key(|(seq, _)| *seq);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    Ok(Pane { title: "timeline", about: String::new(), total: rows.len() as u64, rows, is_log: true })
}
