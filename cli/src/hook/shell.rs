//! Before a shell command: what git in it would destroy of others' work.

use portdaddy_core::{Danger, Error};

use super::{Answer, Git, Hook, words};

impl Hook<'_> {
    pub(super) fn before_command(&self, command: &str) -> Result<Answer, Error> {
        Ok(self.pd.guard(command)?.map_or_else(Answer::default, |danger| warned(&danger, self.policy.git)))
    }
}

fn warned(danger: &Danger, policy: Git) -> Answer {
    let text = words::lines(&danger.text);
    // What only gets into a commit is not lost: that is told, and one step less is done about it.
    let policy = match (danger.destroys, policy) {
        (true, policy) => policy,
        (false, Git::Deny) => Git::Ask,
        (false, Git::Ask | Git::Allow) => Git::Allow,
    };
    let (decision, context) = match policy {
        // The reason of a question is for the person: the agent learns it, too.
        Git::Ask => (Some(("ask", text.clone())), vec![text]),
        Git::Deny => (Some(("deny", text)), Vec::new()),
        Git::Allow => (None, vec![text]),
    };
    Answer { context, decision, ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides_what_becomes_of_a_danger_and_never_allows() {
        let text = "git reset --hard would undo\nthe work of \u{1b}[31mapi".to_owned();
        let danger = |destroys| Danger {
            command: "git reset --hard".into(),
            destroys,
            peers: Vec::new(),
            snapshot: None,
            text: text.clone(),
        };
        let said = "git reset --hard would undo\nthe work of \\x1b[31mapi".to_owned();
        for (policy, decision, context) in [
            (Git::Ask, Some(("ask", said.clone())), vec![said.clone()]),
            (Git::Deny, Some(("deny", said.clone())), vec![]),
            (Git::Allow, None, vec![said.clone()]),
        ] {
            let answer = warned(&danger(true), policy);
            assert_eq!((answer.decision, answer.context), (decision, context), "{policy:?}");
        }
        for (policy, decision) in [(Git::Ask, None), (Git::Deny, Some("ask")), (Git::Allow, None)] {
            let answer = warned(&danger(false), policy);
            assert_eq!((answer.decision.map(|d| d.0), answer.context), (decision, vec![said.clone()]), "{policy:?}");
        }
    }
}
