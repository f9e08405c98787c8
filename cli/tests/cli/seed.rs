//! The tutorial, as written: its shell lines are played one by one.

use crate::place::{Place, assert_run};

const FRONTEND: &str = r#"
pd session start "Building checkout UI" \
  --files "src/components/checkout/*" \
  "src/pages/checkout.tsx" \
  "src/hooks/usePayment.ts"
pd note "Installed Stripe React library"
pd note "Built CheckoutForm component"
pd note "Blocked waiting on payment API types"
"#;

const BACKEND: &str = r#"
pd session start "Building payment API" \
  --files "src/api/payments/*" \
  "src/types/Payment.ts" \
  "src/middleware/auth.ts"
pd note "Created POST /api/payments endpoint" --type commit
pd note "Integrated Stripe API client"
pd note "TypeScript types ready at src/types/Payment.ts"
"#;

const DATABASE: &str = r#"
pd session start "Database schema for payments" \
  --files "supabase/migrations/*" \
  "src/db/schema.ts"
pd note "Created payments table with webhook_id tracking"
pd note "Added indexes on user_id and payment_status"
pd note "Ready for integration tests"
"#;

fn named(place: &mut Place, agent: &str, name: &str) {
    place.agent(agent).ok(&["agent", "register", "--name", name, "-q"]);
}

fn play(place: &Place, script: &str) -> String {
    let run = place.sh(&format!("set -e\n{script}"));
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""), "{script}: {}", run.shown());
    run.stdout
}

#[test]
fn the_journal_and_the_claims() {
    let mut place = Place::new();
    named(&mut place, "agent-1", "Agent 1");
    play(&place, FRONTEND);
    named(&mut place, "agent-2", "Backend Agent");
    play(&place, BACKEND);
    named(&mut place, "agent-3", "Agent 3");
    play(&place, DATABASE);
    assert_run!(place.sh("pd notes --limit 20"), @r"
    [Agent 1] Installed Stripe React library
    [Agent 1] Built CheckoutForm component
    [Agent 1] Blocked waiting on payment API types
    [Backend Agent] Created POST /api/payments endpoint
    [Backend Agent] Integrated Stripe API client
    [Backend Agent] TypeScript types ready at src/types/Payment.ts
    [Agent 3] Created payments table with webhook_id tracking
    [Agent 3] Added indexes on user_id and payment_status
    [Agent 3] Ready for integration tests
    ");
    place.agent("agent-5");
    let started = place.sh("pd session start \"OAuth integration\" \\\n  --files \"src/middleware/auth.ts\"");
    assert_run!(started, @r"
    Started session-ID
    2> Warning: src/middleware/auth.ts claimed by session-ID (Backend Agent)
    2> Use --force to claim anyway
    ");
    let forced =
        place.sh("pd session start \"OAuth integration\" \\\n  --files \"src/middleware/auth.ts\" \\\n  --force");
    assert_run!(forced, @r"
    Started session-ID
    2> Warning: src/middleware/auth.ts claimed by session-ID (Backend Agent)
    2> Claimed anyway
    ");
}

#[test]
fn signals_and_locks() {
    let mut place = Place::new();
    place.agent("backend");
    play(&place, r#"pd pub payments:api '{"status":"healthy","port":3101}'"#);
    place.agent("tests");
    assert_run!(place.sh("pd sub payments:* 2>/dev/null"), @r#"{"status":"healthy","port":3101}"#);
    place.agent("database");
    let locked = place.sh("pd lock db-migrations");
    assert_eq!((locked.exit, locked.stdout.starts_with("Locked db-migrations (token ")), (0, true));
    place.agent("tests");
    let skipped = place.sh("pd lock db-migrations || echo \"Migrations already running, skipping\"");
    assert_eq!((skipped.exit, skipped.stdout.as_str()), (0, "Migrations already running, skipping\n"));
    place.agent("database");
    assert_run!(place.sh("pd unlock db-migrations"), @"Unlocked db-migrations");
    play(&place, "pd pub build:complete '{\"status\":\"ready\"}'");
    assert_run!(place.sh("pd sub build:complete 2>/dev/null"), @r#"{"status":"ready"}"#);
}

/// The day from 10:00 to 10:18, with every wait after what it waits for.
#[test]
fn a_payment_system_in_parallel() {
    let mut place = Place::new();
    let waits = |place: &Place, channels: &str| place.ok(&["sub", channels, "-q"]);

    place.agent("agent-1");
    play(
        &place,
        r#"
pd session start "Payment system schema" \
  --files "supabase/migrations/*"
pd note "Creating payments table, webhook_requests, refunds"
pd note "Schema ready, importing src/types/Payment.ts"
pd pub payments:schema '{"version":1,"tables":["payments","refunds"]}'
pd lock db-migrations 2>/dev/null
pd unlock db-migrations
"#,
    );

    place.agent("agent-2");
    play(
        &place,
        r#"
pd session start "Stripe API integration" \
  --files "src/api/payments/*" \
  "src/types/Payment.ts"
"#,
    );
    assert_eq!(waits(&place, "payments:schema"), "{\"version\":1,\"tables\":[\"payments\",\"refunds\"]}\n");
    play(
        &place,
        r#"
pd note "Schema loaded, creating Stripe client"
pd note "Implemented POST /api/payments (charges)"
pd note "Implemented POST /api/payments/:id/refund"
pd note "Ready for integration tests"
pd pub payments:api '{"status":"ready","port":3101}'
"#,
    );

    place.agent("agent-3");
    play(
        &place,
        r#"
pd session start "Payment query layer" \
  --files "src/db/queries/*"
"#,
    );
    assert_eq!(waits(&place, "payments:api"), "{\"status\":\"ready\",\"port\":3101}\n");
    play(
        &place,
        r#"
pd note "Created getPaymentById() and listPayments()"
pd note "Ready for frontend to consume"
pd pub payments:queries '{"status":"ready"}'
"#,
    );

    place.agent("agent-4");
    play(
        &place,
        r#"
pd session start "Checkout UI" \
  --files "src/components/Checkout/*"
"#,
    );
    assert_eq!(waits(&place, "payments:api,payments:queries").lines().count(), 2);
    play(
        &place,
        r#"
PORT=$(pd claim payments:frontend -q)
pd note "Building CheckoutForm component"
pd note "Integrated with payment API on port 3101"
pd pub payments:frontend '{"status":"ready","port":'${PORT}'}'
"#,
    );

    place.agent("agent-5");
    play(
        &place,
        r#"
pd session start "Payment integration tests" \
  --files "tests/payments/*"
"#,
    );
    let ready = waits(&place, "payments:*");
    assert_eq!(ready.lines().count(), 4, "{ready}");
    play(
        &place,
        r#"
pd note "Running checkout flow tests"
pd note "All tests passing"
pd note "Payment system complete!"
pd pub payments:complete '{"status":"done","timestamp":"2024-02-28T10:18:00Z"}'
"#,
    );
    assert_eq!(place.ok(&["notes"]).lines().last(), Some("[agent-5] Payment system complete!"));
}

#[test]
fn registration_heartbeats_and_who_is_there() {
    let mut place = Place::new();
    place.agent("");
    play(
        &place,
        r#"
pd agent register \
  --agent frontend-builder \
  --identity payments:web \
  --purpose "Building checkout UI" \
  --type ai
pd agent heartbeat --agent frontend-builder
"#,
    );
    assert_run!(place.sh("pd agents"), @"Active frontend-builder (payments:web, N ago)");
    assert_eq!(place.sh("pd salvage --project payments").exit, 0);
}
