"""The Python face of the storm: reads a call a line, writes an answer a line. `python face.py DB AGENT`"""

import json
import os
import sys

from port_daddy import PortDaddy, PortDaddyError

db, agent = sys.argv[1:]
PATIENCE = float(os.environ.get("STORM_PATIENCE_MS", 10_000)) / 1000
BATCH = 32
PORTS = (42_000, 42_023)
pd = PortDaddy(agent, db=db, scope="storm")
held = {}
subscription = None


def receive(position):
    global subscription
    if subscription is None:
        subscription = pd.subscribe("storm:*", replay="all", durable=position)
    got = []
    wait = 0.02
    while len(got) < BATCH:
        delivery = subscription.next(timeout=wait)
        if delivery is None:
            break
        got.append([delivery.seq, delivery.payload])
        wait = 0
    warned = [text for text in pd.take_notices() if "removed" in text]
    return {"messages": {"got": got, "acked": None, "maybe": None, "warned": warned}}


def lock(name, wait, ttl_ms):
    ttl = None if ttl_ms is None else ttl_ms / 1000
    taken = pd.lock(name, blocking=wait, timeout=PATIENCE if wait else None, ttl=ttl)
    if taken is None:
        return "no"
    held[name] = taken
    return {"granted": taken.token}


def unlock(name, token, lazy):
    taken = held.pop(name, None)
    if taken is None:
        return "no"
    taken.release()
    return "done"


def look(name):
    info = pd.lock_info(name)
    if info is None:
        return {"held": {"holder": None, "waiters": []}}
    return {"held": {"holder": [info.agent, info.token], "waiters": [w.agent for w in info.waiters]}}


def ack(position, seq):
    if subscription is None:
        return "no"
    subscription.ack(seq)
    return "done"


def overlap(conflict):
    return {"pattern": conflict.pattern, "session": conflict.with_.session, "agent": conflict.with_.agent}


def claim(session, files, force):
    done = pd.claim_files(files, force=force, session=session)
    return {
        "claimed": {
            "claimed": [c.pattern for c in done.claimed],
            "conflicts": [overlap(c) for c in done.conflicts],
            "dead": [overlap(c) for c in done.dead_overlaps],
        }
    }


def ended(session):
    pd.end_session(session=session)
    return "done"


def drop(session):
    pd.release_files(session=session)
    return "done"


def salvage(agent):
    pd.salvage_claim(agent)
    return "done"


CALLS = {
    "lock": lock,
    "unlock": unlock,
    "look": look,
    "publish": lambda channel, id: {"at": pd.publish(channel, id).seq},
    "receive": receive,
    "never": lambda ms: pd.wait_for_signal("never:published", timeout=ms / 1000),
    "ack": ack,
    "note": lambda text: {"at": pd.note(text).note.seq},
    "start": lambda: {"session": pd.start_session("a storm").session.id},
    "end": ended,
    "claim": claim,
    "drop": drop,
    "port": lambda identity: {"ports": [pd.claim(identity, range=PORTS).port]},
    "give_up": lambda identity: {"ports": [c.port for c in pd.release(identity)]},
    "dead": lambda: {"agents": [item.agent for item in pd.salvage().items]},
    "salvage": salvage,
}

with pd:
    for line in sys.stdin:
        call = json.loads(line)
        name, args = (call, {}) if isinstance(call, str) else next(iter(call.items()))
        try:
            answer = CALLS[name](**args)
        except PortDaddyError as error:
            answer = {"failed": error.code}
        print(json.dumps(answer), flush=True)
