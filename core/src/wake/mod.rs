//! Waking.
