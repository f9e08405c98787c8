//! Before an edit: the file is claimed, and the agent learns whose it is besides.

use std::path::Path;

use portdaddy_core::Error;

use super::words::{self, Budget};
use super::{Answer, Hook};

/// Characters about one edit.
const MOST: usize = 1_000;

impl Hook<'_> {
    pub(super) fn before_edit(&self, path: &str) -> Result<Answer, Error> {
        let edit = self.pd.begin_edit(Path::new(path), self.policy.strict, &self.input.purpose())?;
        let mut answer = Answer::default();
        let denied = !edit.claimed;
        let mut said = Budget::new(MOST);
        if let Some(written) = &edit.stale {
            said.line(&words::stale(&edit.path, written));
        }
        // Why it is denied is said each time.
        let others = || edit.others.iter().filter(|other| other.is_news || (denied && other.lives()));
        let count = others().count();
        let told = others().take_while(|other| said.line(&words::conflict(&edit, other))).count();
        let told = if said.rest(count - told, "pd who-owns lists them") { count } else { told };
        answer.told.extend(others().take(told).map(|other| other.to_tell.clone()));
        let text = said.text();
        if text.is_empty() {
            return Ok(answer);
        }
        if self.policy.strict && (denied || edit.stale.is_some()) {
            answer.decision = Some(("deny", text));
        } else {
            answer.context.push(text);
        }
        Ok(answer)
    }
}
