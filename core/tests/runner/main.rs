//! The tests of the library's operations on real files, one module per concept.

mod files;
mod notes;
mod sessions;
