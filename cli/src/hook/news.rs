//! What happened meanwhile: told with whatever event comes next, once.

use portdaddy_core::{Error, NewsFilter, Registration};

use super::words::{self, Budget};
use super::{Answer, Hook};

/// Characters about what happened meanwhile, besides messages to the agent.
const MOST: usize = 1_000;
/// Messages to the agent are shown whole as far as this goes.
const MESSAGES: usize = 8_000;
/// At the end of a turn, signals alone don't make the agent go on more often than this.
const BETWEEN_STOPS_MS: i64 = 10 * 60 * 1000;
/// So much of a prompt says what a session is for.
const PURPOSE: usize = 120;

impl Hook<'_> {
    /// A prompt: all that is new. It also says what the session is for, if nothing did yet.
    pub(super) fn prompt(&self) -> Result<Answer, Error> {
        if let Some(purpose) = self.input.prompt.as_deref().and_then(first_line) {
            self.pd.describe_session(&self.input.purpose(), &purpose)?;
        }
        let mut answer = Answer::default();
        self.tell(
            NewsFilter { overlaps: true, messages: true, signals: Some(0), left_work: true, again: false },
            &mut answer,
        )?;
        Ok(answer)
    }

    /// In the middle of a turn: what concerns this agent alone.
    pub(super) fn meanwhile(&self, answer: &mut Answer) -> Result<(), Error> {
        self.tell(NewsFilter { overlaps: true, messages: true, ..NewsFilter::default() }, answer)
    }

    /// The end of a turn. Context makes the agent go on, so there is none while it goes on because of a hook.
    pub(super) fn stop(&self) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        if !self.pd.afterwards()? && !self.input.stop_hook_active {
            let signals = Some(BETWEEN_STOPS_MS);
            let filter = NewsFilter { overlaps: true, messages: true, signals, ..NewsFilter::default() };
            self.tell(filter, &mut answer)?;
        }
        Ok(answer)
    }

    /// A sub-agent comes to be. Most only read, and are told nothing: the context of each would be paid for.
    pub(super) fn sub_agent_start(&self) -> Result<Answer, Error> {
        if self.input.agent_id.is_some() {
            let name = self.input.agent_type.clone().filter(|name| !name.trim().is_empty());
            self.pd.register_agent(&Registration { name, ..Registration::default() })?;
        }
        Ok(Answer::default())
    }

    /// A sub-agent's work ends. If it goes on because of what it is told here, its next edit opens another session.
    pub(super) fn sub_agent_stop(&self) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        // Its parent's end may have ended it already.
        if self.input.agent_id.is_none() || self.pd.afterwards()? {
            return Ok(answer);
        }
        if !self.input.stop_hook_active {
            self.tell(NewsFilter { messages: true, ..NewsFilter::default() }, &mut answer)?;
        }
        self.pd.leave()?;
        Ok(answer)
    }

    fn tell(&self, filter: NewsFilter, answer: &mut Answer) -> Result<(), Error> {
        let news = self.pd.news(&filter)?;
        let mut said = Budget::new(MESSAGES);
        words::messages(&mut said, &news, answer, true);
        said.further(MOST);
        let overlaps = words::overlaps(&mut said, &news.overlaps);
        let left_work = words::left_work(&mut said, &news.left_work);
        let signals = words::signals(&mut said, &news.signals);
        // What found no room is told the next time.
        answer.told.extend(news.to_tell_of(overlaps, left_work, signals));
        let text = said.text();
        if !text.is_empty() {
            answer.context.push(text);
        }
        Ok(())
    }
}

/// The first line of a prompt that says something.
fn first_line(prompt: &str) -> Option<String> {
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['/', '<']))?;
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(words::shortened(&line, PURPOSE))
}
