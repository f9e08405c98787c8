//! A second copy of the library, with a second SQLite, for a process that has one already: `faults::traps` loads it.
#![allow(missing_docs, reason = "tests")]

use std::ffi::{CStr, c_char, c_int};
use std::path::Path;

use portdaddy_core::{Coordinator, ErrorKind, Options, Surroundings};

/// Opens the database and ends its handle without writing. 0: it was opened; 1: refused as a second copy; 2: otherwise.
///
/// # Safety
/// `db` is a path as a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn second_copy_opens(db: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    let db = Path::new(unsafe { CStr::from_ptr(db) }.to_str().expect("tests have paths of text"));
    let options = Options::default().db(db).agent("copy").cwd(db.parent().expect("a file's"));
    match Coordinator::open(options.surroundings(Surroundings::given([("", ""); 0]))) {
        Ok(pd) => {
            pd.abandon();
            0
        }
        Err(e) if e.kind() == ErrorKind::SecondCopy => 1,
        Err(_) => 2,
    }
}

/// Has the doctor look. 1: it opened nothing, as another copy has the database open; 0: it looked.
///
/// # Safety
/// `db` is a path as a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn second_copy_looks(db: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    let db = Path::new(unsafe { CStr::from_ptr(db) }.to_str().expect("tests have paths of text"));
    let options = Options::default().db(db).agent("copy").cwd(db.parent().expect("a file's"));
    let checks = portdaddy_core::doctor(options.surroundings(Surroundings::given([("", ""); 0])));
    let refused = checks.iter().any(|check| check.name == "opening" && check.detail.contains("two copies"));
    c_int::from(refused && checks.iter().all(|check| check.name != "integrity"))
}
