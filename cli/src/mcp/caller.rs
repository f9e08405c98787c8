//! Who calls through the server: the agent whose harness started it, the same that its hooks and its shell's `pd` are.
//!
//! Each call opens the library as a command does and closes it again. So it is the agent's processes that prove the
//! agent's life and not this server, whose end means nothing; and a harness that begins another session in the same
//! process is another agent from its next call on. Where nothing around the server says who calls, the server itself is
//! an agent, which lives as long as it does.

use std::sync::{Mutex, PoisonError};

use portdaddy_core::{Coordinator, Error, Face, Options, Source};

/// Opens the library for a call.
pub(crate) struct Caller {
    options: Box<dyn Fn() -> Options + Send + Sync>,
    own: Mutex<Option<Coordinator>>,
}

impl Caller {
    pub(crate) fn new(options: impl Fn() -> Options + Send + Sync + 'static) -> Self {
        Self { options: Box::new(options), own: Mutex::new(None) }
    }

    pub(super) fn open(&self) -> Result<Coordinator, Error> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pd) = &*own {
            return Ok(pd.clone());
        }
        let pd = Coordinator::open((self.options)())?;
        match pd.caller().source {
            Source::Nobody => {
                drop(pd);
                let pd = Coordinator::open((self.options)().face(Face::Library))?;
                Ok(own.insert(pd).clone())
            }
            // Harnesses tell their session to hooks and shells, and not always to servers.
            Source::HarnessProcess => match pd.harness_agent()? {
                Some(id) => Coordinator::open((self.options)().agent(id)),
                None => Ok(pd),
            },
            _ => Ok(pd),
        }
    }
}
