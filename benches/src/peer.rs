//! The peer of what a Redis can do: the server that benches/run.sh started, and its Rust client.

use redis::{Client, Commands as _, Connection, ExistenceCheck, Script, SetExpiry, SetOptions};

const UNLOCK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
const CLAIM: &str = "local port = redis.call('HGET', KEYS[1], ARGV[1])
if port then return port end
port = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], port)
return port";

pub(crate) struct Redis {
    pub(crate) connection: Connection,
    unlock: Script,
    claim: Script,
    tokens: u64,
}

/// The port of the server that keeps nothing.
pub(crate) fn port() -> String {
    std::env::var("PD_BENCH_REDIS").expect("PD_BENCH_REDIS is not set: benches/run.sh does")
}

impl Redis {
    pub(crate) fn connect(port: &str) -> Redis {
        let client = Client::open(format!("redis://127.0.0.1:{port}")).expect("an address");
        let connection = client.get_connection().expect("a running server");
        Redis { connection, unlock: Script::new(UNLOCK), claim: Script::new(CLAIM), tokens: 0 }
    }

    /// The server's process.
    pub(crate) fn server(&mut self) -> u32 {
        let info: String = redis::cmd("INFO").arg("server").query(&mut self.connection).expect("an answer");
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("its process");
        pid.trim().parse().expect("a number")
    }

    pub(crate) fn lock_and_unlock(&mut self) {
        self.tokens += 1;
        let token = format!("token-{}", self.tokens);
        let options = SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::PX(30_000));
        let taken: bool = self.connection.set_options("m", &token, options).expect("an answer");
        assert!(taken, "nobody else wants it");
        let gone: u32 = self.unlock.key("m").arg(&token).invoke(&mut self.connection).expect("an answer");
        assert_eq!(gone, 1, "it was ours");
    }

    pub(crate) fn publish(&mut self, channel: &str, text: &str) -> u32 {
        self.connection.publish(channel, text).expect("an answer")
    }

    pub(crate) fn claim(&mut self, identity: &str) -> u32 {
        self.claim.key("ports").key("next").arg(identity).invoke(&mut self.connection).expect("an answer")
    }
}
