//! The backend agent of the payment day (`examples/payment-day.sh`), in Rust: it takes part next to agents that are
//! shell scripts around `pd`, on the same database.
//!
//! Who it is and which database it uses come from `PORT_DADDY_AGENT` and `PORT_DADDY_DB`, as for `pd`.

use std::time::Duration;

use portdaddy_core::{
    ClaimFiles, Coordinator, ErrorKind, LockOptions, NewNote, NewSession, Options, Publish, Registration, Result, Wait,
};
use serde_json::json;

fn main() -> Result<()> {
    let pd = Coordinator::open(Options::default())?;
    pd.register_agent(&Registration { name: Some("Backend API".into()), ..Registration::default() })?;
    let started = pd.start_session(&NewSession {
        purpose: "Stripe API integration".into(),
        files: vec!["src/api/payments/*".into(), "src/types/Payment.ts".into()],
        ..NewSession::default()
    })?;
    assert!(started.conflicts.is_empty(), "nobody works on the API yet");

    // Published before or after this line: the signal is received either way.
    let schema = pd.wait_for_signal("payments:schema", &Wait::at_most(Duration::from_secs(60)))?;
    note(&pd, &format!("Schema version {} loaded, creating Stripe client", schema["version"]))?;
    note(&pd, "Implemented POST /api/payments (charges)")?;
    note(&pd, "Implemented POST /api/payments/:id/refund")?;

    // The token goes to whatever the lock protects, so that it can refuse a holder whose lease has ended.
    let token = pd.with_lock("db-migrations", &LockOptions::default(), |token| token)?;
    note(&pd, &format!("Checked the migrated tables (fencing token {token})"))?;
    note(&pd, "Ready for integration tests")?;
    pd.publish("payments:api", &json!({"status": "ready", "port": 3101}), &Publish::default())?;

    // Others still read src/types/Payment.ts while the day lasts, so the session stays open until it is complete.
    pd.wait_for_signal("payments:complete", &Wait::at_most(Duration::from_secs(60)))?;
    pd.done(Some("API done"))?;
    match pd.claim_files(&ClaimFiles { files: vec!["src/late.ts".into()], ..ClaimFiles::default() }) {
        Err(e) if e.kind() == ErrorKind::NoSession => Ok(()),
        other => other.map(|_| unreachable!("the session has ended")),
    }
}

fn note(pd: &Coordinator, text: &str) -> Result<()> {
    pd.note(&NewNote { text: text.into(), kind: None, session: None }).map(|_| ())
}
