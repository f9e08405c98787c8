"""A strict program that uses every operation, for a type checker: it is not run. What an operation gives is assigned to a name
of the type that it must have, so that a wrong declaration, or a missing one, is an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

import port_daddy as p
from port_daddy import AsyncPortDaddy, PortDaddy


def everything(pd: PortDaddy) -> None:
    agent: p.Agent = pd.register_agent(name="A", identity="a:b", purpose="x", type="ai")
    agent = pd.heartbeat()
    agent = pd.agent(agent.id)
    agents: p.AgentList = pd.agents(all=True, project="a", left=True)
    begun: p.StartedSession = pd.begin("x", name="A", identity="a", type="ai", files=[Path("a")], force=True, phase="p")
    session: p.Session = pd.done("note")
    whoami: p.Whoami = pd.whoami()
    begun = pd.start_session("x", files="a", force=False, phase=None, identity=None)
    session = pd.end_session("note", session=session.id, status="abandoned")
    sessions: p.SessionList = pd.sessions(all=True, status="active", agent="a", project="a", limit=5)
    detail: p.SessionDetail = pd.session(id="x")
    session = pd.set_phase("p", session="x")
    written: p.WrittenNote = pd.note("x", type="commit", session="x")
    since = datetime.now(timezone.utc) - timedelta(hours=1)
    notes: p.NoteList = pd.notes(limit=5, since=since, grep="x", all=False, after_seq=5)
    followed: p.Follow[p.Note] = pd.follow_notes(type="x", timeout=timedelta(seconds=1))
    for note in followed:
        at: datetime = note.at
        print(at)
    claimed: p.ClaimedFiles = pd.claim_files(["a", Path("b")], force=True)
    released: tuple[p.FileClaim, ...] = pd.release_files("a")
    claims: p.ClaimList = pd.file_claims(all=True)
    owners: p.Ownership = pd.who_owns(Path("a"))
    published: p.Published = pd.publish("a", {"x": [1, None]}, ttl=timedelta(hours=1), keep=5)
    with pd.subscribe(["a", "b:*"], timeout=1, replay=5, durable="x", on_warning=print) as subscription:
        for message in subscription:
            channel: str = message.channel
            age: timedelta = message.age
            subscription.ack(message)
            print(channel, age)
        maybe: p.Delivery | None = subscription.next(timeout=1)
    payload: p.Json = pd.wait_for_signal("a", timeout=1.5)
    messages: tuple[p.Message, ...] = pd.messages("a", after_seq=1, limit=5, all=True)
    sent: p.Sent = pd.send("a", "x")
    unseen: tuple[p.DirectMessage, ...] = pd.inbox()
    pd.inbox_shown(sent.message.seq)
    unseen = pd.direct_messages(limit=5)
    seqs: list[int] = [direct.seq for direct in unseen]
    for direct in pd.follow_inbox(timeout=1):
        seqs.append(direct.seq)
    channels: p.ChannelList = pd.channels("a", all=True)
    count: int = pd.clear_channel("a")
    lock: p.Lock = pd.lock(
        "m", timeout=1, ttl=timedelta(minutes=1), purpose="x", on_wait=lambda info: print(info.agent)
    )
    held: p.Lock | None = pd.lock("m", blocking=False)
    with pd.lock("m") as entered:
        info: p.LockInfo = entered.extend(5)
        info = entered.info()
    with pd.with_lock("m") as entered:
        token: int = entered.token
    result: str = pd.with_lock("m", str)
    info = pd.unlock("m", force=True, token=lock.token)
    info = pd.extend_lock("m", 5, token=5)
    locks: p.LockList = pd.locks(all=True)
    looked: p.LockInfo | None = pd.lock_info("m")
    port: p.PortClaim = pd.claim("a:b", port=5, range=(1, 2), shared=True)
    ports: tuple[p.PortClaim, ...] = pd.release("a:*", shared=True, all_worktrees=True)
    services: p.ServiceList = pd.services("a", all=True)
    ports = pd.wait_for_service("a", timeout=5)
    left: p.SalvageList = pd.salvage(project="a", all=True)
    briefing: p.Briefing = pd.salvage_claim("a")
    item: p.SalvageItem = pd.salvage_complete("a", "note")
    item = pd.salvage_abandon("a")
    item = pd.salvage_dismiss("a")
    log: p.ActivityList = pd.activity(limit=5, type="lock.", agent="a", since=since, all=True, after_seq=5)
    entries: p.Follow[p.Activity] = pd.follow_activity(type="x", timeout=1)
    status: p.Status = pd.status()
    checks: tuple[p.Check, ...] = pd.doctor()
    made: p.BackupMade = pd.backup("copy", force=True)
    restored: p.Restored = pd.restore("copy", force=True, keep=False)
    texts: list[str] = pd.take_notices()
    print(made, restored)
    agent = pd.unregister_agent()
    with pd.session("x", files=["a"]) as block:
        written = block.note("x", type="y")
        claimed = block.claim_files("a")
        session = block.end("z")
    state: Literal["active", "stale", "dead", "left"] = agent.state
    plain: dict[str, object] = agent.to_dict()
    other: p.Agent = agent.replace(name="x")
    pd.abandon()
    pd.close()
    print(
        agents,
        begun,
        whoami,
        sessions,
        detail,
        notes,
        released,
        claims,
        owners,
        published,
        maybe,
        payload,
        messages,
        texts,
    )
    print(
        channels,
        count,
        held,
        info,
        token,
        result,
        locks,
        looked,
        port,
        ports,
        services,
        left,
        briefing,
        item,
        log,
        entries,
    )
    print(status, checks, state, plain, other, written, claimed, session)


@PortDaddy().with_lock("m")
def decorated(number: int) -> str:
    return str(number)


kept: Callable[[int], str] = decorated


async def asynchronously() -> None:
    async with AsyncPortDaddy("a", db=Path("x"), scope="s", on_notice=print) as pd:
        agent: p.Agent = await pd.register_agent()
        written: p.WrittenNote = await pd.note("x")
        async with pd.session("x", files=["a"]) as block:
            written = await block.note("x")
        detail: p.SessionDetail = await pd.session(id="x")
        async for note in pd.follow_notes(timeout=1):
            print(note.text)
        async for direct in pd.follow_inbox(timeout=1):
            await pd.inbox_shown(direct.seq)
        async with pd.subscribe("a", timeout=1) as subscription:
            async for message in subscription:
                await subscription.ack(message.seq)
            maybe: p.Delivery | None = await subscription.next(timeout=1)
        lock: p.AsyncLock = await pd.lock("m")
        held: p.AsyncLock | None = await pd.lock("m", blocking=False)
        async with pd.lock("m") as entered:
            info: p.LockInfo = await entered.info()
        async with pd.with_lock("m") as entered:
            await entered.extend(5)

        async def work(token: int) -> str:
            return str(token)

        result: str = await pd.with_lock("m", work)
        work_again: Callable[[int], Awaitable[str]] = pd.with_lock("m")(work)
        payload: p.Json = await pd.wait_for_signal("a", timeout=1)
        checks: tuple[p.Check, ...] = await pd.doctor()
        await lock.release()
        print(agent, written, detail, maybe, held, info, result, payload, checks, work_again)
    await pd.close()


def kinds(error: p.PortDaddyError) -> None:
    code: str = error.code
    fields: dict[str, object] = error.fields
    hint: str | None = error.hint
    if isinstance(error, p.TimedOutError):
        builtin: TimeoutError = error
        print(builtin)
    print(code, fields, hint)
