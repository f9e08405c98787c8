//! Calls that one process makes while nobody else does anything: ours, and Redis over loopback.

use portdaddy_core::{ClaimPort, LockOptions, Publish};
use serde_json::json;

use crate::alternate::{Aim, Round, alternate, calls, comparison, rows};
use crate::peer::{self, Redis};
use crate::setting::Setting;

const ROUNDS: usize = 21;
const TIMES: usize = 2_000;

pub(crate) fn run() {
    let setting = Setting::new();
    let pd = setting.open("bench");
    let mut redis = Redis::connect(&peer::port());
    let server = [redis.server()];
    let payload = json!({"status": "healthy", "port": 3101});
    let claim = ClaimPort { identity: "bench:api".to_owned(), ..ClaimPort::default() };
    pd.claim(&claim).expect("a port");

    let lock = alternate(
        ROUNDS,
        || {
            Round::run(&[], || {
                calls(TIMES, || {
                    let lock = pd.lock("m", &LockOptions::default()).expect("the lock").expect("a wait without end");
                    lock.release().expect("it is ours");
                })
            })
        },
        || Round::run(&server, || calls(TIMES, || redis.lock_and_unlock())),
    );
    let publish = alternate(
        ROUNDS,
        || {
            let once = || drop(pd.publish("quiet:api", &payload, &Publish::default()).expect("published"));
            Round::run(&[], || calls(TIMES, once))
        },
        || {
            Round::run(&server, || {
                calls(TIMES, || {
                    redis.publish("quiet:api", &payload.to_string());
                })
            })
        },
    );
    let claimed = alternate(
        ROUNDS,
        || Round::run(&[], || calls(TIMES, || drop(pd.claim(&claim).expect("its port")))),
        || {
            Round::run(&server, || {
                calls(TIMES, || {
                    redis.claim("bench:api");
                })
            })
        },
    );
    println!(
        "{ROUNDS} rounds of {TIMES} calls each, in turns, one after the other; medians of the rounds, and of their"
    );
    println!("ratios. The CPU of a round is all processes' that take part, the server's with them.\n");
    let aim = [("p50", Aim::AtMost(0.8))];
    let mut table = rows("`lock`, then `release` : `SET NX PX`, then a scripted `DEL`", &lock, &aim, &[]);
    table.extend(rows("`publish` : `PUBLISH`, which stores nothing", &publish, &[], &[]));
    table.extend(rows("`claim` of a port that one has : a script, `HGET`, else `INCR` and `HSET`", &claimed, &[], &[]));
    comparison(&table);
}
