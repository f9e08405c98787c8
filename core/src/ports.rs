//! Ports: which identity listens where, on the whole machine.
//!
//! An assignment belongs to an identity and a working tree and stays until it is released. Whether something listens
//! on a port is asked of the system, outside any transaction: a claim takes candidates from a snapshot, probes them,
//! and decides in one transaction, which takes the lowest candidate that is still assigned to nobody. Where others
//! took all of them meanwhile, it looks again.
//!
//! An assignment whose owner is dead, and on whose port nothing listens, is given away only when the range holds no
//! other port, the longest unused first. One that no agent owns is never given away: nothing proves its owner's death.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::activity;
use crate::agents::{self, Actor, Names, ScopeNames};
use crate::coordinator::{Coordinator, Inner};
use crate::db::{Durability, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{Identity, IdentityPattern, shown};
use crate::sys;
use crate::tasks::at_once;
use crate::wait::{Sleeping, Wait, Woken};
use crate::wake::Topic;

/// Where ports are looked for unless `PORT_DADDY_RANGE` or the call says otherwise.
const DEFAULT_RANGE: (u16, u16) = (3100, 9999);
pub(crate) const RANGE_VARIABLE: &str = "PORT_DADDY_RANGE";
/// How exactly it is stored when a port was last claimed.
const USED_EVERY_MS: i64 = 5_000;
/// Below it, binding needs privileges: given only where asked for.
const FIRST_UNPRIVILEGED: u16 = 1024;
/// How many free ports are probed before deciding; several, so that those who claim at once need few rounds.
const CANDIDATES: usize = 8;
const MOST_SERVICES: usize = 1000;
const FIRST_POLL: Duration = Duration::from_millis(50);
const LAST_POLL: Duration = Duration::from_millis(250);

/// The ports from 1024 that browsers refuse to talk to ("bad ports" of the WHATWG Fetch Standard).
const BLOCKED_BY_BROWSERS: &[u16] = &[
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// A port to claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimPort {
    /// Whose port: `project[:stack[:context]]`.
    pub identity: String,
    /// This port and no other. An assignment that the identity has already moves to it.
    pub port: Option<u16>,
    /// The lowest free port between these two, both included. Without it `PORT_DADDY_RANGE`, else 3100 to 9999.
    pub range: Option<(u16, u16)>,
    /// One port for all working trees instead of one for each.
    pub shared: bool,
}

/// Assigned ports, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceList {
    /// By port.
    pub services: Vec<PortClaim>,
    /// How many of other scopes were left out.
    pub elsewhere: u64,
}

/// An assigned port.
#[derive(Clone, Debug, Serialize)]
pub struct PortClaim {
    /// Whose it is.
    pub identity: String,
    /// The port.
    pub port: u16,
    /// The agent that claimed it last, if the call had one.
    pub agent: Option<String>,
    /// That agent's name for people, else its id.
    pub agent_name: Option<String>,
    /// The working tree that it belongs to; none where it is shared by all, or was claimed outside a repository.
    pub worktree: Option<String>,
    /// The scope that it was claimed from.
    pub scope: String,
    /// When it was assigned, in milliseconds since 1970.
    pub claimed_ms: i64,
    /// When it was last claimed, in milliseconds since 1970, to within 5 s.
    pub used_ms: i64,
    /// Whether the identity had it before this call.
    pub existing: bool,
    /// Whether something listens there now.
    pub listening: bool,
    /// What listens there, where that can be told.
    pub listener: Option<PortListener>,
}

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortListener {
    /// Its process id.
    pub pid: u32,
    /// Its command line, at most 200 characters.
    pub command: String,
}

/// Which assignments to give up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Release {
    /// Those shared by all working trees instead of this working tree's.
    pub shared: bool,
    /// Those of every working tree, except what another living agent has in another one.
    pub all_worktrees: bool,
}

/// Which assignments to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceFilter {
    /// An identity, or a pattern of identities.
    pub pattern: Option<String>,
    /// Those of every scope.
    pub all: bool,
}

impl Coordinator {
    /// Gives an identity its port: the one it has in this working tree, today as yesterday, else the lowest of the
    /// range that is assigned to nobody, that nothing listens on and that browsers don't block.
    ///
    /// A requested port is that port or an error. If the identity has another one, the assignment moves. A port on
    /// which this process, one below it, or one below the caller's own harness or shell listens already is no
    /// foreign one. No agent is needed.
    ///
    /// ```no_run
    /// # fn main() -> portdaddy_core::Result<()> {
    /// use portdaddy_core::{ClaimPort, Coordinator, Options};
    /// let pd = Coordinator::open(Options::default())?;
    /// let web = pd.claim(&ClaimPort { identity: "payments:frontend".into(), ..Default::default() })?;
    /// assert!(web.port >= 3100);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `INVALID` for an identity, port or range that breaks a rule; `PORT_TAKEN` where the requested port is assigned
    /// to another or a foreign process listens there; `PORTS_EXHAUSTED`; `STORE_*`.
    pub fn claim(&self, claim: &ClaimPort) -> Result<PortClaim> {
        let identity = Identity::parse(&claim.identity)?.as_str().to_owned();
        let range = range_of(claim, self.inner.port_range.as_deref())?;
        let key = Key { identity, worktree: self.inner.worktree_key(claim.shared) };
        let claimed = match claim.port {
            Some(port) => self.claim_exactly(&key, port)?,
            None => self.claim_lowest(&key, range)?,
        };
        Ok(look_at(vec![claimed]).remove(0))
    }

    /// Gives up the ports of this working tree whose identity is, or matches, `pattern`.
    ///
    /// # Errors
    /// `INVALID`; `NOT_FOUND` where nothing matches; `NOT_OWNER` where all that matches is in other working trees and
    /// belongs to living agents; `STORE_*`.
    pub fn release(&self, pattern: &str, release: &Release) -> Result<Vec<PortClaim>> {
        let pattern = IdentityPattern::parse(pattern)?;
        let worktree = self.inner.worktree_key(release.shared);
        let released = self.act(Durability::Process, |tx, actor| {
            let mut released = Vec::new();
            let (mut elsewhere, mut living) = (0, None);
            for row in rows(tx)?.into_iter().filter(|row| pattern.matches(&row.identity)) {
                if row.worktree == worktree {
                    released.push(row);
                } else if !release.all_worktrees {
                    elsewhere += 1;
                } else if lives_and_is_another(tx, &row, actor)? {
                    living = Some(row);
                } else {
                    released.push(row);
                }
            }
            if released.is_empty() {
                return Err(match living {
                    Some(row) => owned_by_a_living_agent(tx, &row)?,
                    None => nothing_to_release(pattern.as_str(), elsewhere),
                });
            }
            let mut names = Names::default();
            let mut claims = Vec::with_capacity(released.len());
            for row in released {
                tx.prepare_cached("DELETE FROM ports WHERE port = ?1")?.execute([row.port])?;
                activity::record(tx, actor, "port.release", &row.identity, json!({"port": row.port}))?;
                tx.wake(Topic::of(&["ports"]));
                claims.push(row.claim(tx, &mut names, true)?);
            }
            Ok(claims)
        })?;
        Ok(look_at(released))
    }

    /// Lists assigned ports, lowest first: this scope's, and all that are shared or of this working tree.
    ///
    /// # Errors
    /// `INVALID` for a pattern that is none, `STORE_*`.
    pub fn services(&self, filter: &ServiceFilter) -> Result<ServiceList> {
        let pattern = filter.pattern.as_deref().map(IdentityPattern::parse).transpose()?;
        let worktree = self.inner.worktree_key(false);
        let (claims, elsewhere) = self.inner.db.read(|conn| {
            let here = self.inner.known_scope_row(conn)?;
            let mut names = Names::default();
            let matching =
                rows(conn)?.into_iter().filter(|row| pattern.as_ref().is_none_or(|p| p.matches(&row.identity)));
            let (shown, others): (Vec<_>, Vec<_>) = matching.partition(|row| {
                filter.all || Some(row.scope) == here || row.worktree.is_empty() || row.worktree == worktree
            });
            let claims = shown.into_iter().map(|row| row.claim(conn, &mut names, true)).collect::<Result<Vec<_>>>()?;
            Ok((claims, others.len() as u64))
        })?;
        Ok(ServiceList { services: look_at(claims), elsewhere })
    }

    /// Waits until something listens on the port of each identity: on that of this working tree, else the shared one,
    /// else the only one in this scope. Identities may get their ports while this waits.
    ///
    /// # Errors
    /// `INVALID`; `TIMEOUT`, naming what isn't up; `CANCELLED`; `STORE_*`.
    pub fn wait_for_service<S: AsRef<str>>(&self, identities: &[S], wait: &Wait) -> Result<Vec<PortClaim>> {
        at_once(self.until_up(Sleeping::Thread, identities, wait))
    }

    /// As [`wait_for_service`](Self::wait_for_service), for an event loop: it gives way while it waits.
    ///
    /// # Errors
    /// As [`wait_for_service`](Self::wait_for_service).
    pub async fn wait_for_service_async<S: AsRef<str>>(&self, identities: &[S], wait: &Wait) -> Result<Vec<PortClaim>> {
        self.until_up(Sleeping::Task, identities, wait).await
    }

    async fn until_up<S: AsRef<str>>(
        &self,
        sleeping: Sleeping,
        identities: &[S],
        wait: &Wait,
    ) -> Result<Vec<PortClaim>> {
        if identities.is_empty() || identities.len() > MOST_SERVICES {
            let n = identities.len();
            return Err(Error::invalid(format!(
                "{n} services to wait for: name at least one, at most {MOST_SERVICES}"
            ))
            .hint("for example payments:api"));
        }
        let identities: Vec<String> = identities
            .iter()
            .map(|id| Identity::parse(id.as_ref()).map(|id| id.as_str().to_owned()))
            .collect::<Result<_>>()?;
        let mut waiting = self.waiting(sleeping, vec![Topic::of(&["ports"])], wait)?;
        let mut pause = FIRST_POLL;
        loop {
            let found = waiting.read(|conn| {
                identities.iter().map(|id| self.inner.service(conn, id)).collect::<Result<Vec<Option<Assigned>>>>()
            })?;
            let open = sys::ports::listening_ports();
            let up = |row: &Assigned| listens(open.as_ref(), row.port);
            if found.iter().all(|row| row.as_ref().is_some_and(up)) {
                let claims = waiting.read(|conn| {
                    let mut names = Names::default();
                    found.into_iter().flatten().map(|row| row.claim(conn, &mut names, true)).collect::<Result<Vec<_>>>()
                })?;
                return Ok(look_at(claims));
            }
            if waiting.sleep(Some(Instant::now() + pause)).await? == Woken::TimedOut {
                return Err(not_up(&identities, &found, open.as_ref()));
            }
            pause = (pause * 3 / 2).min(LAST_POLL);
        }
    }

    fn claim_lowest(&self, key: &Key, range: (u16, u16)) -> Result<PortClaim> {
        loop {
            let assigned = self.inner.db.read(|conn| match key.find(conn)? {
                Some(_) => Ok(None),
                None => assigned(conn, range).map(Some),
            })?;
            let has_one = assigned.is_none();
            let assigned = assigned.map(|all| if crate::fault::broken("port") { Default::default() } else { all });
            let candidates = assigned.map(|assigned| free_ports(range, &assigned)).unwrap_or_default();
            let nothing_left = !has_one && candidates.is_empty();
            let claimed = self.act(Durability::Process, |tx, actor| {
                if let Some(row) = key.use_again(tx, actor)? {
                    return row.claim(tx, &mut Names::default(), true).map(Some);
                }
                for port in candidates {
                    if let Some(row) = key.insert(tx, actor, port)? {
                        return row.claim(tx, &mut Names::default(), false).map(Some);
                    }
                }
                Ok(None)
            })?;
            match claimed {
                Some(claim) => return Ok(claim),
                None if nothing_left => return self.claim_from_the_dead(key, range),
                // Released, or all candidates taken, between the snapshot and the decision.
                None => {}
            }
        }
    }

    /// The range is used up: takes the port that was unused for longest of those whose owner is dead.
    fn claim_from_the_dead(&self, key: &Key, range: (u16, u16)) -> Result<PortClaim> {
        self.bury_the_dead()?;
        loop {
            let of_the_dead = self.inner.db.read(|conn| {
                Ok(conn
                    .prepare_cached(&format!(
                        "{SELECT} LEFT JOIN agents a ON a.id = p.agent
                         WHERE p.port BETWEEN ?1 AND ?2 AND p.agent IS NOT NULL AND coalesce(a.state, 'dead') <> 'alive'
                         ORDER BY p.used_ms, p.port"
                    ))?
                    .query_map([range.0, range.1], Assigned::of)?
                    .collect::<Result<Vec<_>, _>>()?)
            })?;
            let idle: Vec<Assigned> =
                of_the_dead.into_iter().filter(|row| !in_use(row.port)).take(CANDIDATES).collect();
            if idle.is_empty() {
                return Err(exhausted(range));
            }
            let claimed = self.act(Durability::Process, |tx, actor| {
                if let Some(row) = key.use_again(tx, actor)? {
                    return row.claim(tx, &mut Names::default(), true).map(Some);
                }
                for old in idle {
                    let unchanged = find_port(tx, old.port)?.is_some_and(|now| now == old);
                    let Some(owner) = old.agent.as_deref().filter(|_| unchanged) else { continue };
                    if agents::check(tx, owner)? {
                        continue;
                    }
                    tx.prepare_cached("DELETE FROM ports WHERE port = ?1")?.execute([old.port])?;
                    let detail = json!({"port": old.port, "given_to": key.identity});
                    activity::record_as(tx, Some(owner), old.scope, "port.reclaim", &old.identity, detail)?;
                    if let Some(row) = key.insert(tx, actor, old.port)? {
                        return row.claim(tx, &mut Names::default(), false).map(Some);
                    }
                }
                Ok(None)
            })?;
            if let Some(claim) = claimed {
                return Ok(claim);
            }
        }
    }

    fn claim_exactly(&self, key: &Key, port: u16) -> Result<PortClaim> {
        // Assigned to another is the better answer, so it is looked up before what listens there.
        let is_ours = self.inner.db.read(|conn| match find_port(conn, port)? {
            Some(row) if !key.is_of(&row) => Err(taken_by_another(conn, &row)?),
            row => Ok(row.is_some()),
        })?;
        if !is_ours
            && in_use(port)
            && let foreign = sys::ports::listener(port)
            && !foreign.as_ref().is_some_and(|l| self.inner.is_own_process(l.pid))
        {
            return Err(taken_by_a_process(port, foreign));
        }
        self.act(Durability::Process, |tx, actor| {
            if let Some(row) = find_port(tx, port)? {
                if !key.is_of(&row) {
                    return Err(taken_by_another(tx, &row)?);
                }
                let row = key.use_again(tx, actor)?.unwrap_or(row);
                return row.claim(tx, &mut Names::default(), true);
            }
            let moved = match key.find(tx)? {
                Some(old) => key.move_to(tx, actor, &old, port)?,
                None => key.insert(tx, actor, port)?,
            };
            let row =
                moved.ok_or_else(|| Error::internal(format!("port {port} was free and could not be assigned")))?;
            row.claim(tx, &mut Names::default(), false)
        })
    }
}

impl Inner {
    /// What `ports.worktree` holds for a call from here.
    pub(crate) fn worktree_key(&self, shared: bool) -> String {
        match &self.place.repository {
            Some(repository) if !shared => repository.worktree.display().to_string(),
            _ => String::new(),
        }
    }

    /// The assignment that this caller means by an identity.
    fn service(&self, conn: &Connection, identity: &str) -> Result<Option<Assigned>> {
        let mut found: Vec<Assigned> = conn
            .prepare_cached(&format!("{SELECT} WHERE p.identity = ?1"))?
            .query_map([identity], Assigned::of)?
            .collect::<Result<_, _>>()?;
        let here = self.worktree_key(false);
        if let Some(at) = found.iter().position(|r| r.worktree == here) {
            return Ok(Some(found.swap_remove(at)));
        }
        if let Some(at) = found.iter().position(|r| r.worktree.is_empty()) {
            return Ok(Some(found.swap_remove(at)));
        }
        let scope = self.known_scope_row(conn)?;
        found.retain(|row| Some(row.scope) == scope);
        Ok(if found.len() == 1 { found.pop() } else { None })
    }

    /// Whether a process is this one, or runs below it or below a process that proves the caller's life.
    fn is_own_process(&self, pid: u32) -> bool {
        let own = sys::current_pid();
        let ours = |id: u32| id == own || self.caller.proofs.iter().any(|p| p.id.pid == id);
        ours(pid) || sys::process::ancestors(pid, 32).iter().any(|process| ours(process.id.pid))
    }
}

/// What an assignment belongs to.
struct Key {
    identity: String,
    /// `''` when shared by all.
    worktree: String,
}

/// A row of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assigned {
    port: u16,
    identity: String,
    worktree: String,
    agent: Option<String>,
    scope: i64,
    claimed_ms: i64,
    used_ms: i64,
}

const SELECT: &str = "SELECT p.port, p.identity, p.worktree, p.agent, p.scope, p.claimed_ms, p.used_ms FROM ports p";
const RETURNING: &str = "RETURNING port, identity, worktree, agent, scope, claimed_ms, used_ms";

impl Key {
    fn is_of(&self, row: &Assigned) -> bool {
        self.identity == row.identity && self.worktree == row.worktree
    }

    fn find(&self, conn: &Connection) -> Result<Option<Assigned>> {
        Ok(conn
            .prepare_cached(&format!("{SELECT} WHERE p.identity = ?1 AND p.worktree = ?2"))?
            .query_row((&self.identity, &self.worktree), Assigned::of)
            .optional()?)
    }

    /// The assignment that is there already, used now. That is written when something else has changed, too, or once in
    /// [`USED_EVERY_MS`].
    fn use_again(&self, tx: &Tx<'_>, actor: &Actor) -> Result<Option<Assigned>> {
        let Some(mut row) = self.find(tx)? else { return Ok(None) };
        let is_same = row.scope == actor.scope && row.agent == actor.agent;
        if is_same && (0..USED_EVERY_MS).contains(&(tx.now.wall_ms - row.used_ms)) {
            return Ok(Some(row));
        }
        (row.used_ms, row.scope) = (tx.now.wall_ms, actor.scope);
        row.agent = actor.agent.clone().or(row.agent);
        tx.prepare_cached("UPDATE ports SET used_ms = ?2, agent = ?3, scope = ?4 WHERE port = ?1")?.execute((
            row.port,
            row.used_ms,
            &row.agent,
            row.scope,
        ))?;
        Ok(Some(row))
    }

    /// Takes the port unless it is assigned by now.
    fn insert(&self, tx: &Tx<'_>, actor: &Actor, port: u16) -> Result<Option<Assigned>> {
        if crate::fault::broken("port") {
            tx.execute("DELETE FROM ports WHERE port = ?1", [port])?;
        }
        let row = tx
            .prepare_cached(&format!(
                "INSERT INTO ports (port, identity, worktree, agent, scope, claimed_ms, used_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT DO NOTHING {RETURNING}"
            ))?
            .query_row((port, &self.identity, &self.worktree, &actor.agent, actor.scope, tx.now.wall_ms), Assigned::of)
            .optional()?;
        if row.is_some() {
            activity::record(
                tx,
                actor,
                "port.claim",
                &self.identity,
                json!({"port": port, "worktree": self.worktree}),
            )?;
            tx.wake(Topic::of(&["ports"]));
        }
        Ok(row)
    }

    fn move_to(&self, tx: &Tx<'_>, actor: &Actor, old: &Assigned, port: u16) -> Result<Option<Assigned>> {
        let row = tx
            .prepare_cached(&format!(
                "UPDATE OR IGNORE ports SET port = ?3, agent = coalesce(?4, agent), scope = ?5, claimed_ms = ?6, used_ms = ?6
                 WHERE identity = ?1 AND worktree = ?2 {RETURNING}"
            ))?
            .query_row(
                (&self.identity, &self.worktree, port, &actor.agent, actor.scope, tx.now.wall_ms),
                Assigned::of,
            )
            .optional()?;
        if row.is_some() {
            let detail = json!({"port": port, "from": old.port, "worktree": self.worktree});
            activity::record(tx, actor, "port.move", &self.identity, detail)?;
            tx.wake(Topic::of(&["ports"]));
        }
        Ok(row)
    }
}

impl Assigned {
    fn of(r: &Row<'_>) -> rusqlite::Result<Assigned> {
        Ok(Assigned {
            port: r.get(0)?,
            identity: r.get(1)?,
            worktree: r.get(2)?,
            agent: r.get(3)?,
            scope: r.get(4)?,
            claimed_ms: r.get(5)?,
            used_ms: r.get(6)?,
        })
    }

    /// As others see it; what listens there is looked at later, outside the transaction.
    fn claim(self, conn: &Connection, names: &mut Names, existing: bool) -> Result<PortClaim> {
        let agent_name = self.agent.as_deref().map(|id| names.of(conn, id)).transpose()?;
        let scope = ScopeNames::default().of(conn, self.scope)?;
        Ok(PortClaim {
            identity: self.identity,
            port: self.port,
            agent: self.agent,
            agent_name,
            worktree: Some(self.worktree).filter(|w| !w.is_empty()),
            scope,
            claimed_ms: self.claimed_ms,
            used_ms: self.used_ms,
            existing,
            listening: false,
            listener: None,
        })
    }
}

/// The ports that a look at a scope shows, or one at all: so many, and how many there are. Nobody has looked at them yet.
pub(crate) fn assigned_in(
    conn: &Connection,
    scope: Option<i64>,
    worktree: &str,
    limit: usize,
) -> Result<(Vec<PortClaim>, u64)> {
    let mut names = Names::default();
    let shown: Vec<Assigned> = rows(conn)?
        .into_iter()
        .filter(|row| scope.is_none_or(|s| s == row.scope) || row.worktree.is_empty() || row.worktree == worktree)
        .collect();
    let total = shown.len() as u64;
    let listed = shown.into_iter().take(limit).map(|row| row.claim(conn, &mut names, true)).collect::<Result<_>>()?;
    Ok((listed, total))
}

fn rows(conn: &Connection) -> Result<Vec<Assigned>> {
    Ok(conn
        .prepare_cached(&format!("{SELECT} ORDER BY p.port"))?
        .query_map([], Assigned::of)?
        .collect::<Result<_, _>>()?)
}

fn find_port(conn: &Connection, port: u16) -> Result<Option<Assigned>> {
    Ok(conn.prepare_cached(&format!("{SELECT} WHERE p.port = ?1"))?.query_row([port], Assigned::of).optional()?)
}

fn assigned(conn: &Connection, range: (u16, u16)) -> Result<BTreeSet<u16>> {
    Ok(conn
        .prepare_cached("SELECT port FROM ports WHERE port BETWEEN ?1 AND ?2")?
        .query_map([range.0, range.1], |r| r.get(0))?
        .collect::<Result<_, _>>()?)
}

/// The first few ports of the range that nobody has and nothing uses.
fn free_ports(range: (u16, u16), assigned: &BTreeSet<u16>) -> Vec<u16> {
    let listening = sys::ports::listening_ports().unwrap_or_default();
    (range.0..=range.1)
        .filter(|port| !assigned.contains(port) && !listening.contains(port) && !BLOCKED_BY_BROWSERS.contains(port))
        .filter(|port| !sys::ports::in_use(*port))
        .take(CANDIDATES)
        .collect()
}

/// Whether the port can't be bound. Below 1024 we may not try, so there only what listens counts.
fn in_use(port: u16) -> bool {
    if port < FIRST_UNPRIVILEGED {
        return sys::ports::listening_ports().is_some_and(|ports| ports.contains(&port));
    }
    sys::ports::in_use(port)
}

fn listens(open: Option<&BTreeSet<u16>>, port: u16) -> bool {
    open.map_or_else(|| sys::ports::in_use(port), |open| open.contains(&port))
}

/// Adds what listens on each port now.
/// Says of each whether something listens there. Looks at the machine: not for snapshots.
pub(crate) fn look_at(mut claims: Vec<PortClaim>) -> Vec<PortClaim> {
    let open = sys::ports::listening_ports();
    for claim in &mut claims {
        claim.listening = listens(open.as_ref(), claim.port);
        if claim.listening {
            claim.listener = sys::ports::listener(claim.port).map(|l| PortListener { pid: l.pid, command: l.command });
        }
    }
    claims
}

fn lives_and_is_another(tx: &Tx<'_>, row: &Assigned, actor: &Actor) -> Result<bool> {
    match row.agent.as_deref() {
        Some(owner) if actor.agent.as_deref() != Some(owner) => agents::check(tx, owner),
        _ => Ok(false),
    }
}

/// The range of a claim: the call's, the environment's, the default.
fn range_of(claim: &ClaimPort, variable: Option<&str>) -> Result<(u16, u16)> {
    if claim.port == Some(0) {
        return Err(Error::invalid("the port 0 is out of range: a port is 1 to 65535")
            .with("port", 0)
            .hint("leave the port out to get the lowest free one"));
    }
    let range = match claim.range {
        Some(range) => check_range(range, &format!("{}-{}", range.0, range.1))?,
        // A port that is named needs no range.
        None if claim.port.is_some() => return Ok(DEFAULT_RANGE),
        None => match variable {
            Some(text) => parse_range(text).map_err(|e| crate::caller::in_env(RANGE_VARIABLE, &e))?,
            None => DEFAULT_RANGE,
        },
    };
    match claim.port {
        Some(port) if !(range.0..=range.1).contains(&port) => {
            Err(Error::invalid(format!("the port {port} is outside the range {}-{}", range.0, range.1))
                .with("port", port)
                .hint("name a port or a range, not both"))
        }
        _ => Ok(range),
    }
}

pub(crate) fn parse_range(text: &str) -> Result<(u16, u16)> {
    let parsed = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?)));
    check_range(parsed.ok_or_else(|| bad_range(text))?, text)
}

fn check_range(range: (u16, u16), text: &str) -> Result<(u16, u16)> {
    if range.0 > range.1 || range.0 < FIRST_UNPRIVILEGED { Err(bad_range(text)) } else { Ok(range) }
}

fn bad_range(text: &str) -> Error {
    Error::invalid(format!(
        "the range of ports {} isn't valid: it is FIRST-LAST, from {FIRST_UNPRIVILEGED} to 65535, the first not above the last",
        shown(text)
    ))
    .with("range", text)
    .hint("for example 3100-9999; a port below 1024 is given only when it is named")
}

fn taken_by_another(conn: &Connection, row: &Assigned) -> Result<Error> {
    let place = if row.worktree.is_empty() { "shared".to_owned() } else { row.worktree.clone() };
    let owner = match &row.agent {
        Some(agent) => format!(" by {}", Names::default().of(conn, agent)?),
        None => String::new(),
    };
    let everywhere = if row.worktree.is_empty() { "--shared" } else { "--all-worktrees" };
    Ok(Error::new(
        ErrorKind::PortTaken,
        format!("port {} is assigned to {} ({place}), claimed{owner}", row.port, row.identity),
    )
    .with("port", row.port)
    .with("identity", row.identity.clone())
    .with("worktree", Some(row.worktree.clone()).filter(|w| !w.is_empty()))
    .with("agent", row.agent.clone())
    .hint(format!(
        "leave the port out to get a free one; if that one is no longer needed: pd release {} {everywhere}",
        row.identity
    )))
}

fn taken_by_a_process(port: u16, listener: Option<sys::ports::Listener>) -> Error {
    let error = match listener {
        Some(l) => Error::new(
            ErrorKind::PortTaken,
            format!("port {port} is in use: process {} ({}) listens there", l.pid, l.command),
        )
        .with("pid", l.pid)
        .with("command", l.command),
        None => {
            Error::new(ErrorKind::PortTaken, format!("port {port} is in use by a process that can't be seen from here"))
        }
    };
    error.with("port", port).hint("end that process, or leave the port out to get a free one")
}

fn exhausted(range: (u16, u16)) -> Error {
    let (first, last) = range;
    Error::new(ErrorKind::PortsExhausted, format!("no port from {first} to {last} is free: all are assigned or in use"))
        .with("first", first)
        .with("last", last)
        .hint("pd ps --all lists the assignments, pd release ID gives one up; PORT_DADDY_RANGE names another range")
}

fn nothing_to_release(pattern: &str, elsewhere: usize) -> Error {
    let error =
        Error::new(ErrorKind::NotFound, format!("no port is assigned to {pattern} here")).with("pattern", pattern);
    match elsewhere {
        0 => error.hint("pd ps --all lists the assignments"),
        n => error.with("elsewhere", n).hint(format!(
            "{n} in other working trees or shared: add --all-worktrees or --shared (pd ps --all lists them)"
        )),
    }
}

fn owned_by_a_living_agent(conn: &Connection, row: &Assigned) -> Result<Error> {
    let agent = row.agent.clone().unwrap_or_default();
    let name = Names::default().of(conn, &agent)?;
    Ok(Error::new(
        ErrorKind::NotOwner,
        format!("port {} of {} belongs to {name}, which is alive, in {}", row.port, row.identity, row.worktree),
    )
    .with("port", row.port)
    .with("agent", agent)
    .hint("release it from that working tree"))
}

fn not_up(identities: &[String], found: &[Option<Assigned>], open: Option<&BTreeSet<u16>>) -> Error {
    let mut missing = Vec::new();
    let mut words = Vec::new();
    for (identity, row) in identities.iter().zip(found) {
        match row {
            Some(row) if listens(open, row.port) => continue,
            Some(row) => words.push(format!("nothing listens on port {} of {identity}", row.port)),
            None => words.push(format!("{identity} has no port")),
        }
        missing.push(identity.clone());
    }
    Error::new(ErrorKind::Timeout, format!("timed out: {}", words.join(", ")))
        .with("missing", missing)
        .hint("pd ps --all lists the assignments and what listens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        assert_eq!(parse_range("3100-9999").unwrap(), (3100, 9999));
        assert_eq!(parse_range(" 4000 - 4000 ").unwrap(), (4000, 4000));
        for bad in ["", "3100", "9999-3100", "0-70000", "80-90", "a-b", "3100-9999-2"] {
            let e = parse_range(bad).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Invalid, "{bad}");
            assert!(e.message().contains("FIRST-LAST"), "{e}");
        }
    }

    #[test]
    fn a_named_port_must_lie_in_a_named_range() {
        let claim = |port, range| range_of(&ClaimPort { identity: "a".into(), port, range, shared: false }, None);
        assert_eq!(claim(Some(0), None).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(claim(Some(80), None).unwrap(), DEFAULT_RANGE);
        assert_eq!(claim(Some(4000), Some((4000, 4001))).unwrap(), (4000, 4001));
        assert_eq!(claim(Some(4002), Some((4000, 4001))).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn assigned_and_blocked_ports_are_passed_over() {
        let assigned = BTreeSet::from([5059, 5062]);
        let free = free_ports((5059, 5300), &assigned);
        assert!(free.len() <= CANDIDATES && free.is_sorted());
        assert!(free.iter().all(|p| ![5059, 5060, 5061, 5062].contains(p)), "{free:?}");
    }

    #[test]
    fn a_port_that_is_listened_on_is_no_candidate() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(free_ports((port, port), &BTreeSet::new()).is_empty());
        assert!(listens(sys::ports::listening_ports().as_ref(), port));
    }
}
