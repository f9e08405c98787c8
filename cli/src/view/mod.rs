//! One picture of everything, drawn on a terminal by `pd top` and printed by `pd status`.
//!
//! `model` makes panes of rows out of what the library has read in one snapshot; `screen` draws them, whatever the size;
//! `text` prints them. `live` is the terminal's life: keys, changes, signals.

pub(crate) mod live;
pub(crate) mod model;
pub(crate) mod screen;
pub(crate) mod text;
mod tty;
