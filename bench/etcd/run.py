#!/usr/bin/env python3
"""The same load on etcd and on us, by turns, on one machine; a Markdown table comes out.

    bench/etcd/run.py --rounds 4 --seconds 4                     both, three nodes each
    bench/etcd/run.py --only etcd --etcd PATH/etcd               one of them, to check the rig
    bench/etcd/run.py --scenarios put-64,get-1000 --no-scaling

A round starts a fresh cluster, puts each load on it in turn, and stops it; rounds alternate between the systems (ABAB), so
that what else the machine does falls on both. Both write to disk before they answer, to the same folder. Figures are the
median of the rounds, with the least and the greatest. Server CPU is user and system time of all nodes together.

The load generator shares the cores with the nodes, so operations a second compare systems on this machine only; CPU for an
operation is the figure that carries over. `--scaling` holds each node to a fraction of a core by a cgroup, so that more
nodes are more machine: it shows whether reads scale.
"""

import argparse
import collections
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

TICKS = os.sysconf("SC_CLK_TCK")
CGROUP = pathlib.Path("/sys/fs/cgroup/cpu")
QUOTA_PERCENT = 15

# Name, what it is, the arguments of `quorate bench`. `fill` is last: it leaves the store full.
SCENARIOS = [
    ("put-1", "put, 1 client", ["put", "--clients", "1"]),
    ("put-16", "put, 16 clients", ["put", "--clients", "16"]),
    ("put-64", "put, 64 clients", ["put", "--clients", "64"]),
    ("put-1000", "put, 1,000 clients, 100 connections", ["put", "--clients", "1000", "--connections", "100"]),
    ("get-1", "linearizable get, 1 client", ["get", "--clients", "1"]),
    ("get-16", "linearizable get, 16 clients", ["get", "--clients", "16"]),
    ("get-64", "linearizable get, 64 clients", ["get", "--clients", "64"]),
    ("get-1000", "linearizable get, 1,000 clients", ["get", "--clients", "1000", "--connections", "100"]),
    ("get-s-1000", "serializable get, 1,000 clients",
     ["get", "--serializable", "--clients", "1000", "--connections", "100"]),
    ("cas-64", "compare-and-set of 1,000 keys, 64 clients", ["cas", "--keys", "1000", "--clients", "64"]),
    ("range-16", "linearizable range of 100 keys, 16 clients", ["range", "--clients", "16"]),
    ("mixed-64", "10 % puts, 90 % gets, 64 clients", ["mixed", "--clients", "64"]),
    ("mixed-open", "the same, 1,000 due a second", ["mixed", "--clients", "256", "--rate", "1000"]),
    ("watch-1", "one watcher of 200 puts a second", ["watch", "--clients", "1", "--connections", "1"]),
    ("watch-16", "16 watchers of 200 puts a second", ["watch", "--clients", "16", "--rate", "200"]),
    ("watch-64", "64 watchers of 200 puts a second", ["watch", "--clients", "64", "--rate", "200"]),
    ("watch-1000", "1,000 watchers of 20 puts a second",
     ["watch", "--clients", "1000", "--connections", "50", "--rate", "20"]),
]
FILL = ("fill", "each key once, 64 clients", ["fill", "--clients", "64", "--key-bytes", "64", "--value-bytes", "256"])

Sample = collections.namedtuple("Sample", "per_second p50 p99 server_us client_us errors")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def disk_bytes(folder):
    """What the files take on disk, not how long they say they are: logs are often allocated ahead."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def remove(group):
    """Removes a control group; the kernel lets go of its dead a moment after they died."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Rig:
    def __init__(self, args):
        self.args = args
        self.binaries = {"etcd": args.etcd, "quorate": args.quorate}
        self.load = args.load or args.quorate
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=args.dir))
        self.cluster = None

    def start(self, kind, nodes):
        self.cluster = Cluster(kind, self.home / kind, nodes, self.args.base_port, self.binaries[kind])
        self.cluster.up()
        return self.cluster

    def stop(self):
        if self.cluster:
            self.cluster.down()
            self.cluster = None

    def pids(self):
        return [self.cluster.pid(node) for node in range(self.cluster.nodes)]

    def disk_mib(self):
        return statistics.mean(disk_bytes(self.cluster.data(node)) for node in range(self.cluster.nodes)) / 2**20

    def bench(self, arguments):
        """Puts a load on the cluster."""
        command = [self.load, "bench", *arguments, "--endpoints", ",".join(self.cluster.endpoints()), "--output", "json"]
        before = sum(map(cpu_seconds, self.pids()))
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        used = sum(map(cpu_seconds, self.pids())) - before
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        # The slowest kind of answer that the load is about: writes of a mixed load, events of a watch.
        kind = next(kind for kind in ("event", "write", "read") if kind in report["latency"])
        latency, operations = report["latency"][kind], max(report["operations"], 1)
        return Sample(report["per_second"], latency["p50_ms"], latency["p99_ms"], used * 1e6 / operations,
                      report["client_cpu_us_per_operation"], sum(report["errors"].values()))

    def round(self, kind, samples, stores):
        """All loads on one fresh cluster."""
        self.start(kind, self.args.nodes)
        try:
            for name, _, arguments in SCENARIOS:
                if not self.args.scenarios or name in self.args.scenarios:
                    # `get`s write their keys first; that CPU is not theirs, so the keys are written by themselves before.
                    if arguments[0] in ("get", "range", "mixed", "cas"):
                        self.bench([*arguments, "--duration-s", "0.001", "--count", "1"])
                        arguments = [*arguments, "--no-fill"]
                    sample = self.bench([*arguments, "--duration-s", str(self.args.seconds)])
                    samples[name][kind].append(sample)
                    print(f"  {kind:8}{name:12}{sample.per_second:10.0f}/s  p50 {sample.p50:.2f}  p99 {sample.p99:.2f} ms"
                          f"  server {sample.server_us:.0f} us  client {sample.client_us:.1f} us  errors {sample.errors}",
                          flush=True)
        finally:
            self.stop()
        if self.args.scenarios and "fill" not in self.args.scenarios:
            return
        # What a store takes is measured on an empty one.
        self.start(kind, self.args.nodes)
        try:
            before = self.disk_mib()
            sample = self.bench([*FILL[2], "--keys", str(self.args.fill_keys)])
            samples[FILL[0]][kind].append(sample)
            time.sleep(1)  # what is written in the background, once a request is answered, belongs to it
            stores[kind].append((before, self.disk_mib(), statistics.mean(map(rss_bytes, self.pids())) / 2**20))
        finally:
            self.stop()

    def capped(self, kind, nodes, arguments):
        """A load on nodes of which each has a fraction of a core."""
        self.start(kind, nodes)
        groups = []
        try:
            for node, pid in enumerate(self.pids()):
                group = CGROUP / f"bench-{os.getpid()}-{node}"
                group.mkdir()
                groups.append(group)
                (group / "cpu.cfs_period_us").write_text("20000")
                (group / "cpu.cfs_quota_us").write_text(str(20000 * QUOTA_PERCENT // 100))
                (group / "cgroup.procs").write_text(str(pid))
            self.bench([*arguments, "--duration-s", "0.001", "--count", "1"])
            return self.bench([*arguments, "--no-fill", "--duration-s", str(self.args.seconds)])
        finally:
            self.stop()
            for group in groups:
                remove(group)

    def scaling(self, kinds):
        result = collections.defaultdict(list)
        for _ in range(self.args.rounds):
            for kind in kinds:
                for nodes in (1, 3):
                    sample = self.capped(kind, nodes, ["get", "--clients", "96", "--connections", "12", "--keys", "1000"])
                    result[kind, nodes].append(sample.per_second)
                    print(f"  {kind:8}{nodes} nodes at {QUOTA_PERCENT} % of a core: {sample.per_second:.0f} gets/s",
                          flush=True)
        return result


def spread(values, digits=0):
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def machine():
    cpu = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB of memory, Linux {platform.release().split('-')[0]}"


def version(kind, binary):
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or [kind])[0]


def table(args, kinds, samples, stores, scaling):
    systems = ", ".join(version(kind, getattr(args, kind)) for kind in kinds)
    yield f"Machine: {machine()}; load generator and {args.nodes} nodes share it, one disk. Systems: {systems}."
    yield f"Command: `bench/etcd/run.py {' '.join(sys.argv[1:])}`; {args.rounds} rounds by turns, {args.seconds} s each."
    yield "Each figure is the median of the rounds (least to greatest). Times in ms; CPU in us for one operation."
    yield ""
    yield "| load | system | a second | p50 | p99 | CPU of all nodes | CPU of the load | errors |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, what, _ in [*SCENARIOS, FILL]:
        for kind in kinds:
            got = samples[name][kind]
            if got:
                column = [[getattr(sample, field) for sample in got] for field in Sample._fields]
                yield (f"| {what} | {kind} | {spread(column[0])} | {spread(column[1], 2)} | {spread(column[2], 2)} | "
                       f"{spread(column[3])} | {spread(column[4], 1)} | {sum(column[5])} |")
    if any(stores.values()):
        yield ""
        user = args.fill_keys * (64 + 256) / 2**20
        yield (f"| MiB of one node, {args.fill_keys:,} keys of 64 bytes with 256 bytes each: {user:.0f} MiB | disk, empty | disk | "
               "memory |")
        yield "| --- | --- | --- | --- |"
        for kind in kinds:
            yield f"| {kind} | " + " | ".join(spread(column, 1) for column in zip(*stores[kind])) + " |"
    if scaling:
        yield ""
        yield f"| linearizable gets a second, each node held to {QUOTA_PERCENT} % of a core | 1 node | 3 nodes | factor |"
        yield "| --- | --- | --- | --- |"
        for kind in kinds:
            one, three = scaling[kind, 1], scaling[kind, 3]
            factor = statistics.median(three) / statistics.median(one)
            yield f"| {kind} | {spread(one)} | {spread(three)} | {factor:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--etcd", default=shutil.which("etcd") or "etcd")
    parser.add_argument("--quorate", default=str(ROOT / "target/release/quorate"))
    parser.add_argument("--load", help="the program with the load generator; default: that of --quorate")
    parser.add_argument("--only", choices=["etcd", "quorate"])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--fill-keys", type=int, default=50_000)
    parser.add_argument("--scenarios", type=lambda text: text.split(","), help="names, separated by commas")
    parser.add_argument("--no-scaling", action="store_true", help="leave out the nodes held by cgroups")
    parser.add_argument("--base-port", type=int, default=2579)
    parser.add_argument("--dir", default=str(ROOT / "target"), help="where the nodes keep their files")
    parser.add_argument("--out", help="write the table to this file as well")
    args = parser.parse_args()

    known = {name for name, _, _ in [*SCENARIOS, FILL]}
    if unknown := set(args.scenarios or []) - known:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    if not args.no_scaling and not os.access(CGROUP, os.W_OK):
        parser.error(f"--scaling needs to write to {CGROUP}: run as root with cgroup v1, or give --no-scaling")

    kinds = [args.only] if args.only else ["etcd", "quorate"]
    samples = collections.defaultdict(lambda: collections.defaultdict(list))
    stores = collections.defaultdict(list)
    pathlib.Path(args.dir).mkdir(parents=True, exist_ok=True)
    rig = Rig(args)
    try:
        for number in range(1, args.rounds + 1):
            print(f"round {number} of {args.rounds}", flush=True)
            for kind in kinds:
                rig.round(kind, samples, stores)
        scaling = {} if args.no_scaling else rig.scaling(kinds)
    finally:
        rig.stop()
        shutil.rmtree(rig.home, ignore_errors=True)
    text = "\n".join(table(args, kinds, samples, stores, scaling)) + "\n"
    print("\n" + text)
    if args.out:
        pathlib.Path(args.out).write_text(text)


if __name__ == "__main__":
    main()
