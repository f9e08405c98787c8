//! Options read from JSON, as the bindings read them.

use std::fmt::Debug;

use portdaddy_core::{
    ActivityFilter, AgentFilter, ChannelFilter, ClaimFiles, ClaimFilter, ClaimPort, EndSession, ErrorKind, LockFilter,
    MessageFilter, NewNote, NewSession, NoteFilter, Publish, Registration, Release, SalvageFilter, ServiceFilter,
    SessionFilter, SessionStatus, Unlock,
};
use portdaddy_testutil::TempStore;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn refused<T: DeserializeOwned + Debug>(json: &str) -> String {
    serde_json::from_str::<T>(json).unwrap_err().to_string()
}

#[test]
fn an_empty_object_is_the_default_and_an_unknown_name_is_refused() {
    fn check<T: DeserializeOwned + Default + Debug>() {
        assert_eq!(format!("{:?}", read::<T>("{}")), format!("{:?}", T::default()));
        let said = refused::<T>(r#"{"nonsense": 1}"#);
        assert!(said.starts_with("unknown field `nonsense`, expected "), "{said}");
    }
    check::<Registration>();
    check::<AgentFilter>();
    check::<NewSession>();
    check::<EndSession>();
    check::<SessionFilter>();
    check::<NewNote>();
    check::<NoteFilter>();
    check::<ClaimFiles>();
    check::<ClaimFilter>();
    check::<Publish>();
    check::<MessageFilter>();
    check::<ChannelFilter>();
    check::<LockFilter>();
    check::<Unlock>();
    check::<ClaimPort>();
    check::<Release>();
    check::<ServiceFilter>();
    check::<SalvageFilter>();
    check::<ActivityFilter>();
}

#[test]
fn names_are_those_of_results() {
    assert_eq!(read::<Registration>(r#"{"type": "ci"}"#).kind.as_deref(), Some("ci"));
    assert_eq!(read::<NewNote>(r#"{"text": "x", "type": "commit"}"#).kind.as_deref(), Some("commit"));
    assert_eq!(read::<NoteFilter>(r#"{"type": "commit"}"#).kind.as_deref(), Some("commit"));
    assert_eq!(read::<ActivityFilter>(r#"{"type": "lock."}"#).kind.as_deref(), Some("lock."));
    assert_eq!(read::<Publish>(r#"{"ttl": 1000}"#).ttl_ms, Some(1000));
    assert_eq!(read::<EndSession>(r#"{"status": "abandoned"}"#).status, Some(SessionStatus::Abandoned));
    assert_eq!(read::<ClaimPort>(r#"{"range": [3100, 3200]}"#).range, Some((3100, 3200)));
    assert!(refused::<NewNote>(r#"{"kind": "commit"}"#).starts_with("unknown field `kind`"));
}

#[test]
fn null_is_none_and_a_wrong_type_is_refused() {
    assert_eq!(read::<NewNote>(r#"{"type": null}"#).kind, None);
    assert_eq!(read::<Publish>(r#"{"ttl": null, "keep": null}"#).keep, None);
    assert_eq!(read::<ClaimPort>(r#"{"port": null, "range": null}"#).range, None);
    assert!(refused::<NewNote>(r#"{"text": 5}"#).starts_with("invalid type: integer `5`, expected a string"));
    assert!(refused::<ClaimPort>(r#"{"port": 70000}"#).starts_with("invalid value: integer `70000`, expected u16"));
    assert!(refused::<EndSession>(r#"{"status": "ended"}"#).starts_with("unknown variant `ended`, expected one of"));
}

#[test]
fn what_an_operation_needs_it_asks_for() {
    let store = TempStore::new();
    let pd = store.open("a");
    let said = [
        pd.start_session(&read("{}")).unwrap_err(),
        pd.note(&read("{}")).unwrap_err(),
        pd.claim_files(&read("{}")).unwrap_err(),
        pd.claim(&read("{}")).unwrap_err(),
    ];
    let said: Vec<_> = said.iter().map(|e| (e.kind(), e.message())).collect();
    assert_eq!(
        said,
        [
            (ErrorKind::Invalid, "the purpose is empty: it needs at least one visible character"),
            (ErrorKind::Invalid, "the note is empty: it needs at least one visible character"),
            (ErrorKind::Invalid, "no files are named"),
            (
                ErrorKind::Invalid,
                "the identity \"\" isn't valid: it is project[:stack[:context]], each segment 1 to 64 of A-Z a-z 0-9 . _ -"
            ),
        ]
    );
}
