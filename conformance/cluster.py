#!/usr/bin/env python3
"""Starts, kills and restarts the nodes of a small cluster on loopback: ours or real etcd.

Every rig here (the client suites, the kill script, the benchmarks) asks this one file for its nodes, so that each of
them runs unchanged on the real etcd, which is what proves the rig itself.

    cluster.py --kind etcd --dir D up          start all nodes, wait until each one serves, print the endpoints
    cluster.py --kind etcd --dir D kill 1      SIGKILL one node (and its children)
    cluster.py --kind etcd --dir D start 1     start it again on the same data
    cluster.py --kind etcd --dir D pid 1       its process id
    cluster.py --kind etcd --dir D down        SIGKILL all, remove D

A node is a process group of its own, and its group id is the only thing that is ever signalled.
"""

import argparse
import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HOST = "127.0.0.1"
SERVE_WAIT_S = 60
DEATH_WAIT_S = 10


def client_port(base, node):
    """etcd's own convention for several members on one host: 2379, 22379, 32379, ...

    A base of at most 2700 keeps three nodes out of the ports that the kernel gives to connections (from 32768 on).
    """
    return base if node == 0 else base + (node + 1) * 10_000


class Cluster:
    """`nodes` nodes whose files are under `home`; the methods take a node's index, counted from 0.

    The first `founded` of them found the cluster, by default all; of ours the others can join it later.
    """

    def __init__(self, kind, home, nodes=3, base=2379, binary=None, extra=(), founded=None):
        self.kind, self.home, self.nodes, self.base = kind, pathlib.Path(home), nodes, base
        self.founded = nodes if founded is None else founded
        self.binary = binary or ("etcd" if kind == "etcd" else "target/release/quorate")
        self.extra = list(extra)

    # -- where things are ---------------------------------------------------------------------------------------------

    def endpoint(self, node):
        return f"{HOST}:{client_port(self.base, node)}"

    def peer(self, node):
        return f"{HOST}:{client_port(self.base, node) + 1}"

    def endpoints(self):
        return [self.endpoint(node) for node in range(self.nodes)]

    def data(self, node):
        return self.home / f"node-{node}"

    def log(self, node):
        return self.home / f"node-{node}.log"

    def _pid_file(self, node):
        return self.home / f"node-{node}.pid"

    def pid(self, node):
        """The node's process id, or None when it isn't running."""
        try:
            pid = int(self._pid_file(node).read_text())
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            threads = len(os.listdir(f"/proc/{pid}/task"))
        except (OSError, ValueError):
            return None
        # The first thread can be dead while others still hold the ports.
        return None if state == "Z" and threads == 1 else pid

    # -- how a node is started ----------------------------------------------------------------------------------------

    def command(self, node):
        return self._etcd(node) if self.kind == "etcd" else self._quorate(node)

    def _etcd(self, node):
        members = ",".join(f"n{i}=http://{self.peer(i)}" for i in range(self.nodes))
        client, peer = f"http://{self.endpoint(node)}", f"http://{self.peer(node)}"
        return [
            self.binary, "--name", f"n{node}", "--data-dir", str(self.data(node)),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", members, "--initial-cluster-token", f"rig-{self.base}",
            "--initial-cluster-state", "new", *self.extra,
        ]

    def _quorate(self, node):
        config = self.data(node) / "quorate.toml"
        if config.exists():  # it joined
            return [self.binary, "serve", "--config", str(config), *self.extra]
        config = self.home / f"node-{node}.toml"
        config.write_text(quorate_config(self, node))
        # Nodes of a rig found their cluster at their first start, and go on at all others.
        founds = [] if (self.data(node) / "begun").exists() else ["--found"]
        return [self.binary, "serve", "--config", str(config), *founds, *self.extra]

    def start(self, node):
        if self.pid(node):
            return
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.log(node), "ab") as log:
            child = subprocess.Popen(
                self.command(node), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._pid_file(node).write_text(str(child.pid))

    def join(self, node):
        """Registers one of our nodes with the others; it is not started."""
        others = ",".join(self.endpoint(other) for other in range(self.nodes) if self.pid(other))
        subprocess.run(
            [self.binary, "node", "join", "--endpoints", others, "--data", str(self.data(node)),
             "--client", self.endpoint(node), "--peer", self.peer(node)],
            check=True, stdout=subprocess.DEVNULL,
        )

    def signal(self, node, what):
        pid = self.pid(node)
        if pid:
            os.killpg(pid, what)

    def kill(self, node):
        """Kills a node and returns when the kernel has let go of it, so that its ports and locks are free."""
        self.signal(node, signal.SIGKILL)
        deadline = time.monotonic() + DEATH_WAIT_S
        while self.pid(node):
            self._reap()
            if time.monotonic() > deadline:
                raise TimeoutError(f"node {node} outlived SIGKILL for {DEATH_WAIT_S} s")
            time.sleep(0.002)

    @staticmethod
    def _reap():
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass  # started by an earlier run of this script: init reaps it

    def serves(self, node):
        """Whether the node answers a linearizable health check."""
        connection = http.client.HTTPConnection(self.endpoint(node), timeout=2)
        try:
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read().replace(b" ", b"")
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait(self, node, patience_s=SERVE_WAIT_S):
        deadline = time.monotonic() + patience_s
        while not self.serves(node):
            if self.pid(node) is None:
                raise RuntimeError(f"node {node} ended: {self.log(node).read_text(errors='replace')[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"node {node} does not serve after {patience_s} s: see {self.log(node)}")
            time.sleep(0.05)

    def up(self):
        for node in range(self.founded):
            self.start(node)
        for node in range(self.founded):
            self.wait(node)

    def down(self, keep=False):
        for node in range(self.nodes):
            self.kill(node)
        if not keep:
            shutil.rmtree(self.home, ignore_errors=True)


def quorate_config(cluster, node):
    """The configuration file of one of our nodes, counted from 1 there."""
    lines = [f'cluster = "rig-{cluster.base}"', f"node = {node + 1}", f'data = "{cluster.data(node)}"']
    for member in range(cluster.founded):
        lines += [
            "", "[[member]]", f"id = {member + 1}",
            f'client = "{cluster.endpoint(member)}"', f'peer = "{cluster.peer(member)}"',
        ]
    return "\n".join(lines) + "\n"


def arguments(parser):
    """The flags by which every rig names its cluster."""
    parser.add_argument("--kind", choices=["etcd", "quorate"], default="quorate")
    parser.add_argument("--binary", help="the program; default: etcd from PATH, target/release/quorate")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--base-port", type=int, default=2379)
    parser.add_argument("--dir", required=True, help="where the nodes keep their files")


def from_arguments(args):
    return Cluster(args.kind, args.dir, args.nodes, args.base_port, args.binary)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    parser.add_argument("verb", choices=["up", "down", "start", "kill", "wait", "pid", "endpoints"])
    parser.add_argument("node", type=int, nargs="?")
    args = parser.parse_args()
    cluster = from_arguments(args)
    if args.verb in ("up", "down", "endpoints"):
        if args.verb != "endpoints":
            getattr(cluster, args.verb)()
        print(",".join(cluster.endpoints()))
    else:
        if args.node is None or not 0 <= args.node < cluster.nodes:
            parser.error(f"{args.verb} needs a node from 0 to {cluster.nodes - 1}")
        answer = getattr(cluster, args.verb)(args.node)
        if args.verb == "pid":
            print(answer if answer else "")
            sys.exit(0 if answer else 1)


if __name__ == "__main__":
    main()
