//! A process that listens to what is published, ours or Redis, and says how long each message took to it.

use portdaddy_core::{Coordinator, Event, Publish, Replay, Subscribe, Wait};
use serde_json::{Value, json};

use crate::measure::{moment, us};
use crate::peer::{self, Redis};
use crate::role::{Player, say, say_numbers, told};
use crate::setting::Setting;

const CHANNEL: &str = "bench:latency";
const PATTERN: &str = "bench:*";

pub(crate) fn start(setting: &Setting, agent: &str, which: Which) -> Player {
    let mut player = match which {
        Which::Ours => Player::start(setting, "listen", agent, &["ours"]),
        Which::Redis => Player::start(setting, "listen", agent, &["redis", &peer::port()]),
    };
    assert_eq!(player.said(), "ready");
    player
}

#[derive(Clone, Copy)]
pub(crate) enum Which {
    Ours,
    Redis,
}

/// The process's part: for each number that it is told, it takes so many messages and says their microseconds.
pub(crate) fn listen(rest: &[&str], open: impl FnOnce() -> Coordinator) {
    match rest {
        ["ours"] => {
            let how = Subscribe { patterns: PATTERN.to_owned(), replay: Replay::None, ..Subscribe::default() };
            let mut subscription = open().subscribe(&how).expect("a subscription");
            batches(|| {
                loop {
                    let event = subscription.next(&Wait::default()).expect("the next").expect("a wait without end");
                    if let Event::Message(delivery) = event {
                        return delivery.message.payload;
                    }
                }
            });
        }
        ["redis", port] => {
            let mut redis = Redis::connect(port);
            let mut subscription = redis.connection.as_pubsub();
            subscription.psubscribe(PATTERN).expect("a subscription");
            batches(|| {
                let message = subscription.get_message().expect("the next");
                serde_json::from_slice(message.get_payload_bytes()).expect("JSON")
            });
        }
        _ => panic!("a listener of what?"),
    }
}

fn batches(mut next: impl FnMut() -> Value) {
    say("ready");
    while let Some(line) = told() {
        let count: usize = line.parse().expect("a number");
        let mut latencies = Vec::with_capacity(count);
        while latencies.len() < count {
            let begun = next()["at"].as_u64().expect("a moment");
            latencies.push(us(moment()) - begun as f64 / 1e3);
        }
        say_numbers(&latencies);
    }
}

/// What is published says when its call began.
fn payload() -> Value {
    json!({"at": u64::try_from(moment().as_nanos()).expect("nanoseconds")})
}

pub(crate) fn publish(pd: &Coordinator) {
    pd.publish(CHANNEL, &payload(), &Publish::default()).expect("published");
}

pub(crate) fn publish_to_redis(redis: &mut Redis) {
    redis.publish(CHANNEL, &payload().to_string());
}
