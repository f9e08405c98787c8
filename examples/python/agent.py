#!/usr/bin/env python3
"""The Python agent of `examples/polyglot.sh`, which says what the three agents do."""

from port_daddy import PortDaddy

with PortDaddy("python") as pd:
    pd.begin("Building the API", name="Python agent", type="ai")
    pd.publish("built:python", {"part": "the API"})
    for other in ("node", "shell"):
        print("python: received", pd.wait_for_signal(f"built:{other}", timeout=60), flush=True)

    for turn in ("python", "node", "shell"):
        if turn == "python":
            with pd.lock("deploy", timeout=60) as lock:
                pd.note(f"Deploying the API with token {lock.token}", type="commit")
                pd.publish("deploying:python", True)
                for other in ("node", "shell"):
                    pd.wait_for_signal(f"refused:python:{other}", timeout=60)
        else:
            pd.wait_for_signal(f"deploying:{turn}", timeout=60)
            if pd.lock("deploy", blocking=False) is not None:
                raise SystemExit("two held the lock at once")
            holder = pd.lock_info("deploy")
            assert holder is not None
            print(f"python: deploy is held by {holder.agent_name}: {holder.purpose}", flush=True)
            pd.publish(f"refused:{turn}:python", True)
    pd.done("Deployed")
