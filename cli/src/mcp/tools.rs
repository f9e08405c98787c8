//! The ten tools: what each takes, the library's calls it makes, and its answer in words.

use std::time::Duration;

use portdaddy_core::{
    AgentFilter, Cancel, ClaimFiles, ClaimFilter, ClaimPort, Coordinator, Error, ErrorKind, LockFilter, LockOptions,
    NewNote, NewSession, NoteFilter, Publish, Registration, Release, SalvageFilter, ServiceFilter, SessionFilter,
    SessionStatus, Tie, Unlock, Wait,
};
use rmcp::model::Tool;
use rmcp::schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::caller::Caller;

type Args = Map<String, Value>;
type Call = fn(&Coordinator, Args, &Cancel) -> Result<Answer, Error>;

/// A tool.
pub(super) struct Entry {
    name: &'static str,
    about: &'static str,
    schema: fn() -> Args,
    call: Call,
}

/// How long a wait lasts that doesn't say, and the longest, in seconds. Clients give up on a call sooner or later.
const PATIENCE: u64 = 60;
const LONGEST_WAIT: u64 = 600;
/// How many notes are read where none are asked for.
const NOTES: usize = 20;

macro_rules! tools {
    ($($name:ident: $args:ty, $about:literal;)*) => {
        const ALL: &[Entry] = &[$(Entry {
            name: stringify!($name),
            about: $about,
            schema: schema::<$args>,
            call: |pd, args, cancel| $name(pd, read::<$args>(stringify!($name), args)?, cancel),
        },)*];
    };
}

tools! {
    begin: Begin, "Start a session: say what you are about to do, and claim the files for it.";
    done: Done, "End your session as completed.";
    status: StatusOf, "Who is here, what they work on, locks, the journal's last notes, work to salvage.";
    note: NoteArgs, "Write to the journal that all agents share, or (without text) read it.";
    claim_files: Files, "Claim files or globs; tells who else has them. Or release them; without files, list claims.";
    signal: Signal, "Publish JSON on a channel, for whoever waits and whoever comes later.";
    wait: WaitFor, "Wait for a channel's signal, or until something listens on a service's port.";
    lock: LockArgs, "Exclusive lock by name: take, release, list. It is your agent's until released or its death.";
    port: Port, "A port of your own for an identity: claim, release, list.";
    salvage: Salvage, "Unfinished work of dead agents: list, claim, complete, abandon, dismiss.";
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct Begin {
    purpose: String,
    /// Paths or globs
    #[serde(default)]
    files: Vec<String>,
    /// Claim what others have, too
    #[serde(default)]
    force: bool,
    /// project[:stack[:context]]
    identity: Option<String>,
    /// Your name for people
    name: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct Done {
    /// A last note
    note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct StatusOf {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct NoteArgs {
    text: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// When reading: how many
    limit: Option<usize>,
    /// When reading: words in it
    grep: Option<String>,
    /// When reading: whose
    agent: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct Files {
    #[serde(default)]
    files: Vec<String>,
    /// Claim what others have, too
    #[serde(default)]
    force: bool,
    /// Release instead
    #[serde(default)]
    release: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct Signal {
    /// Such as payments:api
    channel: String,
    /// Any JSON
    #[serde(default)]
    payload: Value,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct WaitFor {
    channel: Option<String>,
    /// Identity of a port
    service: Option<String>,
    /// Default 60, at most 600
    timeout_s: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct LockArgs {
    action: LockAction,
    name: Option<String>,
    /// Wait for it so long, at most 600; default 0
    wait_s: Option<u64>,
    /// End it after so long
    ttl_s: Option<u64>,
    /// What for; waiters read it
    purpose: Option<String>,
    /// Release another's
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars", inline)]
enum LockAction {
    Take,
    Release,
    List,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct Port {
    action: PortAction,
    /// project[:stack[:context]]
    identity: Option<String>,
    /// This port and no other
    port: Option<u16>,
    /// One for all working trees
    #[serde(default)]
    shared: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars", inline)]
enum PortAction {
    Claim,
    Release,
    List,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct Salvage {
    action: SalvageAction,
    /// The dead agent
    agent: Option<String>,
    /// When completing: a last note
    note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars", inline)]
enum SalvageAction {
    List,
    Claim,
    Complete,
    Abandon,
    Dismiss,
}

/// The schema of a tool's arguments, without what says nothing to a model.
fn schema<T: JsonSchema>() -> Args {
    fn strip(value: &mut Value) {
        if let Value::Object(all) = value {
            for name in ["$schema", "title", "format", "default", "minimum", "maximum"] {
                // Arguments may be called so; those are objects.
                if all.get(name).is_some_and(|v| !v.is_object()) {
                    all.remove(name);
                }
            }
            if let Some(Value::Array(types)) = all.get_mut("type") {
                types.retain(|t| t != "null");
                if let [one] = &types[..] {
                    let one = one.clone();
                    all.insert("type".to_owned(), one);
                }
            }
            all.values_mut().for_each(strip);
        }
    }
    let mut schema = Value::from(SchemaGenerator::default().into_root_schema_for::<T>());
    strip(&mut schema);
    let mut schema = schema.as_object().cloned().unwrap_or_default();
    schema.entry("properties").or_insert_with(|| json!({}));
    schema
}

/// Every tool, as clients see it.
pub(super) fn list() -> Vec<Tool> {
    ALL.iter().map(|entry| Tool::new(entry.name, entry.about, (entry.schema)())).collect()
}

pub(super) fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

/// Whether a call may last as long as its caller likes.
pub(super) fn may_wait(tool: &Entry) -> bool {
    matches!(tool.name, "wait" | "lock")
}

/// Runs a tool.
pub(super) fn call(tool: &Entry, caller: &Caller, args: Args, cancel: &Cancel) -> Result<Answer, Error> {
    let pd = caller.open()?;
    let mut answer = (tool.call)(&pd, args, cancel)?;
    let notices = pd.take_notices();
    if !notices.is_empty() {
        answer.text = format!("{}\nNote: {}", answer.text, notices.join("\nNote: "));
        if let Value::Object(object) = &mut answer.document {
            object.insert("notices".to_owned(), notices.into());
        }
    }
    Ok(answer)
}

fn read<T: DeserializeOwned + JsonSchema>(tool: &str, args: Args) -> Result<T, Error> {
    serde_json::from_value(Value::Object(args)).map_err(|e| {
        let names =
            schema::<T>().get("properties").and_then(Value::as_object).map(|p| p.keys().cloned().collect::<Vec<_>>());
        let takes = names.filter(|n| !n.is_empty()).map_or("no arguments".to_owned(), |names| names.join(", "));
        Error::invalid(format!("{tool} can't be called so: {e}")).with("tool", tool).hint(format!("it takes {takes}"))
    })
}

fn answer(text: impl Into<String>, document: &impl Serialize) -> Result<Answer, Error> {
    let document = serde_json::to_value(document)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("the answer can't be written as JSON: {e}")))?;
    Ok(Answer { text: text.into(), document })
}

fn needed(value: Option<String>, tool: &str, name: &'static str) -> Result<String, Error> {
    value.ok_or_else(|| {
        Error::invalid(format!("{tool} needs {name} for this action"))
            .with("argument", name)
            .hint(format!("add {name}"))
    })
}

fn seconds(wanted: Option<u64>, default: u64, name: &'static str) -> Result<Duration, Error> {
    match wanted.unwrap_or(default) {
        more if more > LONGEST_WAIT => {
            Err(Error::invalid(format!("{name} is {more}: a call waits {LONGEST_WAIT} at most"))
                .with("value", more)
                .hint("wait again after a timeout"))
        }
        some => Ok(Duration::from_secs(some)),
    }
}

fn lines<T>(head: String, items: &[T], line: impl Fn(&T) -> String) -> String {
    items.iter().fold(head, |text, item| text + "\n" + &line(item).replace('\n', " "))
}

fn begin(pd: &Coordinator, args: Begin, _: &Cancel) -> Result<Answer, Error> {
    let Begin { purpose, files, force, identity, name } = args;
    let registration = Registration { name, identity: identity.clone(), ..Registration::default() };
    let started = pd.begin(&registration, &NewSession { purpose, files, force, identity, ..NewSession::default() })?;
    answer(format!("Started {}{}", started.session.id, conflicts(&started.conflicts)), &started)
}

fn conflicts(all: &[portdaddy_core::Conflict]) -> String {
    lines(String::new(), all, |c| {
        format!(
            "Conflict: {} is claimed by {} ({}) for {}",
            c.pattern, c.with.agent_name, c.with.session, c.session_purpose
        )
    })
}

fn done(pd: &Coordinator, args: Done, _: &Cancel) -> Result<Answer, Error> {
    let session = pd.done(args.note.as_deref())?;
    answer(format!("Ended {}", session.id), &session)
}

fn status(pd: &Coordinator, _: StatusOf, _: &Cancel) -> Result<Answer, Error> {
    let (status, me) = (pd.status()?, pd.whoami()?);
    let agents = pd.agents(&AgentFilter::default())?.agents;
    let sessions =
        pd.sessions(&SessionFilter { status: Some(SessionStatus::Active), ..SessionFilter::default() })?.sessions;
    let notes = pd.notes(&NoteFilter { limit: Some(5), ..NoteFilter::default() })?.notes;
    let locks = pd.locks(&LockFilter::default())?.locks;
    let agents: Vec<_> = agents
        .iter()
        .map(
            |a| json!({"id": a.id, "name": a.name, "state": a.state, "purpose": a.purpose, "unfinished": a.unfinished}),
        )
        .collect();
    let own = me.session.as_ref().map(|s| s.id.as_str());
    let mut text = format!("You are {}", me.agent.as_deref().unwrap_or("nobody"));
    text += &own.map_or(", without a session".to_owned(), |id| format!(" in {id}"));
    text += &format!("; {} to salvage", status.salvage);
    text = lines(text, &sessions, |s| format!("Session {} of {}: {}", s.id, s.agent_name, s.purpose));
    text = lines(text, &locks, |l| format!("Lock {} held by {}", l.name, l.agent_name));
    text = lines(text, &notes, |n| format!("Note of {}: {}", n.agent_name, n.text));
    let document = json!({
        "agent": me.agent, "session": own, "scope": status.scope, "agents": agents, "sessions": sessions,
        "locks": locks, "waiters": status.waiters, "notes": notes, "claims": status.claims, "ports": status.ports,
        "channels": status.channels, "salvage": status.salvage,
    });
    answer(text, &document)
}

fn note(pd: &Coordinator, args: NoteArgs, _: &Cancel) -> Result<Answer, Error> {
    let NoteArgs { text, kind, limit, grep, agent } = args;
    let Some(text) = text else {
        let list =
            pd.notes(&NoteFilter { limit: Some(limit.unwrap_or(NOTES)), grep, agent, kind, ..NoteFilter::default() })?;
        let head = format!("{} notes", list.notes.len());
        // The last ones, should the text be too long for all.
        let from = list.notes.len().saturating_sub(NOTES);
        return answer(lines(head, &list.notes[from..], |n| format!("[{}] {}", n.agent_name, n.text)), &list);
    };
    if limit.is_some() || grep.is_some() || agent.is_some() {
        return Err(Error::invalid("limit, grep and agent are for reading the journal, and text writes to it")
            .hint("leave text out to read"));
    }
    let written = pd.note(&NewNote { text, kind, session: None })?;
    answer(format!("Noted in {}", written.note.session), &written)
}

fn claim_files(pd: &Coordinator, args: Files, _: &Cancel) -> Result<Answer, Error> {
    let Files { files, force, release } = args;
    if release {
        let released = pd.release_files(&files, None)?;
        let text = lines(format!("Released {}", released.len()), &released, |c| c.pattern.clone());
        return answer(text, &json!({ "released": released }));
    }
    if files.is_empty() {
        let list = pd.file_claims(&ClaimFilter::default())?;
        let text = lines(format!("{} claims", list.claims.len()), &list.claims, |c| {
            format!("{} by {}", c.pattern, c.agent_name)
        });
        return answer(text, &list);
    }
    let claimed = pd.claim_files(&ClaimFiles { files, force, session: None })?;
    answer(
        format!("Claimed {} in {}{}", claimed.claimed.len(), claimed.session, conflicts(&claimed.conflicts)),
        &claimed,
    )
}

fn signal(pd: &Coordinator, args: Signal, _: &Cancel) -> Result<Answer, Error> {
    let published = pd.publish(&args.channel, &args.payload, &Publish::default())?;
    answer(format!("Published on {}, {} waited for it", published.channel, published.waiting), &published)
}

fn wait(pd: &Coordinator, args: WaitFor, cancel: &Cancel) -> Result<Answer, Error> {
    let timeout = seconds(args.timeout_s, PATIENCE, "timeout_s")?;
    let wait = Wait { timeout: Some(timeout), cancel: Some(cancel.clone()) };
    match (args.channel, args.service) {
        (Some(channel), None) => {
            let payload = pd.wait_for_signal(&channel, &wait)?;
            answer(format!("{channel}: {payload}"), &json!({"channel": channel, "payload": payload}))
        }
        (None, Some(service)) => {
            let claims = pd.wait_for_service(&[&service], &wait)?;
            answer(lines(format!("{service} listens"), &claims, |c| c.port.to_string()), &json!({ "services": claims }))
        }
        _ => Err(Error::invalid("wait needs either channel or service").hint("name one of them")),
    }
}

fn lock(pd: &Coordinator, args: LockArgs, cancel: &Cancel) -> Result<Answer, Error> {
    let LockArgs { action, name, wait_s, ttl_s, purpose, force } = args;
    match action {
        LockAction::Take => {
            let name = needed(name, "lock", "name")?;
            let timeout = seconds(wait_s, 0, "wait_s")?;
            let ttl_ms = ttl_s.map(|s| i64::try_from(s).ok().and_then(|s| s.checked_mul(1000)).unwrap_or(i64::MAX));
            let options = LockOptions {
                blocking: !timeout.is_zero(),
                wait: Wait { timeout: Some(timeout), cancel: Some(cancel.clone()) },
                ttl_ms,
                purpose,
                tie: Tie::Agent,
                ..LockOptions::default()
            };
            let Some(lock) = pd.lock(&name, &options)? else { return Err(held(pd, &name)?) };
            if cancel.is_cancelled() {
                // Nobody would hear of it.
                lock.release()?;
                return Err(Error::new(ErrorKind::Cancelled, format!("the call for {name} was cancelled")));
            }
            let info = lock.info()?;
            lock.leave();
            answer(format!("Locked {name} (token {})", info.token), &info)
        }
        LockAction::Release => {
            let name = needed(name, "lock", "name")?;
            let info = pd.unlock(&name, &Unlock { force, token: None })?;
            answer(format!("Released {name}"), &info)
        }
        LockAction::List => {
            let list = pd.locks(&LockFilter::default())?;
            let text = lines(format!("{} locks", list.locks.len()), &list.locks, |l| {
                format!("{} held by {}, {} waiting", l.name, l.agent_name, l.waiters.len())
            });
            answer(text, &list)
        }
    }
}

/// Who has the lock that wasn't waited for.
fn held(pd: &Coordinator, name: &str) -> Result<Error, Error> {
    let info = pd.lock_info(name)?;
    let by = info.as_ref().map_or("another", |info| info.agent_name.as_str());
    let mut error = Error::new(ErrorKind::LockHeld, format!("{name} is held by {by}")).with("lock", name);
    if let Some(info) = &info {
        error = error.with("agent", info.agent.as_str()).with("since_ms", info.since_ms);
        if let Some(purpose) = &info.purpose {
            error = error.with("purpose", purpose.as_str());
        }
    }
    Ok(error.hint("wait for it with wait_s"))
}

fn port(pd: &Coordinator, args: Port, _: &Cancel) -> Result<Answer, Error> {
    let Port { action, identity, port, shared } = args;
    match action {
        PortAction::Claim => {
            let identity = needed(identity, "port", "identity")?;
            let claim = pd.claim(&ClaimPort { identity, port, shared, ..ClaimPort::default() })?;
            answer(format!("Port {} for {}", claim.port, claim.identity), &claim)
        }
        PortAction::Release => {
            let identity = needed(identity, "port", "identity")?;
            let released = pd.release(&identity, &Release { shared, ..Release::default() })?;
            let text =
                lines(format!("Released {}", released.len()), &released, |c| format!("{} {}", c.identity, c.port));
            answer(text, &json!({ "released": released }))
        }
        PortAction::List => {
            let list = pd.services(&ServiceFilter { pattern: identity, ..ServiceFilter::default() })?;
            let text = lines(format!("{} ports", list.services.len()), &list.services, |c| {
                format!("{} {}", c.identity, c.port)
            });
            answer(text, &list)
        }
    }
}

fn salvage(pd: &Coordinator, args: Salvage, _: &Cancel) -> Result<Answer, Error> {
    let Salvage { action, agent, note } = args;
    if matches!(action, SalvageAction::List) {
        let list = pd.salvage(&SalvageFilter { project: None, all: false })?;
        let text = lines(format!("{} dead agents with unfinished work", list.items.len()), &list.items, |item| {
            format!("{}: {} ({})", item.agent, item.purpose.as_deref().unwrap_or("no purpose given"), item.death)
        });
        return answer(text, &list);
    }
    let agent = needed(agent, "salvage", "agent")?;
    match action {
        SalvageAction::Claim => {
            let briefing = pd.salvage_claim(&agent)?;
            answer(
                briefing.text.clone(),
                &json!({"agent": agent, "sessions": briefing.sessions, "briefing": briefing.text}),
            )
        }
        SalvageAction::Complete => {
            answer(format!("Completed the work of {agent}"), &pd.salvage_complete(&agent, note.as_deref())?)
        }
        SalvageAction::Abandon => answer(format!("Put back the work of {agent}"), &pd.salvage_abandon(&agent)?),
        SalvageAction::Dismiss | SalvageAction::List => {
            answer(format!("Dismissed the work of {agent}"), &pd.salvage_dismiss(&agent)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_are_few_and_their_list_is_short() {
        let tools = serde_json::to_string(&list()).unwrap();
        assert_eq!(ALL.len(), 10);
        assert!(tools.len() < 4_500, "{} characters: {tools}", tools.len());
        for tool in list() {
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
            assert_eq!(tool.input_schema["type"], "object");
        }
    }

    #[test]
    fn an_argument_that_is_unknown_is_named_with_those_that_are_known() {
        let args = json!({"purpose": "x", "file": "y"});
        let error = read::<Begin>("begin", args.as_object().unwrap().clone()).err().unwrap();
        assert!(error.message().contains("`file`"), "{error}");
        assert!(error.next_step().unwrap().contains("purpose, files"), "{:?}", error.next_step());
    }
}
