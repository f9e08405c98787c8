//! Signals: publishing, subscribing, and waiting for one.

use portdaddy_core::{Replay, Result, StreamSource, Subscribe, Wait};
use serde::Deserialize;
use serde_json::Value;

use crate::call::{Arguments, duration};
use crate::client::{Answer, Call, Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "publish",
        run: Run::Now(|pd, a| {
            let channel: String = a.value("channel")?;
            let payload = payload(a)?;
            json(&pd.publish(&channel, &payload, &a.options()?)?)
        }),
    },
    Operation { name: "messages", run: Run::Now(|pd, a| json(&pd.messages(&a.options()?)?)) },
    Operation { name: "channels", run: Run::Now(|pd, a| json(&pd.channels(&a.options()?)?)) },
    Operation { name: "clearChannel", run: Run::Now(|pd, a| json(&pd.clear_channel(&a.value::<String>("pattern")?)?)) },
    Operation { name: "waitForSignal", run: Run::Wait(|call| Box::pin(wait_for_signal(call))) },
    Operation {
        name: "subscribe",
        run: Run::Client(|client, a| {
            let pd = client.coordinator()?;
            client.streams.open(&pd, a, |a| {
                let how = subscribe(a)?;
                Ok(StreamSource::Subscription(Box::new(pd.subscribe(&how)?), how.durable))
            })
        }),
    },
];

/// How JavaScript subscribes.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SubscribeOptions {
    patterns: String,
    replay: Option<ReplayFrom>,
    durable: Option<String>,
    fail_on_deadlock: bool,
    fail_if_gone: bool,
    purpose: Option<String>,
}

/// `'latest'`, `'none'`, `'all'`, or a seq.
#[derive(Deserialize)]
#[serde(untagged)]
enum ReplayFrom {
    Seq(i64),
    Word(String),
}

fn subscribe(arguments: &mut Arguments) -> Result<Subscribe> {
    let SubscribeOptions { patterns, replay, durable, fail_on_deadlock, fail_if_gone, purpose } =
        arguments.options()?;
    let replay = match replay {
        None => Replay::default(),
        Some(ReplayFrom::Seq(seq)) => Replay::After(seq),
        Some(ReplayFrom::Word(word)) => match word.as_str() {
            "latest" => Replay::Latest,
            "none" => Replay::None,
            "all" => Replay::All,
            _ => {
                let rule = format!("must be latest, none, all or a number, not the string {word:?}");
                return Err(arguments.wrong("replay", &rule));
            }
        },
    };
    Ok(Subscribe { patterns, replay, durable, fail_on_deadlock, fail_if_gone, purpose, ..Subscribe::default() })
}

/// The payload, a JSON text of its own: what it holds is no argument.
fn payload(arguments: &mut Arguments) -> Result<Value> {
    let text: String = arguments.value("payload")?;
    serde_json::from_str(&text).map_err(|e| {
        // The one thing that the text of a value can't be read for.
        let too_deep = e.to_string().starts_with("recursion limit");
        let rule = if too_deep { "is nested too deeply: at most 100 levels" } else { "is no JSON text" };
        arguments.wrong("payload", rule).caused_by(e)
    })
}

/// How long a wait may take.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WaitOptions {
    timeout: Option<f64>,
}

/// The options of a wait that has no others.
pub(crate) fn wait(call: &mut Call) -> Result<Wait> {
    let WaitOptions { timeout } = call.arguments.options()?;
    timed(call, timeout)
}

/// A wait of at most so many milliseconds.
pub(crate) fn timed(call: &Call, timeout: Option<f64>) -> Result<Wait> {
    let timeout = timeout
        .map(|ms| {
            let rule = || format!("must be a number of milliseconds from 0 up, not {ms}");
            duration(ms).ok_or_else(|| call.arguments.wrong("timeout", &rule()))
        })
        .transpose()?;
    Ok(Wait { timeout, cancel: Some(call.cancel.clone()) })
}

async fn wait_for_signal(mut call: Call) -> Result<Answer> {
    let channel: String = call.arguments.value("channel")?;
    let wait = wait(&mut call)?;
    let pd = call.client.coordinator()?;
    json(&pd.wait_for_signal_async(&channel, &wait).await?).map(Answer::from)
}
