//! Agents: who takes part, whether they live, and what happens when one is found dead.
//!
//! Any call that writes registers its agent and counts as a sign of life. Whoever looks at an agent and finds its
//! proofs lost *buries* it, in one transaction: it is marked dead with the proof, its locks go to the next in line, its
//! unfinished sessions are left for salvage. A buried agent that calls again is alive again, unless its work was
//! salvaged; then it is told by whom.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::activity;
use crate::caller::{self, Face, Source, Strength};
use crate::coordinator::{Coordinator, Inner};
use crate::db::{self, Durability, Now, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{Identity, check_agent_id, check_text};
use crate::life::{self, Proof, ProofKind, Signs, Verdict};
use crate::sessions::{NewSession, Session, StartedSession};
use crate::sys;
use crate::waiters;
use crate::wake::Topic;

/// A sign of life is written at most this often.
const TOUCH_EVERY_MS: i64 = 5_000;

/// The dead who left nothing unfinished are listed this long.
const FORGOTTEN_AFTER_MS: i64 = 24 * 3600 * 1000;

/// How an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Alive and heard of lately.
    Active,
    /// Alive as far as can be told, but silent for long.
    Stale,
    /// Its proofs of life are lost, or it was silent for too long.
    Dead,
    /// It said goodbye.
    Left,
}

/// An agent, as others see it.
#[derive(Clone, Debug, Serialize)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its name for people, if it gave one.
    pub name: Option<String>,
    /// `project[:stack[:context]]`, if it gave one.
    pub identity: Option<String>,
    /// What it is for, if it said so.
    pub purpose: Option<String>,
    /// `ai`, `human`, `ci`, `cli`, or what it said.
    #[serde(rename = "type")]
    pub kind: String,
    /// The coding harness it runs in, if one was seen.
    pub harness: Option<String>,
    /// The scope that it last called from.
    pub scope: String,
    /// How it is doing.
    pub state: AgentState,
    /// When it registered, in milliseconds since 1970.
    pub registered_ms: i64,
    /// Its last sign of life, in milliseconds since 1970.
    pub seen_ms: i64,
    /// How long it has been silent, in milliseconds that the machine was awake.
    pub silent_ms: i64,
    /// When it was found dead, in milliseconds since 1970.
    pub died_ms: Option<i64>,
    /// By what proof it was found dead.
    pub death: Option<String>,
    /// What proves its life. One that was lost stays until the agent calls again.
    pub proofs: Vec<Proof>,
    /// Its active sessions.
    pub active_sessions: u64,
    /// True for a dead agent that left unfinished work.
    pub unfinished: bool,
}

impl Agent {
    /// Its name, else its id.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

/// What an agent says of itself. Fields left out keep what was said before.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// A name for people, up to 128 bytes.
    pub name: Option<String>,
    /// `project[:stack[:context]]`.
    pub identity: Option<String>,
    /// What it is for, up to 4 KiB.
    pub purpose: Option<String>,
    /// `ai`, `human`, `ci`, `cli`, or another word.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// Which agents to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentFilter {
    /// Every scope's agents, not only those seen in the caller's.
    pub all: bool,
    /// Only identities of this project.
    pub project: Option<String>,
    /// Also those that said goodbye, and those dead for more than a day who left nothing unfinished.
    pub left: bool,
}

/// The agents of a scope, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct AgentList {
    /// Alive ones first, then by their last sign of life.
    pub agents: Vec<Agent>,
    /// How many of other scopes were left out.
    pub elsewhere: u64,
}

/// Who a call is taken to come from.
#[derive(Clone, Debug, Serialize)]
pub struct Whoami {
    /// The agent's id; none where nothing around the call names one.
    pub agent: Option<String>,
    /// How the agent was found.
    pub source: Source,
    /// The agent as registered; none before its first writing call.
    pub registered: Option<Agent>,
    /// The session that notes would go to.
    pub session: Option<Session>,
    /// The scope's name.
    pub scope: String,
    /// The scope's key.
    pub scope_key: String,
    /// The database file.
    pub db: String,
}

/// Who acts in a transaction, and where.
pub(crate) struct Actor {
    pub(crate) agent: Option<String>,
    /// Row of `scopes`.
    pub(crate) scope: i64,
}

impl Actor {
    /// The agent's id, or why there is none.
    pub(crate) fn agent(&self) -> Result<&str> {
        self.agent.as_deref().ok_or_else(caller::no_agent_error)
    }
}

impl Coordinator {
    /// Registers the calling agent, or changes what it said of itself.
    ///
    /// # Errors
    /// `NO_AGENT`, `INVALID`, `STORE_*`.
    pub fn register_agent(&self, registration: &Registration) -> Result<Agent> {
        let Registration { name, identity, purpose, kind } = registration;
        if let Some(name) = name {
            check_text("agent name", name, 128)?;
        }
        if let Some(purpose) = purpose {
            check_text("purpose", purpose, 4096)?;
        }
        if let Some(kind) = kind {
            check_text("agent type", kind, 64)?;
        }
        let identity = identity.as_deref().map(Identity::parse).transpose()?.map(|i| i.as_str().to_owned());
        self.act(Durability::Process, |tx, actor| {
            let id = actor.agent()?;
            tx.prepare_cached(
                "UPDATE agents SET name = coalesce(?2, name), identity = coalesce(?3, identity),
                        purpose = coalesce(?4, purpose), type = coalesce(?5, type), state = 'alive' WHERE id = ?1",
            )?
            .execute((id, name, &identity, purpose, kind))?;
            activity::record(tx, actor, "agent.register", id, json!({"identity": identity, "purpose": purpose}))?;
            load_by_id(tx, id, tx.now, tx.liveness())
        })
    }

    /// Says that the calling agent lives, and promises to go on saying so: from then on, without another proof of life,
    /// five minutes of silence count as its death.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn heartbeat(&self) -> Result<Agent> {
        self.act(Durability::Process, |tx, actor| {
            let id = actor.agent()?;
            tx.prepare_cached(
                "UPDATE agents SET promised = 1, seen_ms = ?2, seen_awake_ms = ?3, boot = ?4 WHERE id = ?1",
            )?
            .execute((id, tx.now.wall_ms, tx.now.awake_ms, tx.now.boot))?;
            load_by_id(tx, id, tx.now, tx.liveness())
        })
    }

    /// Says goodbye: releases the locks that the agent holds from the shell, ends its active sessions as abandoned and
    /// releases their claims; work that it has taken over is left for another. A lock under a program's guard stays until the
    /// guard ends. A later call by the agent brings it back.
    ///
    /// # Errors
    /// `NO_AGENT`, `NOT_FOUND` for an agent that never registered, `STORE_*`.
    pub fn unregister_agent(&self) -> Result<Agent> {
        let id = self.inner.caller.agent.clone().ok_or_else(caller::no_agent_error)?;
        let agent = self.inner.db.write(Durability::Power, |tx| {
            let scope = self.inner.scope_row(tx)?;
            let known: Option<String> = tx
                .prepare_cached("SELECT state FROM agents WHERE id = ?1")?
                .query_row([&id], |r| r.get(0))
                .optional()?;
            if known.is_none() {
                return Err(unknown_agent(&id));
            }
            crate::salvage::give_back_all(tx, &id, scope)?;
            crate::sessions::abandon_all_of(tx, &id)?;
            goodbye(tx, &id, scope)?;
            load_by_id(tx, &id, tx.now, tx.liveness())
        })?;
        // Its proofs are stored again if it comes back.
        self.inner.recorded.store(false, Ordering::Release);
        Ok(agent)
    }

    /// Lists agents. Whoever is found dead by looking is buried.
    ///
    /// # Errors
    /// `INVALID` for a project that is none, `STORE_*`.
    pub fn agents(&self, filter: &AgentFilter) -> Result<AgentList> {
        if let Some(project) = &filter.project {
            Identity::parse(project)?;
        }
        self.bury_the_dead()?;
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        self.inner.db.read(|conn| {
            let here = &self.inner.scope.key;
            let mut list = AgentList { agents: Vec::new(), elsewhere: 0 };
            let ids: Vec<(String, bool)> = conn
                .prepare_cached(
                    "SELECT a.id, s.key = ?1 OR EXISTS (SELECT 1 FROM sessions x JOIN scopes y ON y.id = x.scope
                                                        WHERE x.agent = a.id AND x.status = 'active' AND y.key = ?1)
                     FROM agents a JOIN scopes s ON s.id = a.scope WHERE a.state <> 'left' OR ?2
                     ORDER BY a.state = 'dead', a.seen_ms DESC, a.id",
                )?
                .query_map((here, filter.left), |r| Ok((r.get(0)?, r.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (id, is_here) in ids {
                let agent = load_by_id(conn, &id, now, &*inputs.liveness)?;
                let long_dead = agent.died_ms.is_some_and(|died| now.wall_ms - died > FORGOTTEN_AFTER_MS);
                if long_dead && !agent.unfinished && !filter.left {
                    continue;
                }
                let wanted = filter.project.as_ref().is_none_or(|project| {
                    agent.identity.as_ref().is_some_and(|i| crate::identity::in_project(i, project))
                });
                match (wanted, is_here || filter.all) {
                    (true, true) => list.agents.push(agent),
                    (true, false) => list.elsewhere += 1,
                    (false, _) => {}
                }
            }
            Ok(list)
        })
    }

    /// One agent, in whatever scope.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID`, `STORE_*`.
    pub fn agent(&self, id: &str) -> Result<Agent> {
        check_agent_id(id)?;
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let look = || self.inner.db.read(|conn| load_by_id(conn, id, now, &*inputs.liveness));
        let seen = look()?;
        if seen.state != AgentState::Dead || seen.died_ms.is_some() {
            return Ok(seen);
        }
        self.bury(&[seen.id], false)?;
        look()
    }

    /// Registers the caller and starts a session, in one call.
    ///
    /// # Errors
    /// As [`register_agent`](Self::register_agent) and [`start_session`](Self::start_session).
    pub fn begin(&self, registration: &Registration, session: &NewSession) -> Result<StartedSession> {
        let Registration { name, identity, purpose, kind } = registration;
        if [name, identity, purpose, kind].into_iter().any(Option::is_some) {
            self.register_agent(registration)?;
        }
        self.start_session(session)
    }

    /// Ends the caller's session as completed, with a last note if one is given.
    ///
    /// # Errors
    /// As [`end_session`](Self::end_session).
    pub fn done(&self, note: Option<&str>) -> Result<Session> {
        self.end_session(&crate::sessions::EndSession { note: note.map(str::to_owned), ..Default::default() })
    }

    /// Who the caller is taken to be, and where it stands. Writes nothing.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn whoami(&self) -> Result<Whoami> {
        let inner = &self.inner;
        let (now, inputs) = (inner.now()?, inner.db.inputs());
        inner.db.read(|conn| {
            let registered = match &inner.caller.agent {
                Some(id) if exists(conn, id)? => Some(load_by_id(conn, id, now, &*inputs.liveness)?),
                _ => None,
            };
            Ok(Whoami {
                agent: inner.caller.agent.clone(),
                source: inner.caller.source,
                registered,
                session: crate::sessions::current(inner, conn)?,
                scope: inner.scope.name.clone(),
                scope_key: inner.scope.key.clone(),
                db: inner.db.path().display().to_string(),
            })
        })
    }

    /// The agent that the harness around the caller is known as by its session, to a caller that isn't told the session
    /// and knows only the process: the last one seen that lives by that process. For programs that a harness starts.
    ///
    /// # Errors
    /// `STORE_*`.
    #[doc(hidden)]
    pub fn harness_agent(&self) -> Result<Option<String>> {
        let (caller, now) = (&self.inner.caller, self.inner.now()?);
        let strong = caller.proofs.iter().find(|proof| proof.strength == Strength::Strong);
        let (Some(process), Some(harness)) = (strong, caller.harness.as_deref()) else { return Ok(None) };
        let ids: Vec<String> = self.inner.db.read(|conn| {
            let of_process = (
                process.id.pid,
                process.id.start.cast_signed(),
                process.id.namespace.cast_signed(),
                now.boot,
                caller.agent.as_deref(),
            );
            Ok(conn
                .prepare_cached(
                    "SELECT a.id FROM proofs p JOIN agents a ON a.id = p.agent
                     WHERE p.kind = 'process' AND p.pid = ?1 AND p.start = ?2 AND p.namespace = ?3 AND p.boot = ?4
                           AND a.state = 'alive' AND a.id <> ?5
                     ORDER BY a.seen_ms DESC, a.id",
                )?
                .query_map(of_process, |r| r.get(0))?
                .collect::<Result<_, _>>()?)
        })?;
        // Sub-agents live by the same process, under other names.
        Ok(ids.into_iter().find(|id| caller::derived_from(id, harness)))
    }

    /// Runs one write as the calling agent, if there is one: registers it, counts the call as a sign of life.
    pub(crate) fn act<T>(&self, durability: Durability, f: impl FnOnce(&Tx<'_>, &Actor) -> Result<T>) -> Result<T> {
        let mut notice = None;
        let mut scope = None;
        let result = self.inner.db.write(durability, |tx| {
            // What is written for a handle that ends is there when it withdraws, or never.
            self.inner.check_open()?;
            let actor = self.inner.actor(tx, &mut notice)?;
            scope = Some(actor.scope);
            f(tx, &actor)
        });
        if result.is_ok() {
            scope.into_iter().for_each(|id| self.inner.remember_scope_row(id));
            if self.inner.caller.agent.is_some() {
                self.inner.recorded.store(true, Ordering::Release);
            }
            if let Some(text) = notice {
                self.inner.notice(text);
            }
        }
        result
    }

    /// Buries the dead, hands on what they held, and removes the rows of waits that have ended. What was done, in words.
    pub(crate) fn tidy(&self) -> Result<Vec<String>> {
        self.inner.db.write(Durability::Process, |tx| {
            let ids: Vec<String> = tx
                .prepare_cached("SELECT id FROM agents WHERE state = 'alive'")?
                .query_map([], |r| r.get(0))?
                .collect::<Result<_, _>>()?;
            let mut done = Vec::new();
            // Locks first: whoever is found dead there is buried there, and what it held is told.
            let handed = crate::locks::settle_all(tx)?;
            for id in ids {
                if !check(tx, &id)? {
                    done.push(format!("buried {id}, which is dead"));
                }
            }
            done.extend(handed);
            let ended = waiters::remove_dead(tx)?;
            done.extend(ended.into_iter().map(|wait| format!("removed the wait of {wait}, which has ended")));
            Ok(done)
        })
    }

    /// Looks at every agent that is thought to live, and buries the dead.
    pub(crate) fn bury_the_dead(&self) -> Result<()> {
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let (dead, waits_ended) = self.inner.db.read(|conn| {
            let ids: Vec<String> = conn
                .prepare_cached("SELECT id FROM agents WHERE state = 'alive'")?
                .query_map([], |r| r.get(0))?
                .collect::<Result<_, _>>()?;
            let mut dead = Vec::new();
            for id in ids {
                if let Some(Verdict::Dead { .. }) = verdict(conn, &id, now, &*inputs.liveness)? {
                    dead.push(id);
                }
            }
            Ok((dead, waiters::any_dead(conn, &*inputs.liveness)?))
        })?;
        sys::live::sweep(&self.inner.db.live_dir());
        if dead.is_empty() && !waits_ended { Ok(()) } else { self.bury(&dead, waits_ended) }
    }

    /// Buries whoever of these is dead, and, where there are some, removes the waits of processes that are gone. Where the file
    /// can't be written now, they stay for the next to bury: that is no reason to refuse a look.
    fn bury(&self, ids: &[String], waits_ended: bool) -> Result<()> {
        use ErrorKind::{StoreFull, StoreNewer, StorePermission, StoreReadOnly};
        let buried = self.inner.db.write(Durability::Process, |tx| {
            ids.iter().try_for_each(|id| check(tx, id).map(|_| ()))?;
            if waits_ended {
                waiters::remove_dead(tx)?;
            }
            Ok(())
        });
        match buried {
            Err(e) if matches!(e.kind(), StoreFull | StoreNewer | StorePermission | StoreReadOnly) => Ok(()),
            buried => buried,
        }
    }
}

impl Inner {
    /// The moment, for a read. The boot is 0 before the first write to the file.
    pub(crate) fn now(&self) -> Result<Now> {
        let clock = &self.db.inputs().clock;
        let boot = match self.boot.get() {
            Some(boot) => *boot,
            None => match self.db.read(db::known_boot)? {
                Some(boot) if crate::sys::knows_boot() => *self.boot.get_or_init(|| boot),
                guess => guess.unwrap_or(0),
            },
        };
        Ok(Now { wall_ms: clock.wall_ms(), awake_ms: clock.awake_ms(), boot })
    }

    /// The row of the caller's scope, made where it is new.
    pub(crate) fn scope_row(&self, tx: &Tx<'_>) -> Result<i64> {
        if let Some(id) = self.known_scope_row(tx)? {
            return Ok(id);
        }
        Ok(tx
            .prepare_cached("INSERT INTO scopes (key, name) VALUES (?1, ?2) RETURNING id")?
            .query_row((&self.scope.key, &self.scope.name), |r| r.get(0))?)
    }

    /// The row of the caller's scope, if anything was ever written there.
    pub(crate) fn known_scope_row(&self, conn: &Connection) -> Result<Option<i64>> {
        if let Some(id) = self.scope_row.get() {
            return Ok(Some(*id));
        }
        let found: Option<i64> = conn
            .prepare_cached("SELECT id FROM scopes WHERE key = ?1")?
            .query_row([&self.scope.key], |r| r.get(0))
            .optional()?;
        Ok(found)
    }

    /// Remembers the scope's row, once it is known to be committed: it stays for ever.
    fn remember_scope_row(&self, id: i64) {
        let _ = self.scope_row.set(id);
    }

    fn actor(&self, tx: &Tx<'_>, notice: &mut Option<String>) -> Result<Actor> {
        let scope = self.scope_row(tx)?;
        if let Some(id) = &self.caller.agent
            && !(self.afterwards.load(Ordering::Acquire) && has_left(tx, id)?)
        {
            self.touch(tx, id, scope, notice)?;
        }
        Ok(Actor { agent: self.caller.agent.clone(), scope })
    }

    /// Registers the caller where it is new, and counts the call as a sign of life.
    fn touch(&self, tx: &Tx<'_>, id: &str, scope: i64, notice: &mut Option<String>) -> Result<()> {
        let Now { wall_ms, awake_ms, boot } = tx.now;
        let parent = self.caller.parent.as_deref();
        let known: Option<(String, i64, i64, i64, bool)> = tx
            .prepare_cached(
                "SELECT state, seen_awake_ms, boot, scope, ?2 IS NULL OR parent IS ?2 FROM agents WHERE id = ?1",
            )?
            .query_row((id, parent), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
            .optional()?;
        let was_alive = known.as_ref().is_some_and(|(state, ..)| state == "alive");
        match known {
            None => {
                let kind = match (&self.caller.kind, self.face) {
                    (Some(kind), _) => kind.as_str(),
                    (None, Face::Shell) => "cli",
                    (None, Face::Library) => "sdk",
                };
                tx.prepare_cached(
                    "INSERT INTO agents
                         (id, type, harness, scope, state, registered_ms, seen_ms, seen_awake_ms, boot, parent)
                     VALUES (?1, ?2, ?3, ?4, 'alive', ?5, ?5, ?6, ?7, ?8)",
                )?
                .execute((id, kind, &self.caller.harness, scope, wall_ms, awake_ms, boot, parent))?;
            }
            // What was left behind in the background doesn't bring back the agent that it once waited for.
            Some((state, ..)) if state != "alive" && self.waits_on() => return Err(gone_error(id, &state)),
            Some((state, seen, seen_boot, seen_scope, parent_known)) => {
                let silent = seen_boot != boot || awake_ms - seen >= TOUCH_EVERY_MS;
                if silent || state != "alive" || seen_scope != scope || !parent_known {
                    tx.prepare_cached(
                        "UPDATE agents SET state = 'alive', seen_ms = ?2, seen_awake_ms = ?3, boot = ?4, scope = ?5,
                                died_ms = NULL, death = NULL, parent = coalesce(?6, parent) WHERE id = ?1",
                    )?
                    .execute((id, wall_ms, awake_ms, boot, scope, parent))?;
                }
                if state == "dead" {
                    *notice = crate::salvage::agent_returned(tx, id, scope)?;
                }
            }
        }
        // A program's proofs stay what they were at its first call, unless the agent left meanwhile; each shell command has
        // its own.
        if !was_alive || !self.is_recorded() || self.face == Face::Shell {
            self.record_proofs(tx, id)?;
        }
        Ok(())
    }

    /// Whether this is a command that does nothing but wait for messages or signals, and has called before.
    fn waits_on(&self) -> bool {
        self.is_recorded() && self.waits_for_word()
    }

    /// Counts a call that wrote nothing as a sign of life of an agent that is known and was silent for a while.
    pub(crate) fn sign_of_life(&self) -> Result<()> {
        let Some(id) = &self.caller.agent else { return Ok(()) };
        let now = self.now()?;
        let silent = self.db.read(|conn| {
            let seen: Option<(i64, i64)> = conn
                .prepare_cached("SELECT seen_awake_ms, boot FROM agents WHERE id = ?1 AND state = 'alive'")?
                .query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()?;
            Ok(seen.is_some_and(|(seen, boot)| boot != now.boot || now.awake_ms - seen >= TOUCH_EVERY_MS))
        })?;
        if silent { self.db.write(Durability::Process, |tx| self.actor(tx, &mut None).map(|_| ())) } else { Ok(()) }
    }

    fn record_proofs(&self, tx: &Tx<'_>, id: &str) -> Result<()> {
        life::forget_lost(tx, id)?;
        if let Some(own) = self.own_proof() {
            life::record(tx, id, &own)?;
        }
        for proof in &self.caller.proofs {
            let kind = match proof.strength {
                Strength::Strong => ProofKind::Process,
                Strength::Weak => ProofKind::Shell,
            };
            let proof = Proof {
                kind,
                live: String::new(),
                pid: proof.id.pid,
                start: proof.id.start,
                namespace: proof.id.namespace,
                this_boot: true,
                what: proof.name.clone(),
                waits: false,
            };
            life::record(tx, id, &proof)?;
        }
        Ok(())
    }
}

fn unknown_agent(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no agent is called {id:?}"))
        .with("agent", id)
        .hint("pd agents --all lists them")
}

/// Whether one of two agents is the other's sub-agent: they take turns at the same work.
pub(crate) fn are_kin(conn: &Connection, a: &str, b: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM agents WHERE (id = ?1 AND parent = ?2) OR (id = ?2 AND parent = ?1)";
    Ok(conn.prepare_cached(sql)?.exists([a, b])?)
}

/// An agent and its sub-agents, as far as they haven't left.
pub(crate) fn with_sub_agents(conn: &Connection, id: &str) -> Result<Vec<String>> {
    let sql = "SELECT id FROM agents WHERE (id = ?1 OR parent = ?1) AND state <> 'left' ORDER BY id";
    Ok(conn.prepare_cached(sql)?.query_map([id], |r| r.get(0))?.collect::<Result<_, _>>()?)
}

fn exists(conn: &Connection, id: &str) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM agents WHERE id = ?1")?.exists([id])?)
}

/// The agents that haven't left and are seen in a scope, or in any, alive ones first: so many, and how many there are.
pub(crate) fn present(
    conn: &Connection,
    scope: Option<i64>,
    limit: usize,
    now: Now,
    liveness: &dyn life::Liveness,
) -> Result<(Vec<Agent>, u64)> {
    let ids: Vec<String> = conn
        .prepare_cached(
            "SELECT a.id FROM agents a WHERE a.state <> 'left'
                AND (?1 IS NULL OR a.scope = ?1 OR EXISTS (SELECT 1 FROM sessions x WHERE x.agent = a.id
                                                           AND x.status = 'active' AND x.scope = ?1))
                AND (a.state <> 'dead' OR a.died_ms >= ?2
                     OR EXISTS (SELECT 1 FROM sessions x WHERE x.agent = a.id AND x.status = 'active'))
             ORDER BY a.state = 'dead', a.seen_ms DESC, a.id",
        )?
        .query_map((scope, now.wall_ms - FORGOTTEN_AFTER_MS), |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    let listed = ids.iter().take(limit).map(|id| load_by_id(conn, id, now, liveness)).collect::<Result<_>>()?;
    Ok((listed, ids.len() as u64))
}

/// What the rules say of an agent that is thought to live; none for one that is known to be dead, gone or unknown.
pub(crate) fn verdict(conn: &Connection, id: &str, now: Now, liveness: &dyn life::Liveness) -> Result<Option<Verdict>> {
    let row: Option<(i64, i64, bool)> = conn
        .prepare_cached("SELECT seen_awake_ms, boot, promised FROM agents WHERE id = ?1 AND state = 'alive'")?
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    let Some((seen, boot, promised)) = row else { return Ok(None) };
    let proofs = life::proofs(conn, id, now.boot)?;
    Ok(Some(life::judge(&proofs, Signs { silent_ms: life::silence(now, seen, boot), promised }, liveness)))
}

/// How an agent is doing, as far as can be seen without burying anyone. One that nobody knows has left.
pub(crate) fn state_of(conn: &Connection, id: &str, now: Now, liveness: &dyn life::Liveness) -> Result<AgentState> {
    match verdict(conn, id, now, liveness)? {
        Some(Verdict::Alive { stale: false }) => return Ok(AgentState::Active),
        Some(Verdict::Alive { stale: true }) => return Ok(AgentState::Stale),
        Some(Verdict::Dead { .. }) => return Ok(AgentState::Dead),
        None => {}
    }
    let state: Option<String> =
        conn.prepare_cached("SELECT state FROM agents WHERE id = ?1")?.query_row([id], |r| r.get(0)).optional()?;
    Ok(if state.as_deref() == Some("dead") { AgentState::Dead } else { AgentState::Left })
}

/// Whether an agent lives, burying it if it is found dead. An agent that left, or is unknown, doesn't.
pub(crate) fn check(tx: &Tx<'_>, id: &str) -> Result<bool> {
    match verdict(tx, id, tx.now, tx.liveness())? {
        None => Ok(false),
        Some(Verdict::Alive { .. }) => Ok(true),
        Some(Verdict::Dead { proof, proven }) => {
            bury(tx, id, &proof, proven)?;
            Ok(false)
        }
    }
}

/// Whether an agent has said goodbye. One that nobody knows hasn't.
pub(crate) fn has_left(conn: &Connection, id: &str) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM agents WHERE id = ?1 AND state = 'left'")?.exists([id])?)
}

/// Whether an agent that was there has left or died, buried or not.
pub(crate) fn gone(conn: &Connection, id: &str, now: Now, liveness: &dyn life::Liveness) -> Result<Option<Error>> {
    match verdict(conn, id, now, liveness)? {
        Some(Verdict::Alive { .. }) => return Ok(None),
        Some(Verdict::Dead { .. }) => return Ok(Some(gone_error(id, "dead"))),
        None => {}
    }
    let state: Option<String> =
        conn.prepare_cached("SELECT state FROM agents WHERE id = ?1")?.query_row([id], |r| r.get(0)).optional()?;
    Ok(state.filter(|state| state != "alive").map(|state| gone_error(id, &state)))
}

fn gone_error(id: &str, state: &str) -> Error {
    let what = if state == "dead" { "is dead" } else { "has left" };
    Error::new(ErrorKind::OwnerGone, format!("{id} {what}: nobody waits here any more"))
        .with("agent", id)
        .hint("what is sent to it stays until it calls again")
}

/// An agent leaves: its locks from the shell are released, its proofs forgotten, and it waits for no messages.
pub(crate) fn goodbye(tx: &Tx<'_>, id: &str, scope: i64) -> Result<()> {
    crate::locks::release_all_of_agent(tx, id)?;
    // Open handles go on to prove that they live, for the case that one of them calls again.
    tx.prepare_cached("DELETE FROM proofs WHERE agent = ?1 AND live = ''")?.execute([id])?;
    tx.prepare_cached("UPDATE agents SET state = 'left', promised = 0, seen_ms = ?2 WHERE id = ?1")?
        .execute((id, tx.now.wall_ms))?;
    waiters::remove_for_messages(tx, id)?;
    activity::record_as(tx, Some(id), scope, "agent.unregister", id, serde_json::Value::Null)?;
    tx.wake(Topic::of(&["agent", id]));
    Ok(())
}

/// An agent that was nothing but one handle has left when that is closed in order, unless it leaves work behind.
pub(crate) fn instance_ended(tx: &Tx<'_>, id: &str) -> Result<()> {
    tx.prepare_cached(
        "UPDATE agents SET state = 'left' WHERE id = ?1 AND state = 'alive'
            AND NOT EXISTS (SELECT 1 FROM sessions WHERE agent = ?1 AND status = 'active')",
    )?
    .execute([id])?;
    Ok(())
}

/// Marks an agent dead, frees its locks and leaves its work for salvage.
fn bury(tx: &Tx<'_>, id: &str, proof: &str, proven: bool) -> Result<()> {
    let scope: i64 = tx
        .prepare_cached(
            "UPDATE agents SET state = 'dead', died_ms = ?2, death = ?3 WHERE id = ?1 AND state = 'alive' RETURNING scope",
        )?
        .query_row((id, tx.now.wall_ms, proof), |r| r.get(0))?;
    activity::record_as(tx, Some(id), scope, "agent.dead", id, json!({"proof": proof}))?;
    crate::locks::free_after_death(tx, id, proven)?;
    crate::salvage::leave_work(tx, id, proof)?;
    tx.wake(Topic::of(&["agent", id]));
    Ok(())
}

/// An agent's row as others see it.
pub(crate) fn load_by_id(conn: &Connection, id: &str, now: Now, liveness: &dyn life::Liveness) -> Result<Agent> {
    let mut statement = conn.prepare_cached(
        "SELECT a.name, a.identity, a.purpose, a.type, a.harness, s.name, a.state, a.registered_ms, a.seen_ms,
                a.died_ms, a.death, a.seen_awake_ms, a.boot,
                (SELECT count(*) FROM sessions x WHERE x.agent = a.id AND x.status = 'active')
         FROM agents a JOIN scopes s ON s.id = a.scope WHERE a.id = ?1",
    )?;
    let row = statement
        .query_row([id], |r| {
            let state: String = r.get(6)?;
            let silent_ms = life::silence(now, r.get(11)?, r.get(12)?);
            let active_sessions = r.get::<_, i64>(13)?.cast_unsigned();
            let agent = Agent {
                id: id.to_owned(),
                name: r.get(0)?,
                identity: r.get(1)?,
                purpose: r.get(2)?,
                kind: r.get(3)?,
                harness: r.get(4)?,
                scope: r.get(5)?,
                state: match state.as_str() {
                    "dead" => AgentState::Dead,
                    "left" => AgentState::Left,
                    _ => AgentState::Active,
                },
                registered_ms: r.get(7)?,
                seen_ms: r.get(8)?,
                silent_ms,
                died_ms: r.get(9)?,
                death: r.get(10)?,
                proofs: Vec::new(),
                active_sessions,
                unfinished: state == "dead" && active_sessions > 0,
            };
            Ok(agent)
        })
        .optional()?;
    let mut agent = row.ok_or_else(|| unknown_agent(id))?;
    agent.proofs = life::proofs(conn, id, now.boot)?;
    match verdict(conn, id, now, liveness)? {
        Some(Verdict::Alive { stale: true }) => agent.state = AgentState::Stale,
        // Dead, and nobody has buried it yet.
        Some(Verdict::Dead { proof, .. }) => {
            (agent.state, agent.death, agent.unfinished) = (AgentState::Dead, Some(proof), agent.active_sessions > 0);
        }
        _ => {}
    }
    Ok(agent)
}

/// The names of scopes for people, looked up once each. They never change.
#[derive(Default)]
pub(crate) struct ScopeNames(BTreeMap<i64, String>);

impl ScopeNames {
    pub(crate) fn of(&mut self, conn: &Connection, id: i64) -> Result<String> {
        if let Some(name) = self.0.get(&id) {
            return Ok(name.clone());
        }
        let name: String =
            conn.prepare_cached("SELECT name FROM scopes WHERE id = ?1")?.query_row([id], |r| r.get(0))?;
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

/// The names of agents for people, looked up once each.
#[derive(Default)]
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// An agent's name, else its id.
    pub(crate) fn of(&mut self, conn: &Connection, id: &str) -> Result<String> {
        if let Some(name) = self.0.get(id) {
            return Ok(name.clone());
        }
        let name: Option<Option<String>> =
            conn.prepare_cached("SELECT name FROM agents WHERE id = ?1")?.query_row([id], |r| r.get(0)).optional()?;
        let name = name.flatten().unwrap_or_else(|| id.to_owned());
        self.0.insert(id.to_owned(), name.clone());
        Ok(name)
    }
}
