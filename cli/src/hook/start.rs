//! The beginning of a session: who the agent is, and who and what is there.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use portdaddy_core::{Error, NewsFilter};

use super::words::{self, Budget};
use super::{Answer, Hook};

/// Characters in all.
const MOST: usize = 1_500;
/// Of which colleagues, and what comes before them.
const BEFORE_SIGNALS: usize = 1_100;
/// So much of an environment file is looked through for the line that is to be there.
const LOOKED_THROUGH: u64 = 64 << 10;

impl Hook<'_> {
    pub(super) fn session_start(&self) -> Result<Answer, Error> {
        let arrival = self.pd.arrive(&self.input.purpose())?;
        let mut answer = Answer::default();
        // A sub-agent's commands run in its parent's environment.
        if self.input.agent_id.is_none()
            && let Some(file) = std::env::var_os("CLAUDE_ENV_FILE").filter(|file| !file.is_empty())
            && let Err(e) = export(Path::new(&file), &arrival.agent)
        {
            answer.troubles.push(format!("CLAUDE_ENV_FILE can't be written: {e}"));
        }
        let filter = NewsFilter { overlaps: true, messages: true, signals: Some(0), left_work: true, again: true };
        let news = self.pd.news(&filter)?;
        let colleagues = self.pd.colleagues()?;
        let mut said = Budget::new(BEFORE_SIGNALS);
        self.pd.take_notices().iter().for_each(|notice| {
            said.line(&words::notice(notice));
        });
        // What is too long waits for the first prompt.
        words::messages(&mut said, &news, &mut answer, false);
        let overlaps = words::overlaps(&mut said, &news.overlaps);
        let left_work = words::left_work(&mut said, &news.left_work);
        words::colleagues(&mut said, &colleagues);
        said.up_to(MOST);
        let signals = words::signals(&mut said, &news.signals);
        answer.told = news.to_tell_of(overlaps, left_work, signals);
        let text = said.text();
        if !text.is_empty() {
            answer.context.push(text);
        }
        Ok(answer)
    }
}

/// Has later commands of the harness's shell call as this agent.
fn export(file: &Path, agent: &str) -> std::io::Result<()> {
    if file.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(file)?;
    // An agent's id has no quotes.
    let line = format!("export PORT_DADDY_AGENT='{agent}'");
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOKED_THROUGH)))?;
    let mut end = Vec::new();
    (&file).take(LOOKED_THROUGH).read_to_end(&mut end)?;
    let mut exported = end.split(|b| *b == b'\n').filter(|l| l.starts_with(b"export PORT_DADDY_AGENT="));
    if exported.next_back().is_some_and(|last| last == line.as_bytes()) {
        return Ok(());
    }
    let separator = if end.is_empty() || end.ends_with(b"\n") { "" } else { "\n" };
    // One write: another hook may append at the same time.
    file.write_all(format!("{separator}{line}\n").as_bytes())
}
