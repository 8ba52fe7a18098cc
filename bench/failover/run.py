#!/usr/bin/env python3
"""How long writes stand still when a node is killed: etcd and us, by turns, on one machine; a Markdown table comes out.

    bench/failover/run.py --rounds 50                            every victim 50 times, three nodes each
    bench/failover/run.py --rounds 2 --only etcd                 one of them, to check the rig

Writes are due at a fixed rate and go to the nodes that survive, each by its own client, so none waits for another. A node
is killed (SIGKILL) in the middle. A write's time counts from when it was due: the longest of them is how long nothing was
written, as a client sees it. A write that was refused, or not answered in 10 s, has failed. The victim is started again,
and the next is killed when all nodes serve.
"""

import argparse
import http.client
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "conformance"))
from cluster import Cluster  # noqa: E402

RATE = 500
SECONDS = 4
KILL_AFTER_S = 1.5
SETTLE_WAIT_S = 60


def get(endpoint, path, body=None):
    """What an endpoint answers in JSON."""
    connection = http.client.HTTPConnection(endpoint, timeout=5)
    try:
        connection.request("POST" if body else "GET", path, body)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def etcd_victims(cluster):
    """Which node is what, counted from 0."""
    ids = {}
    for node in range(cluster.nodes):
        status = get(cluster.endpoint(node), "/v3/maintenance/status", "{}")
        ids[status["header"]["member_id"]] = node
    leader = ids[status["leader"]]
    return {"leader": leader, "follower": (leader + 1) % cluster.nodes}


def quorate_victims(cluster):
    chain = get(cluster.endpoint(0), "/v1/chains")["chains"][0]
    members = [member["node"] - 1 for member in chain["members"]]
    return {"head": members[0], "middle": members[1], "tail": members[-1], "swami": chain["swami"] - 1}


def is_whole(cluster):
    """Whether all nodes take part again."""
    try:
        if cluster.kind == "etcd":
            return all(cluster.serves(node) for node in range(cluster.nodes)) and bool(etcd_victims(cluster))
        chains = [get(cluster.endpoint(node), "/v1/chains")["chains"][0] for node in range(cluster.nodes)]
        return all(len(chain["members"]) == cluster.nodes and chain["swami"] for chain in chains)
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return False


def settle(cluster):
    deadline = time.monotonic() + SETTLE_WAIT_S
    while not is_whole(cluster):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{cluster.kind} is not whole {SETTLE_WAIT_S} s after a node came back: see {cluster.home}")
        time.sleep(0.05)


def kill_one(cluster, load, role):
    """Kills the node that has the role, under load. The longest wait in ms, and how many writes failed."""
    victims = quorate_victims(cluster) if cluster.kind == "quorate" else etcd_victims(cluster)
    victim = victims[role]
    survivors = ",".join(cluster.endpoint(node) for node in range(cluster.nodes) if node != victim)
    command = [load, "bench", "put", "--endpoints", survivors, "--clients", "2000", "--connections", "20",
               "--rate", str(RATE), "--duration-s", str(SECONDS), "--output", "json"]
    bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(KILL_AFTER_S)
    cluster.kill(victim)
    result = json.loads(bench.communicate(timeout=60)[0])
    cluster.start(victim)
    settle(cluster)
    return result["latency"]["write"]["max_ms"], sum(result["errors"].values())


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(waits):
    lines = ["| system | killed | times | p50 ms | p99 ms | longest ms | failed writes |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for (kind, role), results in sorted(waits.items()):
        times = [wait for wait, _ in results]
        lines.append(f"| {kind} | {role} | {len(times)} | {statistics.median(times):.0f} | {percentile(times, 0.99):.0f} "
                     f"| {max(times):.0f} | {sum(failed for _, failed in results)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="how often each role is killed")
    parser.add_argument("--only", choices=["etcd", "quorate"])
    parser.add_argument("--binary", default="target/release/quorate", help="ours, which also makes the load")
    parser.add_argument("--base-port", type=int, default=2479)
    parser.add_argument("--out", type=pathlib.Path, help="a file for the table, besides the terminal")
    args = parser.parse_args()
    roles = {"etcd": ["leader", "follower"], "quorate": ["head", "middle", "tail", "swami"]}
    waits = {}
    with tempfile.TemporaryDirectory(prefix="failover-") as home:
        clusters = {
            kind: Cluster(kind, pathlib.Path(home) / kind, base=args.base_port + 100 * at,
                          binary=args.binary if kind == "quorate" else None)
            for at, kind in enumerate(roles) if args.only in (None, kind)
        }
        try:
            for cluster in clusters.values():
                cluster.up()
                settle(cluster)
            for number in range(args.rounds):
                for kind, cluster in clusters.items():
                    for role in roles[kind]:
                        waits.setdefault((kind, role), []).append(kill_one(cluster, args.binary, role))
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        finally:
            for cluster in clusters.values():
                cluster.down()
    text = table(waits)
    print(text)
    if args.out:
        command = f"bench/failover/run.py --rounds {args.rounds}"
        args.out.write_text(f"Command: `{command}`; {RATE} writes due a second.\n\n{text}\n")


if __name__ == "__main__":
    main()
