//! What is done for an agent that does nothing for it: it arrives, edits files, and leaves.
//!
//! An edit claims its file in the agent's session, which is opened where there is none. One transaction decides: of two
//! agents that begin to edit the same file at once, the later one finds the earlier one's claim, and the earlier one is owed
//! the news. The claim is taken against others', too (all will be told), unless the agent is held to be strict: then it isn't
//! taken where a living agent works on the file in the same working tree. Who had a file first goes on with it.

use std::path::Path;

use rusqlite::OptionalExtension as _;
use serde_json::json;

use crate::activity;
use crate::agents::{Actor, AgentState, are_kin, goodbye, has_left, with_sub_agents};
use crate::caller::no_agent_error;
use crate::coordinator::Coordinator;
use crate::db::{Durability, Tx};
use crate::error::Result;
use crate::files::{self, Owner};
use crate::identity::check_text;
use crate::news;
use crate::salvage;
use crate::scope::Place;
use crate::seen::Written;
use crate::sessions::{self, Beginning, Session, SessionStatus};
use crate::told::ToTell;

/// Of the reason why a hook failed, and of its event.
const REASON_MAX: usize = 1024;
const EVENT_MAX: usize = 64;

/// Where an agent that arrives finds itself.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The agent.
    pub agent: String,
    /// Its session here.
    pub session: Session,
    /// Whether that was there before.
    pub continued: bool,
}

/// What an edit of a file means to others.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The file, relative to the caller's working tree where it is in that one, else absolute.
    pub path: String,
    /// The pattern that it is claimed as.
    pub pattern: String,
    /// False where it was not claimed, because a living agent works on it here and the caller is strict.
    pub claimed: bool,
    /// The claims of others, oldest first. Those of sub-agents of the same agent are left out.
    pub others: Vec<Other>,
    /// Who wrote it since the caller last saw it.
    pub stale: Option<Written>,
}

/// Another's claim on a file that the caller edits.
#[derive(Clone, Debug)]
pub struct Other {
    /// The claim, and what is known of its agent.
    pub owner: Owner,
    /// Whether the caller doesn't know it yet.
    pub is_news: bool,
    /// What to mark as [told](Coordinator::told).
    pub to_tell: ToTell,
}

impl Other {
    /// Whether its agent lives.
    pub fn lives(&self) -> bool {
        matches!(self.owner.state, AgentState::Active | AgentState::Stale)
    }
}

impl Coordinator {
    /// Registers the calling agent, and goes on with its session here or starts one: for what the last one here was for, else
    /// for `purpose`.
    ///
    /// # Errors
    /// `INVALID` for a purpose that is none, `NO_AGENT`, `STORE_*`.
    pub fn arrive(&self, purpose: &str) -> Result<Arrival> {
        check_text("purpose", purpose, sessions::PURPOSE_MAX)?;
        let beginning = Beginning::at(&self.inner.place);
        self.act(Durability::Process, |tx, actor| {
            let (id, continued) = session_here(tx, actor, purpose, &beginning)?;
            Ok(Arrival { agent: actor.agent()?.to_owned(), session: sessions::load(tx, &id)?, continued })
        })
    }

    /// Says what the caller's session here is for, if all that is known is what it was [opened](Self::arrive) with.
    ///
    /// # Errors
    /// As [`arrive`](Self::arrive).
    pub fn describe_session(&self, opened_for: &str, purpose: &str) -> Result<()> {
        check_text("purpose", purpose, sessions::PURPOSE_MAX)?;
        let Some(me) = &self.inner.caller.agent else { return Err(no_agent_error()) };
        let undescribed = self.inner.db.read(|conn| {
            let Some(here) = self.inner.known_scope_row(conn)? else { return Ok(true) };
            let session = sessions::newest_active(conn, me, here)?.map(|id| sessions::load(conn, &id)).transpose()?;
            Ok(session.is_none_or(|s| s.purpose == opened_for))
        })?;
        if !undescribed {
            return Ok(());
        }
        let beginning = Beginning::at(&self.inner.place);
        self.act(Durability::Process, |tx, actor| {
            let (id, _) = session_here(tx, actor, purpose, &beginning)?;
            let sql = "UPDATE sessions SET purpose = ?2 WHERE id = ?1 AND purpose = ?3";
            if tx.prepare_cached(sql)?.execute((&id, purpose, opened_for))? > 0 {
                activity::record(tx, actor, "session.purpose", &id, json!({"purpose": purpose}))?;
            }
            Ok(())
        })
    }

    /// Claims a file that the caller is about to edit, and tells what that means to others. A `strict` caller doesn't get one
    /// that a living agent has claimed in the same working tree. The path is relative to the handle's directory, and may lie
    /// in another working tree or outside of all.
    ///
    /// # Errors
    /// `INVALID` for a path that can't be claimed, `NO_AGENT`, `STORE_*`.
    pub fn begin_edit(&self, path: &Path, strict: bool, purpose: &str) -> Result<Edit> {
        let Some(me) = self.inner.caller.agent.clone() else { return Err(no_agent_error()) };
        let real = self.real_path(path)?;
        let place = place_of(&real)?;
        let plan = files::plan_file(&place, &real)?;
        let (pattern, root) = plan.first();
        let here = root != "/" && root == files::root_of(&self.inner.place);
        let path = if here { pattern.replace('\\', "") } else { real.display().to_string() };
        let has_it = |owner: &Owner| {
            owner.claim.agent == me
                && owner.claim.pattern == pattern
                && owner.claim.root == root
                && owner.claim.lines.is_none()
        };
        let mut owners = self.owners_of(&plan)?;
        let mut claimed = owners.iter().any(has_it);
        if !claimed {
            let beginning = Beginning::at(&self.inner.place);
            let apart = files::Apart::default();
            claimed = self.act(Durability::Process, |tx, actor| {
                let (id, _) = session_here(tx, actor, purpose, &beginning)?;
                let session = sessions::load(tx, &id)?;
                if strict {
                    let free = files::insert(tx, actor, &session, &plan, &apart, false)?;
                    for conflict in free.conflicts.iter().map(|o| &o.conflict).filter(|c| c.same_worktree) {
                        let holder = &conflict.with.agent;
                        if *holder != me && !are_kin(tx, holder, &me)? {
                            return Ok(false);
                        }
                    }
                    if !free.claimed.is_empty() {
                        return Ok(true);
                    }
                }
                files::insert(tx, actor, &session, &plan, &apart, true)?;
                Ok(true)
            })?;
            owners = self.owners_of(&plan)?;
        }
        let others = self.inner.db.read(|conn| {
            let mut others = Vec::new();
            for owner in owners {
                let claim = &owner.claim;
                if claim.agent == me || are_kin(conn, &claim.agent, &me)? {
                    continue;
                }
                let to_tell =
                    news::conflict(&claim.session, &claim.root, &claim.pattern, owner.state, owner.same_worktree);
                others.push(Other { is_news: to_tell.is_new(conn, &me)?, to_tell, owner });
            }
            Ok(others)
        })?;
        Ok(Edit { path, pattern: pattern.to_owned(), claimed, others, stale: self.stale_write(&real)? })
    }

    /// The caller leaves in order: its sessions, and those of its sub-agents, end as completed, and what they hold from the
    /// shell is released. Work that they have taken over and not completed is left for another. A later call brings it back.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn leave(&self) -> Result<Vec<String>> {
        let Some(me) = self.inner.caller.agent.clone() else { return Err(no_agent_error()) };
        let ended = self.inner.db.write(Durability::Power, |tx| {
            let scope = self.inner.scope_row(tx)?;
            let mut ended = Vec::new();
            for agent in &with_sub_agents(tx, &me)? {
                salvage::give_back_all(tx, agent, scope)?;
                let sql = "SELECT id, scope FROM sessions WHERE agent = ?1 AND status = 'active' ORDER BY seq";
                let active: Vec<(String, i64)> = tx
                    .prepare_cached(sql)?
                    .query_map([agent], |r| Ok((r.get(0)?, r.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                for (id, scope) in active {
                    sessions::finish(tx, &id, SessionStatus::Completed)?;
                    let detail = json!({"status": SessionStatus::Completed});
                    activity::record_as(tx, Some(agent), scope, "session.end", &id, detail)?;
                    ended.push(id);
                }
                goodbye(tx, agent, scope)?;
            }
            Ok(ended)
        })?;
        self.inner.recorded.store(false, std::sync::atomic::Ordering::Release);
        Ok(ended)
    }

    /// From now on this handle tells of what is over, which doesn't bring the caller back if it has left, or leaves now. Whether it
    /// has left.
    ///
    /// # Errors
    /// `STORE_*`.
    #[doc(hidden)]
    pub fn afterwards(&self) -> Result<bool> {
        self.inner.afterwards.store(true, std::sync::atomic::Ordering::Release);
        let Some(me) = &self.inner.caller.agent else { return Ok(false) };
        self.inner.db.read(|conn| has_left(conn, me))
    }

    /// Records that a hook could do nothing, and why. It makes nobody an agent.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn hook_failed(&self, event: &str, reason: &str) -> Result<()> {
        let (event, reason) = (beginning_of(event, EVENT_MAX), beginning_of(reason, REASON_MAX));
        self.inner.db.write(Durability::Process, |tx| {
            let scope = self.inner.scope_row(tx)?;
            let agent = self.inner.caller.agent.as_deref();
            activity::record_as(tx, agent, scope, "hook.failed", event, json!({"reason": reason}))?;
            Ok(())
        })
    }
}

/// The first so many bytes of a text, or a few less.
fn beginning_of(text: &str, most: usize) -> &str {
    let end = text.floor_char_boundary(most);
    &text[..end]
}

/// Where a file is: its own repository's tree, which may be another than the caller's.
fn place_of(path: &Path) -> Result<Place> {
    let dir = path.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    Place::of(dir)
}

/// The agent's newest active session in its scope, or a new one; whether it was there.
fn session_here(tx: &Tx<'_>, actor: &Actor, purpose: &str, beginning: &Beginning) -> Result<(String, bool)> {
    let agent = actor.agent()?;
    if let Some(id) = sessions::newest_active(tx, agent, actor.scope)? {
        return Ok((id, true));
    }
    let last: Option<String> = tx
        .prepare_cached("SELECT purpose FROM sessions WHERE agent = ?1 AND scope = ?2 ORDER BY seq DESC LIMIT 1")?
        .query_row((agent, actor.scope), |r| r.get(0))
        .optional()?;
    let id = sessions::open(tx, actor, last.as_deref().unwrap_or(purpose), None, None, beginning)?;
    Ok((id, false))
}
