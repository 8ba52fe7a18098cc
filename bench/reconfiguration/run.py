#!/usr/bin/env python3
"""What it costs the clients when nodes come and go while all is well; Markdown tables come out.

    bench/reconfiguration/run.py                     nine rounds of each change, five of the copy
    bench/reconfiguration/run.py --rounds 1 --copies 0

A put is due each millisecond, beside a load that keeps the nodes busy; both go to the members that stay. The longest of the
puts, from when it was due, is the stall; the same is taken over as long a time without a change, by turns. A put that was
refused or not answered in 10 s has failed. The changes: a chain of 1 grows to 3 and 5 and shrinks to 3, and a member is
replaced by a new node.

Then the store is filled, and what the nodes write at full load is measured before and while a node is copied to.
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "conformance"))
from cluster import Cluster  # noqa: E402

NODES = 5
PROBES_PER_S = 1000
# A load beside the probes, in puts a second: what keeps the nodes busy and leaves room for the probes on a small machine.
LOAD_PER_S = 1000
WINDOW_S = 6
CHANGE_AFTER_S = 1.5
SETTLE_WAIT_S = 120
VALUE_BYTES = 16_384
COPY_WINDOW_S = 2


def chain(cluster, node):
    """What a node knows of the chain."""
    connection = http.client.HTTPConnection(cluster.endpoint(node), timeout=5)
    try:
        connection.request("GET", "/v1/chains")
        return json.loads(connection.getresponse().read())["chains"][0]
    finally:
        connection.close()


def whole(cluster, length):
    """The members, by their indexes, head first, if there are so many, and each says so and serves; or else nothing."""
    for node in filter(cluster.pid, range(cluster.nodes)):
        try:
            members = [member["node"] - 1 for member in chain(cluster, node)["members"]]
            chains = [chain(cluster, member) for member in members]
        except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
            return None
        return members if len(members) == length and all(
            [member["node"] - 1 for member in one["members"]] == members and one["joiner"] is None
            and one["own"]["serving"] and one["own"]["lease_ms"] > 0
            for one in chains
        ) else None


def settle(cluster, length):
    """Waits until there are so many members and all is well; the members."""
    deadline = time.monotonic() + SETTLE_WAIT_S
    while not (members := whole(cluster, length)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"there are not {length} members after {SETTLE_WAIT_S} s: see {cluster.home}")
        time.sleep(0.02)
    return members


def quorate(cluster, at, *words):
    subprocess.run([cluster.binary, *words, "--endpoints", cluster.endpoint(at)], check=True, stdout=subprocess.DEVNULL)


def bench(cluster, nodes, *words):
    endpoints = ",".join(cluster.endpoint(node) for node in nodes)
    command = [cluster.binary, "bench", *words, "--endpoints", endpoints, "--output", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def result_of(process):
    out, _ = process.communicate(timeout=120)
    return json.loads(out)


def failed(result):
    return sum(result["errors"].values())


def window(cluster, asked, change):
    """Probes through the nodes `asked`, with a change in between. The longest in ms, how many failed, how long it took."""
    rates = [str(PROBES_PER_S), str(LOAD_PER_S)]
    # So many clients that none of them waits for another: each put is sent when it is due.
    probes, load = (
        bench(cluster, asked, "put", "--rate", rate, "--clients", "2000", "--connections", "20",
              "--duration-s", str(WINDOW_S), "--keys", "1000")
        for rate in rates
    )
    ends = time.monotonic() + WINDOW_S
    time.sleep(CHANGE_AFTER_S)
    began = time.monotonic()
    change()
    took = time.monotonic() - began
    in_time = time.monotonic() < ends
    results = [result_of(process) for process in (probes, load)]
    if not in_time:
        print(f"a change took {took:.1f} s, longer than the probes", file=sys.stderr)
    return {
        "longest": results[0]["latency"]["write"]["max_ms"], "p99": results[0]["latency"]["write"]["p99_ms"],
        "failed": sum(map(failed, results)), "took": took,
    }


def resize(cluster, length):
    quorate(cluster, 0, "chain", "resize", str(length))
    settle(cluster, length)


def replace(cluster, old):
    """Removes a member, for whom the spare node comes, and waits until it is neither member nor node."""
    quorate(cluster, 0, "node", "remove", str(old + 1))
    deadline = time.monotonic() + SETTLE_WAIT_S
    while old in settle(cluster, 3):
        if time.monotonic() > deadline:
            raise TimeoutError(f"node {old + 1} does not leave: see {cluster.home}")


def changes(args, home, number):
    """One round: a cluster of one node and all that happens to it. Yields the name of a change and its window."""
    cluster = Cluster("quorate", home / f"round-{number}", NODES, args.base_port, args.binary, founded=1)
    try:
        cluster.up()
        for node in range(1, NODES):
            cluster.join(node)
            cluster.start(node)
        length = 1
        for then in [3, 5, 3]:
            members = settle(cluster, length)
            # The last ones leave, so that the first ones can be asked all the time.
            asked = members[: min(length, then)]
            yield f"none, {length} member{'s' if length > 1 else ''}", window(cluster, asked, lambda: None)
            yield f"{length} to {then}", window(cluster, asked, lambda then=then: resize(cluster, then))
            length = then
        members = settle(cluster, length)
        yield "the tail replaced", window(cluster, members[:-1], lambda: replace(cluster, members[-1]))
    finally:
        cluster.down()


def copies(args, home):
    """Full load before and while a node is copied to, several times. Yields both rates, failed requests, and seconds."""
    cluster = Cluster("quorate", home / "copies", 4, args.base_port, args.binary, founded=3)
    three = [0, 1, 2]
    full = ["put", "--clients", "64", "--connections", "16", "--keys", "1000"]
    try:
        cluster.up()
        keys = args.copy_bytes // VALUE_BYTES
        # A read of what is not there fills it first.
        filled = bench(cluster, three, "get", "--keys", str(keys), "--value-bytes", str(VALUE_BYTES), "--count", "1")
        result_of(filled)
        cluster.join(3)
        cluster.start(3)
        for _ in range(args.copies):
            three = settle(cluster, 3)
            before = [result_of(bench(cluster, three, *full, "--duration-s", str(COPY_WINDOW_S))) for _ in range(2)]
            began = time.monotonic()
            quorate(cluster, 0, "chain", "resize", "4")
            during = []
            while not whole(cluster, 4):
                result = result_of(bench(cluster, three, *full, "--duration-s", str(COPY_WINDOW_S)))
                during.append(result)
                if time.monotonic() - began > SETTLE_WAIT_S:
                    raise TimeoutError(f"the copy takes longer than {SETTLE_WAIT_S} s: see {cluster.home}")
            took = time.monotonic() - began
            # The last one may have outlived the copy.
            rates = [result["per_second"] for result in during[:-1] or during]
            yield {
                "before": statistics.mean(result["per_second"] for result in before),
                "during": statistics.mean(rates), "failed": sum(map(failed, during)), "took": took,
                "longest": max(result["latency"]["write"]["max_ms"] for result in during),
            }
            quorate(cluster, 0, "chain", "resize", "3")
    finally:
        cluster.down()


def median(rows, name):
    return statistics.median(row[name] for row in rows)


def table_of_changes(windows):
    lines = ["| change | times | longest put, median ms | worst ms | p99, median ms | failed | took, median s |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, rows in windows.items():
        lines.append(f"| {name} | {len(rows)} | {median(rows, 'longest'):.1f} | {max(row['longest'] for row in rows):.1f} "
                     f"| {median(rows, 'p99'):.1f} | {sum(row['failed'] for row in rows)} | {median(rows, 'took'):.2f} |")
    return "\n".join(lines)


def table_of_copies(rows, copy_bytes):
    costs = [100 * (1 - row["during"] / row["before"]) for row in rows]
    return "\n".join([
        "| copied | times | puts/s before, median | puts/s while copying, median | cost, median (least to most) | longest put, "
        "median ms | failed | took, median s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| {copy_bytes / (1 << 30):.2f} GiB | {len(rows)} | {median(rows, 'before'):.0f} | {median(rows, 'during'):.0f} "
        f"| {statistics.median(costs):.0f} % ({min(costs):.0f} to {max(costs):.0f}) | {median(rows, 'longest'):.0f} "
        f"| {sum(row['failed'] for row in rows)} | {median(rows, 'took'):.1f} |",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="how often each change is made")
    parser.add_argument("--copies", type=int, default=5, help="how often a full node is copied to")
    parser.add_argument("--copy-bytes", type=int, default=1 << 30, help="how much there is to copy")
    parser.add_argument("--binary", default="target/release/quorate", help="which also makes the load")
    parser.add_argument("--base-port", type=int, default=2579)
    parser.add_argument("--dir", type=pathlib.Path, help="where the nodes keep their files; by default a temporary folder")
    parser.add_argument("--out", type=pathlib.Path, help="a file for the tables, besides the terminal")
    args = parser.parse_args()
    home = pathlib.Path(tempfile.mkdtemp(prefix="reconfiguration-", dir=args.dir))
    windows, copied = {}, []
    try:
        for number in range(args.rounds):
            for name, result in changes(args, home, number):
                windows.setdefault(name, []).append(result)
                print(f"round {number + 1}: {name}: {result}", file=sys.stderr)
        if args.copies:
            for result in copies(args, home):
                copied.append(result)
                print(f"copy {len(copied)}: {result}", file=sys.stderr)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
    command = f"bench/reconfiguration/run.py --rounds {args.rounds} --copies {args.copies} --copy-bytes {args.copy_bytes}"
    parts = [f"Machine: {machine}. Command: `{command}`. {PROBES_PER_S} puts due a second, beside {LOAD_PER_S} others."]
    if windows:
        parts.append(table_of_changes(windows))
    if copied:
        parts.append(table_of_copies(copied, args.copy_bytes))
    text = "\n\n".join(parts) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
