//! Identities, agents, channels, locks, note types, ranges of ports, durations, lines of a shell; on a second line, what a pattern meets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portdaddy_core::{ChannelPattern, Error, Identity, IdentityPattern, fuzzing};

/// What a refusal must be: short, and harmless on a terminal.
fn look_at(e: &Error) {
    assert!(e.message().len() < 2000, "{}", e.message());
    assert!(!e.message().chars().any(char::is_control), "{}", e.message());
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, other) = text.split_once('\n').unwrap_or((text, "a:b"));
    fuzzing::check_names(text).iter().flat_map(|checked| checked.as_ref().err()).for_each(look_at);
    port_daddy::fuzzing::durations(text);
    assert!(fuzzing::risks(text) <= text.len());
    match Identity::parse(text) {
        Ok(identity) => {
            assert!(text.starts_with(identity.project()));
            assert!(IdentityPattern::parse(text).expect("an identity is a pattern").matches(text));
        }
        Err(e) => look_at(&e),
    }
    match IdentityPattern::parse(text) {
        Ok(pattern) => assert!(!pattern.is_exact() || pattern.matches(other) == (text == other)),
        Err(e) => look_at(&e),
    }
    match ChannelPattern::parse_list(text) {
        Ok(patterns) => {
            for pattern in patterns {
                let met = pattern.matches(other);
                assert!(!met || other.starts_with(pattern.literal_prefix()), "{pattern} {other:?}");
                let first = other.split(':').next();
                assert!(
                    !met || pattern.first_segment().is_none_or(|fixed| Some(fixed) == first),
                    "{pattern} {other:?}"
                );
                assert!(!pattern.is_exact() || pattern.matches(pattern.as_str()));
                assert!(pattern.is_exact() || ChannelPattern::parse("*").is_ok_and(|all| all.matches(other)));
            }
        }
        Err(e) => look_at(&e),
    }
});
