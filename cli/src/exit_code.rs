//! What a command tells the shell by its exit code.

use portdaddy_core::{Error, ErrorClass};

/// 0 done, 1 no, 2 usage, 3 refused, 4 timed out, 5 deadlock, 6 store, 70 a bug, 130 interrupted; or a child's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

pub(crate) const DONE: Exit = Exit(0);
pub(crate) const NO: Exit = Exit(1);
pub(crate) const USAGE: Exit = Exit(2);
/// What shells say of a command that isn't there.
pub(crate) const NOT_STARTED: Exit = Exit(127);
pub(crate) const BUG: Exit = Exit(70);

impl Exit {
    /// The number of the error's class.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind().class() {
            ErrorClass::No => NO,
            ErrorClass::Usage => USAGE,
            ErrorClass::Refused => Self(3),
            ErrorClass::TimedOut => Self(4),
            ErrorClass::Deadlock => Self(5),
            ErrorClass::Store => Self(6),
            ErrorClass::Interrupted => Self(130),
            _ => BUG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portdaddy_core::ErrorKind;

    #[test]
    fn every_kind_of_error_exits_with_the_number_of_its_class() {
        for kind in ErrorKind::ALL {
            let exit = Exit::of(&Error::new(*kind, "x"));
            assert_eq!(i32::from(exit.0), kind.class() as i32, "{kind}");
        }
    }
}
