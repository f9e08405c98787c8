//! Messages to one agent.

use portdaddy_core::StreamSource;

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "send",
        run: Run::Now(|pd, a| {
            let (agent, text): (String, String) = (a.value("agent")?, a.value("text")?);
            json(&pd.send(&agent, &text)?)
        }),
    },
    Operation { name: "inbox", run: Run::Now(|pd, _| json(&pd.inbox()?)) },
    Operation { name: "inboxShown", run: Run::Now(|pd, a| json(&pd.inbox_shown(a.value("seq")?)?)) },
    Operation { name: "directMessages", run: Run::Now(|pd, a| json(&pd.direct_messages(&a.options()?)?)) },
    Operation {
        name: "followInbox",
        run: Run::Client(|client, a| {
            let pd = client.coordinator()?;
            client.streams.open(&pd, a, |a| {
                a.options::<NoOptions>()?;
                Ok(StreamSource::Inbox(Box::new(pd.follow_inbox_from()?)))
            })
        }),
    },
];

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NoOptions {}
