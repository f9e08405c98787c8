//! The only door to the database.

mod gate;
