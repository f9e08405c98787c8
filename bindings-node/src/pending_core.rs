//! A stand-in for the core's waits without threads, until they are merged: it blocks instead.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::Duration;

use portdaddy_core::*;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
    thread: std::thread::JoinHandle<()>,
}

fn block(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
}

impl Worker {
    pub(crate) fn start(name: &str) -> std::io::Result<Worker> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok(job) = queue.recv() {
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block(job)));
            }
        })?;
        Ok(Worker { jobs, thread })
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let _ = self.jobs.send(Box::pin(future));
    }

    pub(crate) fn stop(self) {
        drop(self.jobs);
        if self.thread.thread().id() != std::thread::current().id() {
            let _ = self.thread.join();
        }
    }
}

pub(crate) fn spawn_waiting(future: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(move || block(future));
}

pub(crate) trait Abandon {
    fn abandon(&self);
}

impl Abandon for Coordinator {
    fn abandon(&self) {
        self.close();
    }
}

pub(crate) trait Waits {
    fn lock_async(&self, name: &str, options: &LockOptions) -> impl Future<Output = Result<Option<Lock>>> + Send;
    fn wait_for_signal_async(
        &self,
        channel: &str,
        wait: &Wait,
    ) -> impl Future<Output = Result<serde_json::Value>> + Send;
    fn wait_for_service_async<S: AsRef<str> + Sync>(
        &self,
        identities: &[S],
        wait: &Wait,
    ) -> impl Future<Output = Result<Vec<PortClaim>>> + Send;
    fn follow_notes_from(&self, filter: &NoteFilter) -> Result<NoteFollower>;
    fn follow_activity_from(&self, filter: &ActivityFilter) -> Result<ActivityFollower>;
}

impl Waits for Coordinator {
    async fn lock_async(&self, name: &str, options: &LockOptions) -> Result<Option<Lock>> {
        self.lock(name, options)
    }
    async fn wait_for_signal_async(&self, channel: &str, wait: &Wait) -> Result<serde_json::Value> {
        self.wait_for_signal(channel, wait)
    }
    async fn wait_for_service_async<S: AsRef<str> + Sync>(&self, ids: &[S], wait: &Wait) -> Result<Vec<PortClaim>> {
        self.wait_for_service(ids, wait)
    }
    fn follow_notes_from(&self, filter: &NoteFilter) -> Result<NoteFollower> {
        self.notes(filter)?;
        Ok(NoteFollower { pd: self.clone(), filter: filter.clone() })
    }
    fn follow_activity_from(&self, filter: &ActivityFilter) -> Result<ActivityFollower> {
        self.activity(filter)?;
        Ok(ActivityFollower { pd: self.clone(), filter: filter.clone() })
    }
}

pub(crate) struct NoteFollower {
    pd: Coordinator,
    filter: NoteFilter,
}

pub(crate) struct ActivityFollower {
    pd: Coordinator,
    filter: ActivityFilter,
}

fn at_least(wait: &Wait) -> Wait {
    Wait { timeout: wait.timeout.map(|t| t.max(Duration::from_millis(1))), cancel: wait.cancel.clone() }
}

impl NoteFollower {
    pub(crate) async fn next_async(&mut self, wait: &Wait) -> Result<Option<Note>> {
        let mut got = None;
        self.pd.follow_notes(&self.filter, &at_least(wait), |note| {
            got = Some(note);
            Ok(false)
        })?;
        if let Some(note) = &got {
            self.filter.after_seq = Some(note.seq);
        }
        Ok(got)
    }
}

impl ActivityFollower {
    pub(crate) async fn next_async(&mut self, wait: &Wait) -> Result<Option<Activity>> {
        let mut got = None;
        self.pd.follow_activity(&self.filter, &at_least(wait), |entry| {
            got = Some(entry);
            Ok(false)
        })?;
        if let Some(entry) = &got {
            self.filter.after_seq = Some(entry.seq);
        }
        Ok(got)
    }
}

pub(crate) trait NextAsync {
    fn next_async(&mut self, wait: &Wait) -> impl Future<Output = Result<Option<Event>>> + Send;
}

impl NextAsync for Subscription {
    async fn next_async(&mut self, wait: &Wait) -> Result<Option<Event>> {
        self.next(wait)
    }
}
