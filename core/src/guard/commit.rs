//! Before a commit: which staged files another agent wrote last.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::agents::{AgentState, Names, state_of};
use crate::coordinator::Coordinator;
use crate::error::Result;
use crate::git::{Call, Git};
use crate::seen::last_writers;
use crate::snapshots::{no_answer, path_of};

const LIMIT: Duration = Duration::from_secs(4);
const MOST_SAID: u64 = 16 << 20;

/// What a commit would hold.
#[derive(Clone, Debug, Serialize)]
pub struct CommitCheck {
    /// Staged files that another agent wrote last.
    pub of_others: Vec<StagedByOther>,
    /// The other staged files, from the working tree's root.
    pub rest: Vec<String>,
}

/// A staged file that another agent wrote last.
#[derive(Clone, Debug, Serialize)]
pub struct StagedByOther {
    /// From the working tree's root.
    pub path: String,
    /// Who wrote it last.
    pub agent: String,
    /// The agent's name for people, else its id.
    pub agent_name: String,
    /// How the agent is doing.
    pub state: AgentState,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: i64,
}

impl StagedByOther {
    /// Whether whoever wrote it may still be at it.
    pub fn lives(&self) -> bool {
        matches!(self.state, AgentState::Active | AgentState::Stale)
    }
}

impl Coordinator {
    /// What is staged in the working tree, and which of it another agent wrote last. `index` is the index that git would
    /// commit from, where that isn't the working tree's own.
    ///
    /// # Errors
    /// `INVALID` outside a working tree, or where git can't be asked; `STORE_*`.
    pub fn commit_check(&self, index: Option<&Path>) -> Result<CommitCheck> {
        let repository = self.inner.repository()?;
        let git = Git::within(&repository.worktree, LIMIT);
        let staged = staged(&git, index).map_err(|problem| no_answer(repository, &problem))?;
        let me = self.inner.caller.agent.as_deref().unwrap_or_default();
        let root = repository.worktree.display().to_string();
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        self.inner.db.read(|conn| {
            let mut check = CommitCheck { of_others: Vec::new(), rest: Vec::new() };
            let writers = last_writers(conn, &root)?;
            let mut names = Names::default();
            for path in staged {
                let absolute = repository.worktree.join(path_of(&path)).display().to_string();
                let path = String::from_utf8_lossy(&path).into_owned();
                match writers.iter().find(|(written, agent, ..)| *written == absolute && agent != me) {
                    None => check.rest.push(path),
                    Some((_, agent, _, at_ms)) => check.of_others.push(StagedByOther {
                        path,
                        agent: agent.clone(),
                        agent_name: names.of(conn, agent)?,
                        state: state_of(conn, agent, now, &*inputs.liveness)?,
                        at_ms: *at_ms,
                    }),
                }
            }
            Ok(check)
        })
    }
}

fn staged(git: &Git<'_>, index: Option<&Path>) -> Result<Vec<Vec<u8>>, String> {
    let head =
        git.word(Call { args: &["rev-parse", "-q", "--verify", "HEAD^{commit}"], also: 1, ..Call::default() })?;
    let args = match head.as_str() {
        "" => vec!["ls-files", "-z"],
        head => vec!["diff-index", "--cached", "--name-only", "-z", "--no-renames", "--no-ext-diff", head, "--"],
    };
    let said = git.bytes(Call { args: &args, index, most: MOST_SAID, ..Call::default() })?;
    Ok(said.split(|b| *b == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
}
