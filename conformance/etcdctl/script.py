#!/usr/bin/env python3
"""Commands of etcdctl and the exact answers to them. script.py RESULTS ENDPOINTS

Needs a cluster that nobody else uses, since revisions are counted on. An answer is given as text, or as a compiled regular
expression where it holds what differs between clusters: an id, a size, a version.
"""

import json
import re
import subprocess
import sys
import tempfile
import time

LIMIT_S = 20
HEX = "[0-9a-f]+"


def etcdctl(*arguments, text=None, limit_s=LIMIT_S, endpoints=None):
    """Runs it; what it printed (health is printed to standard error), or its error after `error: ` when it failed."""
    command = ["etcdctl", *arguments]
    environment = None
    if endpoints:
        command = ["env", "-u", "ETCDCTL_ENDPOINTS", "etcdctl", "--endpoints", endpoints, *arguments]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=limit_s, env=environment, check=False
    )
    if done.returncode == 0:
        return done.stdout or "".join(line + "\n" for line in done.stderr.splitlines())
    return "error: " + (done.stderr.strip().splitlines() or [""])[-1]


def error(text):
    """etcdctl's last line of an error: JSON of its logger above, and the words."""
    return re.compile(r"error: .*" + re.escape(text) + r".*", re.S)


class Script:
    def __init__(self, results, endpoints):
        self.results, self.endpoints = results, endpoints
        self.prefix = "script/"

    def revision(self):
        return json.loads(etcdctl("get", self.prefix, "-w", "json"))["header"]["revision"]

    def record(self, name, good, told=None, wanted=None):
        self.results.write(f"{'pass' if good else 'fail'}\t{name}\n")
        self.results.flush()
        if not good:
            print(f"{name}\n  wanted {wanted!r}\n  told   {told!r}")

    def check(self, name, wanted, *arguments, **options):
        try:
            told = etcdctl(*arguments, **options)
        except subprocess.TimeoutExpired:
            told = "no answer in time"
        good = wanted.fullmatch(told) is not None if isinstance(wanted, re.Pattern) else told == wanted
        self.record(name, good, told, getattr(wanted, "pattern", wanted))
        return told

    # -- the script ---------------------------------------------------------------------------------------------------

    def keys(self):
        a, b, c = (self.prefix + letter for letter in "abc")
        self.check("put says OK", "OK\n", "put", a, "1")
        self.check("put from standard input", "OK\n", "put", b, text="2")
        self.check("get one key", f"{a}\n1\n", "get", a)
        self.check("get the value only", "1\n", "get", a, "--print-value-only")
        self.check("get of nothing is empty", "", "get", self.prefix + "none")
        self.check("get in hexadecimal", r"\x73\x63\x72\x69\x70\x74\x2f\x61" + "\n" + r"\x31" + "\n", "get", a, "--hex")
        self.check("put --prev-kv shows the old pair", f"OK\n{a}\n1\n", "put", a, "one", "--prev-kv")
        self.check("put --ignore-value keeps it", "OK\n", "put", a, "--ignore-value")
        self.check("the kept value", f"{a}\none\n", "get", a)
        self.check(
            "put --ignore-value of nothing", error("etcdserver: key not found"), "put", self.prefix + "no", "--ignore-value"
        )
        etcdctl("put", c, "3")
        self.check("get a prefix, in order", f"{a}\none\n{b}\n2\n{c}\n3\n", "get", self.prefix, "--prefix")
        self.check("get keys only", f"{a}\n\n{b}\n\n{c}\n\n", "get", self.prefix, "--prefix", "--keys-only")
        self.check("get a range leaves out its end", f"{a}\none\n{b}\n2\n", "get", a, c)
        self.check("get with a limit", f"{a}\none\n", "get", self.prefix, "--prefix", "--limit", "1")
        self.check("get in descending order", f"{c}\n3\n{b}\n2\n", "get", self.prefix, "--prefix", "--limit", "2",
                   "--sort-by=KEY", "--order=DESCEND")
        self.check("get sorted by value", f"{b}\n2\n{c}\n3\n{a}\none\n", "get", self.prefix, "--prefix", "--sort-by=VALUE",
                   "--order=ASCEND")
        self.check("get from a key on", f"{b}\n2\n{c}\n3\n", "get", b, "--from-key", "--limit", "2")
        self.check("get serializable", f"{a}\none\n", "get", a, "--consistency=s")
        self.check("del --prev-kv shows what it deleted", f"1\n{c}\n3\n", "del", c, "--prev-kv")
        self.check("del of nothing deletes 0", "0\n", "del", c)
        self.check("an empty key is refused", error("etcdserver: key is not provided"), "put", "", "x")
        for endpoint in self.endpoints.split(","):
            self.check(f"the same through node {self.endpoints.split(',').index(endpoint)}", f"{a}\none\n", "get", a,
                       endpoints=endpoint)
        self.check("del a prefix", "2\n", "del", self.prefix, "--prefix")

    def revisions(self):
        key = self.prefix + "r"
        etcdctl("put", key, "first")
        first = self.revision()
        etcdctl("put", key, "second")
        self.record("a write is one revision", self.revision() == first + 1, self.revision(), first + 1)
        self.check("get of an old revision", f"{key}\nfirst\n", "get", key, "--rev", str(first))
        self.check("get of a revision to come", error("mvcc: required revision is a future revision"), "get", key, "--rev",
                   str(first + 1000))
        etcdctl("del", key + "none")
        self.record("a delete of nothing is none", self.revision() == first + 1, self.revision(), first + 1)
        fields = json.loads(etcdctl("get", key, "-w", "json"))["kvs"][0]
        self.record("revisions and version of a pair",
                    (fields["create_revision"], fields["mod_revision"], fields["version"]) == (first, first + 1, 2),
                    fields, (first, first + 1, 2))
        self.check("compaction names its revision", f"compacted revision {first + 1}\n", "compact", str(first + 1))
        self.check("compaction again is refused", error("mvcc: required revision has been compacted"), "compact", str(first))
        self.check("get of a compacted revision", error("mvcc: required revision has been compacted"), "get", key, "--rev",
                   str(first))
        self.check("compaction of what is to come", error("mvcc: required revision is a future revision"), "compact",
                   str(first + 1000))
        self.check("get of the newest still works", f"{key}\nsecond\n", "get", key)

    def transactions(self):
        key = self.prefix + "t"
        etcdctl("put", key, "old")
        self.check("a transaction whose comparison holds", f"SUCCESS\n\nOK\n\n{key}\nnew\n", "txn",
                   text=f'value("{key}") = "old"\n\nput {key} new\nget {key}\n\nget {key}\n\n')
        self.check("a transaction whose comparison fails", f"FAILURE\n\n{key}\nnew\n", "txn",
                   text=f'value("{key}") = "old"\n\nput {key} newer\n\nget {key}\n\n')
        self.check("create if it does not exist", "SUCCESS\n\nOK\n", "txn",
                   text=f'create("{key}1") = "0"\n\nput {key}1 x\n\n\n')
        self.check("create if it does not exist, again", "FAILURE\n", "txn",
                   text=f'create("{key}1") = "0"\n\nput {key}1 x\n\n\n')
        self.check("version, and a delete", "SUCCESS\n\n1\n", "txn",
                   text=f'ver("{key}1") = "1"\nmod("{key}1") > "1"\n\ndel {key}1\n\n\n')
        self.check("one key twice in a transaction", error("etcdserver: duplicate key given in txn request"), "txn",
                   text=f"\nput {key} a\nput {key} b\n\n\n")

    def watches(self):
        key = self.prefix + "w"
        begin = self.revision() + 1
        for value in "123":
            etcdctl("put", key, value)
        etcdctl("del", key)
        told = self.listen("PUT", ["watch", key, "--rev", str(begin)], 11)
        wanted = f"PUT\n{key}\n1\nPUT\n{key}\n2\nPUT\n{key}\n3\nDELETE\n{key}\n"
        self.record("a watch from an old revision hears all since", told == wanted, told, wanted)
        told = self.listen("PUT", ["watch", key, "--rev", str(begin + 1), "--prev-kv"], 10)
        wanted = f"PUT\n{key}\n1\n{key}\n2\nPUT\n{key}\n2\n{key}\n3\n"
        self.record("a watch with previous pairs", told == wanted, told, wanted)
        etcdctl("compact", str(begin + 2))
        self.check("a watch from a compacted revision", error("watch is canceled by the server"), "watch", key,
                   "--rev", str(begin))
        told = self.listen("PUT", ["watch", self.prefix + "live", "--prefix"], 6,
                           during=[("put", self.prefix + "live/1", "x"), ("put", self.prefix + "live/2", "y")])
        wanted = f"PUT\n{self.prefix}live/1\nx\nPUT\n{self.prefix}live/2\ny\n"
        self.record("a watch hears what comes", told == wanted, told, wanted)

    def listen(self, first, arguments, lines, during=()):
        """The first `lines` lines that a watch prints, while `during` is done again until it has heard the first one."""
        with tempfile.TemporaryFile("w+") as output:
            watch = subprocess.Popen(["etcdctl", *arguments], stdout=output, stderr=subprocess.STDOUT, text=True)
            try:
                deadline = time.monotonic() + LIMIT_S
                # The watch may begin after the first write: a marker is written until it is heard, then the rest counts.
                if during:
                    marker = arguments[1] + "/0"
                    while time.monotonic() < deadline and marker not in self.text_of(output):
                        etcdctl("put", marker, first)
                    time.sleep(0.2)  # what was written before it was heard is heard by now
                    before = len(self.text_of(output).splitlines())
                    for command in during:
                        etcdctl(*command)
                else:
                    before = 0
                while time.monotonic() < deadline and len(self.text_of(output).splitlines()) < before + lines:
                    time.sleep(0.02)
                return "".join(line + "\n" for line in self.text_of(output).splitlines()[before:before + lines])
            finally:
                watch.kill()
                watch.wait()

    @staticmethod
    def text_of(output):
        output.seek(0)
        return output.read()

    def leases(self):
        key = self.prefix + "l"
        told = self.check("a lease is granted", re.compile(rf"lease ({HEX}) granted with TTL\(60s\)\n"), "lease", "grant", "60")
        lease = told.split()[1] if told.startswith("lease") else "0"
        self.check("put with a lease", "OK\n", "put", key, "x", f"--lease={lease}")
        self.check("the lease's keys", re.compile(
            rf"lease {lease} granted with TTL\(60s\), remaining\((5[89]|60)s\), attached keys\(\[{key}\]\)\n"),
            "lease", "timetolive", lease, "--keys")
        self.check("a lease is kept alive", f"lease {lease} keepalived with TTL(60)\n", "lease", "keep-alive", "--once", lease)
        self.check("leases are listed", re.compile(rf"found \d+ leases\n({HEX}\n)*{lease}\n({HEX}\n)*"), "lease", "list")
        self.check("a lease is revoked", f"lease {lease} revoked\n", "lease", "revoke", lease)
        self.check("its keys are gone", "", "get", key)
        self.check("it is gone", f"lease {lease} already expired\n", "lease", "timetolive", lease)
        self.check("revoking it again", error("etcdserver: requested lease not found"), "lease", "revoke", lease)
        self.check("put with a lease that is not", error("etcdserver: requested lease not found"), "put", key, "x",
                   "--lease=1234")
        told = etcdctl("lease", "grant", "2")
        short = told.split()[1] if told.startswith("lease") else "0"
        etcdctl("put", key, "x", f"--lease={short}")
        deadline = time.monotonic() + LIMIT_S
        while etcdctl("get", key) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.check("a lease that nobody keeps ends, and its keys with it", "", "get", key)

    def locks(self):
        name = self.prefix + "lock"
        self.check("a command under a lock", "held\n", "lock", name, "echo", "held")
        # Both need the lock; the file shows that they were not in it at once.
        with tempfile.NamedTemporaryFile("r") as file:
            script = f"echo in >>{file.name}; sleep 0.3; echo out >>{file.name}"
            both = [subprocess.Popen(["etcdctl", "lock", name, "--", "sh", "-c", script]) for _ in range(2)]
            for process in both:
                process.wait(timeout=LIMIT_S)
            told = file.read()
        self.record("two commands under one lock take turns", told == "in\nout\n" * 2, told, "in\nout\n" * 2)
        self.check("nothing is left of it", "", "get", name, "--prefix")
        election = self.prefix + "election"
        with tempfile.TemporaryFile("w+") as output:
            leader = subprocess.Popen(["etcdctl", "elect", election, "me"], stdout=output, text=True)
            deadline = time.monotonic() + LIMIT_S
            while "me" not in self.text_of(output) and time.monotonic() < deadline and leader.poll() is None:
                time.sleep(0.02)
            told = self.text_of(output)
            leader.terminate()
            leader.wait(timeout=LIMIT_S)
        wanted = re.compile(rf"{election}/{HEX}\nme\n")
        self.record("elect prints the leader", wanted.fullmatch(told) is not None, told, wanted.pattern)

    def cluster(self):
        nodes = self.endpoints.split(",")
        line = rf"{HEX}, started, \S+, http://\S+, http://\S+, false\n"
        self.check("member list", re.compile(line * len(nodes)), "member", "list")
        self.check("endpoint health", re.compile(rf"{re.escape(nodes[0])} is healthy: successfully committed proposal: took = \S+\n"),
                   "endpoint", "health")
        row = rf", {HEX}, \d+\.\d+\.\d+, [0-9.]+ [kMG]?B, (true|false), (true|false), \d+, \d+, \d+, \n"
        for number, node in enumerate(nodes):
            self.check(f"endpoint status of node {number}", re.compile(re.escape(node) + row), "endpoint", "status",
                       endpoints=node)
        # Such a client names the whole address, scheme and all, as the authority of its calls to one endpoint.
        self.check("endpoint status of an address with its scheme", re.compile("http://" + re.escape(nodes[0]) + row),
                   "endpoint", "status", endpoints="http://" + nodes[0])
        told = json.loads(etcdctl("endpoint", "status", "-w", "json", endpoints=self.endpoints) or "[]")
        leaders = {status["Status"]["leader"] for status in told}
        members = {status["Status"]["header"]["member_id"] for status in told}
        self.record("all nodes name the same leader, a member", len(leaders) == 1 and leaders <= members, leaders, members)
        hashes = json.loads(etcdctl("endpoint", "hashkv", "-w", "json", endpoints=self.endpoints) or "[]")
        self.record("all nodes hold the same", len({entry["HashKV"]["hash"] for entry in hashes}) == 1, hashes, "one hash")
        self.check("alarms: none", "", "alarm", "list")
        self.check("defragmentation", re.compile(r"Finished defragmenting etcd member\[\S+\]\n"), "defrag")


def main():
    with open(sys.argv[1], "w", encoding="utf-8") as results:
        script = Script(results, sys.argv[2])
        etcdctl("del", script.prefix, "--prefix")
        for part in (script.keys, script.revisions, script.transactions, script.watches, script.leases, script.locks,
                     script.cluster):
            try:
                part()
            except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as problem:
                script.record(f"{part.__name__} runs to its end", False, problem, "no error")
        etcdctl("del", script.prefix, "--prefix")


if __name__ == "__main__":
    main()
