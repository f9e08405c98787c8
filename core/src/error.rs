//! The one public error type: a stable kind, a sentence that carries the values, a hint, and fields for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// What every fallible operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $exit:ident;)*) => {
        /// Why an operation failed. A kind exists where a caller would act differently.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            /// Every kind, for tests that walk them in each language.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name,)*];

            /// The stable code, the same in every language: `LOCK_HELD`.
            pub const fn code(self) -> &'static str {
                match self { $(ErrorKind::$name => $code,)* }
            }

            /// The class that a command line turns into its exit code.
            pub const fn class(self) -> ErrorClass {
                match self { $(ErrorKind::$name => ErrorClass::$exit,)* }
            }
        }
    };
}

/// The broad classes of failure; a command's exit code is the class's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The answer is no: held by another, nothing found.
    No = 1,
    /// The call itself is wrong.
    Usage = 2,
    /// It belongs to another.
    Refused = 3,
    /// The time given ran out.
    TimedOut = 4,
    /// Waiting would never end.
    Deadlock = 5,
    /// The database can't be used.
    Store = 6,
    /// A defect of this library or of its use in the process.
    Bug = 70,
    /// The caller gave up.
    Interrupted = 130,
}

kinds! {
    /// A value breaks a rule; the sentence names the value, the rule and the way out.
    Invalid = "INVALID", Usage;
    /// A short name fits several things; the candidates are in `candidates`.
    Ambiguous = "AMBIGUOUS", Usage;
    /// The operation needs an agent and none could be resolved.
    NoAgent = "NO_AGENT", Usage;
    /// The operation needs an active session and the agent has none.
    NoSession = "NO_SESSION", No;
    /// Nothing of that name exists.
    NotFound = "NOT_FOUND", No;
    /// The lock is held by another and the call doesn't wait.
    LockHeld = "LOCK_HELD", No;
    /// Nobody holds the lock.
    NotHeld = "NOT_HELD", No;
    /// It is held or owned by another.
    NotOwner = "NOT_OWNER", Refused;
    /// A lease ended before its holder let go: expired, taken by force, or handed on after a death.
    LeaseLost = "LEASE_LOST", Refused;
    /// The requested port is assigned or in use.
    PortTaken = "PORT_TAKEN", No;
    /// The range has no port left.
    PortsExhausted = "PORTS_EXHAUSTED", No;
    /// The recipient has left too many messages unread.
    InboxFull = "INBOX_FULL", No;
    /// The agent's work was already claimed by another, or it isn't dead.
    NotSalvageable = "NOT_SALVAGEABLE", No;
    /// Nobody is left who could send what was waited for, or the agent it was for is gone.
    OwnerGone = "OWNER_GONE", No;
    /// The time given ran out.
    Timeout = "TIMEOUT", TimedOut;
    /// Waiting would close a cycle; the cycle is in `cycle`.
    Deadlock = "DEADLOCK", Deadlock;
    /// The caller cancelled the wait.
    Cancelled = "CANCELLED", Interrupted;
    /// The handle was closed.
    Closed = "CLOSED", Bug;
    /// The handle was opened before a fork and used in the child.
    Forked = "FORKED", Bug;
    /// Another copy of this library has the same database open in this process.
    SecondCopy = "SECOND_COPY", Bug;
    /// The database stayed locked by a stopped or stuck process.
    StoreBusy = "STORE_BUSY", Store;
    /// No space left for the database.
    StoreFull = "STORE_FULL", Store;
    /// The database or its directory can't be written.
    StoreReadOnly = "STORE_READ_ONLY", Store;
    /// Permission denied, or the directory is open to other users.
    StorePermission = "STORE_PERMISSION", Store;
    /// The file isn't a database of this library, or it is damaged.
    StoreCorrupt = "STORE_CORRUPT", Store;
    /// The file was made by a newer version.
    StoreNewer = "STORE_NEWER", Store;
    /// The filesystem can't carry a shared database.
    StoreFilesystem = "STORE_FILESYSTEM", Store;
    /// No place for the database could be found.
    StoreLocation = "STORE_LOCATION", Store;
    /// Reading or writing failed for another reason.
    StoreIo = "STORE_IO", Store;
    /// A defect in this library.
    Internal = "INTERNAL", Bug;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}

/// A failed operation: kind, sentence, hint and fields.
///
/// ```
/// use portdaddy_core::{Error, ErrorKind};
/// let e = Error::invalid("the port 70000 is out of range: a port is 1 to 65535")
///     .with("port", 70000)
///     .hint("leave the port out to get the lowest free one");
/// assert_eq!(e.kind(), ErrorKind::Invalid);
/// assert_eq!(e.kind().code(), "INVALID");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    fields: BTreeMap<&'static str, Value>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` whose `message` is a sentence with the values in it, without a final stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), hint: None, fields: BTreeMap::new(), source: None }))
    }

    /// A value that breaks a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a field for programs.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.fields.insert(name, value.into());
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next, where there is something to do.
    pub fn next_step(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The values of the sentence, by name.
    pub fn fields(&self) -> &BTreeMap<&'static str, Value> {
        &self.0.fields
    }

    /// What a failed system call on `path` means for the store.
    pub(crate) fn io(doing: &str, path: &std::path::Path, e: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match e.kind() {
            Io::PermissionDenied => ErrorKind::StorePermission,
            Io::ReadOnlyFilesystem => ErrorKind::StoreReadOnly,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::StoreFull,
            _ => ErrorKind::StoreIo,
        };
        let hint = if crate::sys::lacks_descriptors(&e) {
            TOO_MANY_FILES
        } else {
            "check the path, or name another database with PORT_DADDY_DB or --db"
        };
        Self::new(kind, format!("{doing} {} failed: {e}", path.display()))
            .with("path", path.display().to_string())
            .hint(hint)
            .caused_by(e)
    }

    /// Says which file it was.
    pub(crate) fn about_path(mut self, path: &std::path::Path) -> Self {
        self.0.message = format!("{}: {}", path.display(), self.0.message);
        self.with("path", path.display().to_string())
    }

    /// A defect: something that this library's own rules exclude.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message).hint("this is a bug in port-daddy; please report it")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .field("fields", &self.0.fields)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

/// As a JSON object: `code`, `message`, `hint` where there is one, and the fields.
impl Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("code", self.kind().code())?;
        map.serialize_entry("message", self.message())?;
        if let Some(hint) = self.next_step() {
            map.serialize_entry("hint", hint)?;
        }
        map.serialize_entry("fields", self.fields())?;
        map.end()
    }
}

/// What helps where no further file can be opened.
const TOO_MANY_FILES: &str = "close files or handles in this process, or allow it more (ulimit -n)";

impl From<rusqlite::Error> for Error {
    /// What SQLite's own code means for the caller. The database's path is added by the door (`db`).
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ffi::ErrorCode as C;
        let (kind, said, hint) = match e.sqlite_error_code() {
            Some(C::DatabaseBusy | C::DatabaseLocked) => (
                ErrorKind::StoreBusy,
                "the database stayed locked by another process",
                "a stopped process may hold it: continue or end it, then try again (pd doctor)",
            ),
            Some(C::DiskFull) => {
                (ErrorKind::StoreFull, "no space is left for the database", "free some disk space, then try again")
            }
            Some(C::ReadOnly) => (
                ErrorKind::StoreReadOnly,
                "the database can't be written",
                "make the file and its directory writable, or name another with PORT_DADDY_DB or --db",
            ),
            Some(C::CannotOpen) if crate::sys::out_of_descriptors() => {
                (ErrorKind::StoreIo, "the database can't be opened: too many files are open", TOO_MANY_FILES)
            }
            Some(C::PermissionDenied | C::CannotOpen | C::AuthorizationForStatementDenied) => (
                ErrorKind::StorePermission,
                "the database can't be opened",
                "check the permissions of the file and its directory, or name another with PORT_DADDY_DB or --db",
            ),
            Some(C::NotADatabase | C::DatabaseCorrupt) => (
                ErrorKind::StoreCorrupt,
                "the file isn't a sound database",
                "name another with PORT_DADDY_DB or --db, or restore it from a backup",
            ),
            Some(C::SystemIoFailure | C::FileLockingProtocolFailed | C::NoLargeFileSupport) => {
                (ErrorKind::StoreIo, "reading or writing the database failed", "check the disk, then run pd doctor")
            }
            // A value of another type or size than any version writes: somebody else did.
            None if matches!(
                e,
                rusqlite::Error::IntegralValueOutOfRange(..)
                    | rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::Utf8Error(..)
            ) =>
            {
                (
                    ErrorKind::StoreCorrupt,
                    "the database holds what port-daddy doesn't write",
                    "name another with PORT_DADDY_DB or --db, or restore it from a backup",
                )
            }
            _ => (ErrorKind::Internal, "a statement failed", "this is a bug in port-daddy; please report it"),
        };
        Error::new(kind, format!("{said}: {e}")).hint(hint).caused_by(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in ErrorKind::ALL {
            assert!(seen.insert(kind.code()), "{kind} twice");
            assert!(kind.code().chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{kind}");
        }
    }

    #[test]
    fn a_value_that_nobody_writes_is_no_bug() {
        let e: Error = rusqlite::Error::IntegralValueOutOfRange(3, -1).into();
        assert_eq!(e.kind(), ErrorKind::StoreCorrupt);
        assert_eq!(Error::from(rusqlite::Error::InvalidQuery).kind(), ErrorKind::Internal);
    }

    #[test]
    fn an_error_serializes_with_its_fields() {
        let e = Error::invalid("bad").with("value", "x").hint("do y");
        let json = serde_json::to_value(&e).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"code": "INVALID", "message": "bad", "hint": "do y", "fields": {"value": "x"}})
        );
    }
}
