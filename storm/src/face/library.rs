//! The Rust library, in this process.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use portdaddy_core::{
    ClaimFiles, ClaimPort, Conflict, Coordinator, EndSession, Error, Event, Lock, LockOptions, NewNote, NewSession,
    Options, Publish, Release, Replay, SalvageFilter, ScopeChoice, Subscribe, Subscription, Wait, WarningCode,
};

use super::{BATCH, CHANNELS, Face, NEVER, PORTS, SCOPE, patience_ms};
use crate::history::{Answer, Call, Overlap};

pub(crate) struct Library {
    pd: Coordinator,
    held: HashMap<String, Lock>,
    subscription: Option<Subscription>,
}

impl Library {
    pub(crate) fn open(db: &Path, agent: &str) -> Result<Self, Error> {
        let scope = ScopeChoice::Named(SCOPE.to_owned());
        let pd = Coordinator::open(Options::default().db(db).agent(agent).scope(scope))?;
        Ok(Self { pd, held: HashMap::new(), subscription: None })
    }

    fn lock(&mut self, name: &str, wait: bool, ttl_ms: Option<u64>) -> Result<Answer, Error> {
        let options = LockOptions {
            blocking: wait,
            wait: Wait::at_most(Duration::from_millis(patience_ms())),
            ttl_ms: ttl_ms.map(u64::cast_signed),
            ..LockOptions::default()
        };
        let Some(lock) = self.pd.lock(name, &options)? else { return Ok(Answer::No) };
        let token = lock.token();
        self.held.insert(name.to_owned(), lock);
        Ok(Answer::Granted(token))
    }

    fn look(&self, name: &str) -> Result<Answer, Error> {
        let Some(info) = self.pd.lock_info(name)? else {
            return Ok(Answer::Held { holder: None, waiters: Vec::new() });
        };
        let waiters = info.waiters.into_iter().map(|w| w.agent).collect();
        Ok(Answer::Held { holder: Some((info.agent, info.token)), waiters })
    }

    fn receive(&mut self, position: &str) -> Result<Answer, Error> {
        let subscription = match &mut self.subscription {
            Some(open) => open,
            none => none.insert(self.pd.subscribe(&Subscribe {
                patterns: CHANNELS.to_owned(),
                replay: Replay::All,
                durable: Some(position.to_owned()),
                ..Subscribe::default()
            })?),
        };
        let (mut got, mut warned) = (Vec::new(), Vec::new());
        let mut wait = Wait::at_most(Duration::from_millis(20));
        while got.len() < BATCH {
            match subscription.next(&wait)? {
                Some(Event::Message(delivery)) => {
                    let id = delivery.message.payload.as_str().unwrap_or_default().to_owned();
                    got.push((delivery.message.seq, id));
                }
                Some(Event::Warning(warning)) if warning.code == WarningCode::Pruned => warned.push(warning.text),
                Some(Event::Warning(_)) => {}
                None => break,
            }
            wait = Wait::at_most(Duration::ZERO);
        }
        Ok(Answer::Messages { got, acked: None, maybe: None, warned })
    }

    fn answer(&mut self, call: &Call) -> Result<Answer, Error> {
        Ok(match call {
            Call::Lock { name, wait, ttl_ms } => self.lock(name, *wait, *ttl_ms)?,
            Call::Unlock { name, .. } => match self.held.remove(name) {
                Some(lock) => lock.release().map(|()| Answer::Done)?,
                None => Answer::No,
            },
            Call::Look { name } => self.look(name)?,
            Call::Publish { channel, id } => {
                let payload = serde_json::Value::from(id.as_str());
                Answer::At(self.pd.publish(channel, &payload, &Publish::default())?.seq)
            }
            Call::Receive { position } => self.receive(position)?,
            Call::Never { ms } => {
                self.pd.wait_for_signal(NEVER, &Wait::at_most(Duration::from_millis(*ms))).map(|_| Answer::Done)?
            }
            Call::Ack { seq, .. } => match &self.subscription {
                Some(subscription) => subscription.ack(*seq).map(|()| Answer::Done)?,
                None => Answer::No,
            },
            Call::Note { text } => {
                let note = NewNote { text: text.clone(), ..NewNote::default() };
                Answer::At(self.pd.note(&note)?.note.seq)
            }
            Call::Start => {
                let new = NewSession { purpose: "a storm".to_owned(), ..NewSession::default() };
                Answer::Session(self.pd.start_session(&new)?.session.id)
            }
            Call::End { session } => {
                let end = EndSession { session: Some(session.clone()), ..EndSession::default() };
                self.pd.end_session(&end).map(|_| Answer::Done)?
            }
            Call::Claim { session, files, force } => {
                let claim = ClaimFiles { files: files.clone(), force: *force, session: Some(session.clone()) };
                let done = self.pd.claim_files(&claim)?;
                Answer::Claimed {
                    claimed: done.claimed.into_iter().map(|claim| claim.pattern).collect(),
                    conflicts: done.conflicts.into_iter().map(overlap).collect(),
                    dead: done.dead_overlaps.into_iter().map(overlap).collect(),
                }
            }
            Call::Drop { session } => self.pd.release_files(&[], Some(session)).map(|_| Answer::Done)?,
            Call::Port { identity } => {
                let claim = ClaimPort { identity: identity.clone(), range: Some(PORTS), ..ClaimPort::default() };
                Answer::Ports(vec![self.pd.claim(&claim)?.port])
            }
            Call::GiveUp { identity } => {
                let released = self.pd.release(identity, &Release::default())?;
                Answer::Ports(released.into_iter().map(|claim| claim.port).collect())
            }
            Call::Dead => {
                let list = self.pd.salvage(&SalvageFilter::default())?;
                Answer::Agents(list.items.into_iter().map(|item| item.agent).collect())
            }
            Call::Salvage { agent } => self.pd.salvage_claim(agent).map(|_| Answer::Done)?,
        })
    }
}

fn overlap(conflict: Conflict) -> Overlap {
    Overlap { pattern: conflict.pattern, session: conflict.with.session, agent: conflict.with.agent }
}

impl Face for Library {
    fn perform(&mut self, call: &Call) -> Option<Answer> {
        let failed = |e: Error| Answer::Failed(e.kind().code().to_owned());
        Some(self.answer(call).unwrap_or_else(failed))
    }

    fn close(&mut self) {
        self.held.clear();
        self.subscription = None;
        self.pd.close();
    }
}
