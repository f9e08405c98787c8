//! Waking without the tick that would make good a lost wake: processes which play ball, each throw a publication that the
//! other sleeps for. Only in a build with `--cfg portdaddy_faults` (`make test-no-tick`).

use std::time::Duration;

use portdaddy_core::{Coordinator, Event, Publish, Replay, Result, Subscribe, Subscription, Wait, Worker};
use portdaddy_testutil::{Process, Role, TempStore};
use serde_json::json;

/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(60);
const CHILD: &str = "wakes::child";
const ROUNDS: i64 = 500;
/// Balls that the tasks of one process play with at once.
const BALLS: i64 = 4;

/// How a player waits for its ball.
const HOW: [&str; 5] = ["thread", "several", "many", "tasks", "calls"];

#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let pd = role.open();
    let words: Vec<&str> = role.name.split(' ').collect();
    match words[..] {
        ["play", how, me, other] => play(&role, &pd, how, me, other),
        // Every word of the page moves on, and whoever sleeps on it looks in vain.
        ["noise"] => loop {
            (0..600).for_each(|n| publish(&pd, &format!("noise:{n}"), n));
        },
        ["hear"] => {
            let mut subscription = subscribe(&pd, "ball");
            role.say("ready");
            let heard = subscription.next(&Wait::at_most(Duration::from_secs(3))).unwrap();
            role.say(if heard.is_some() { "woken" } else { "missed it" });
        }
        ["tell"] => {
            publish(&pd, "ball", 1);
            role.say("told");
            role.barrier();
        }
        _ => panic!("{words:?}"),
    }
}

fn play(role: &Role, pd: &Coordinator, how: &str, me: &str, other: &str) {
    let begins = me < other;
    let others = match how {
        "several" => 5,
        // More words than the kernel takes at once.
        "many" => 300,
        _ => 0,
    };
    let as_tasks = how == "tasks";
    let balls = if as_tasks { BALLS } else { 1 };
    let patterns = |ball| (0..others).fold(format!("{me}:{ball}"), |all, n| format!("{all},{me}:none:{n}"));
    let subscriptions: Vec<_> = (0..balls).map(|ball| subscribe(pd, &patterns(ball))).collect();
    role.say("ready");
    role.barrier();
    if how == "calls" {
        // The waiting thread always has something to sleep on.
        let mut idle = subscribe(pd, &format!("{me}:none"));
        pd.spawn_waiting(async move { drop(idle.next_async(&Wait::default()).await) });
    }
    let (send, ended) = std::sync::mpsc::channel();
    for (ball, mut subscription) in subscriptions.into_iter().enumerate() {
        let (player, target, send) = (pd.clone(), format!("{other}:{ball}"), send.clone());
        // Each wait begins on another thread than the waiting one, and rings its bell.
        let worker = (how == "calls").then(|| Worker::start("calls").unwrap());
        let game = async move {
            for round in 0..ROUNDS / balls {
                // Two at once: the second may come while the first is read.
                let throws = 2 * round..2 * round + 2;
                if begins {
                    throws.clone().for_each(|throw| publish(&player, &target, throw));
                }
                for throw in throws {
                    let heard = loop {
                        let wait = Wait::at_most(LONG);
                        let next = if let Some(worker) = &worker {
                            let (give, take) = std::sync::mpsc::channel();
                            worker.spawn(async move {
                                let next = subscription.next_async(&wait).await;
                                let _ = give.send((subscription, next));
                            });
                            let (back, next) = take.recv().unwrap();
                            subscription = back;
                            next
                        } else if as_tasks {
                            subscription.next_async(&wait).await
                        } else {
                            subscription.next(&wait)
                        };
                        if let Some(heard) = number(next) {
                            break heard;
                        }
                    };
                    assert_eq!(heard, throw);
                    if !begins {
                        publish(&player, &target, throw);
                    }
                }
            }
            let _ = send.send(());
        };
        if as_tasks {
            pd.spawn_waiting(game);
        } else {
            std::thread::spawn(move || {
                let mut game = std::pin::pin!(game);
                assert!(game.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
            });
        }
    }
    drop(send);
    for _ in 0..balls {
        ended.recv().expect("a wake was lost");
    }
    role.say("played");
    role.barrier();
}

/// The number of the throw; none for a warning.
fn number(next: Result<Option<Event>>) -> Option<i64> {
    match next.unwrap().expect("a wake was lost") {
        Event::Message(delivery) => Some(delivery.message.payload.as_i64().unwrap()),
        Event::Warning(_) => None,
    }
}

fn subscribe(pd: &Coordinator, patterns: &str) -> Subscription {
    let how = Subscribe { patterns: patterns.into(), replay: Replay::None, ..Subscribe::default() };
    pd.subscribe(&how).unwrap()
}

fn publish(pd: &Coordinator, channel: &str, round: i64) {
    pd.publish(channel, &json!(round), &Publish::default()).unwrap();
}

#[test]
fn processes_that_answer_each_other_miss_no_wake() {
    let store = TempStore::running();
    let start = |role: &str, agent: &str| store.child_with(CHILD, role, agent, &[("PORT_DADDY_BROKEN", "tick,pace")]);
    let mut players: Vec<Process> = HOW
        .iter()
        .flat_map(|how| [("a", "b"), ("b", "a")].map(|(me, other)| format!("play {how} {how}-{me} {how}-{other}")))
        .map(|role| start(&role, role.rsplit(' ').nth(1).unwrap()))
        .collect();
    for player in &mut players {
        assert_eq!(player.said(), "ready");
    }
    let _noise = start("noise", "noise");
    players.iter_mut().for_each(Process::go);
    for player in &mut players {
        assert_eq!(player.said(), "played");
    }
}

/// What the suite without a tick rests on: it would notice.
#[test]
fn without_a_tick_a_wake_that_nobody_sends_is_missed() {
    for (broken, heard) in [("wake", "woken"), ("tick,wake", "missed it"), ("tick", "woken")] {
        let store = TempStore::running();
        let start = |role: &str| store.child_with(CHILD, role, role, &[("PORT_DADDY_BROKEN", broken)]);
        let mut sleeper = start("hear");
        assert_eq!(sleeper.said(), "ready");
        until_waiting(&store);
        let mut teller = start("tell");
        assert_eq!(teller.said(), "told");
        assert_eq!(sleeper.said(), heard, "{broken}");
    }
}

/// Until it has written that it waits; from there it goes to sleep without reading again.
fn until_waiting(store: &TempStore) {
    let pd = store.open("see");
    let deadline = std::time::Instant::now() + LONG;
    while pd.status().unwrap().waiters.is_empty() {
        assert!(std::time::Instant::now() < deadline, "nobody waits");
    }
}
