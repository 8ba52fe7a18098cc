#!/usr/bin/env python3
"""Reads what a test runner printed, holds it against the list of failures we expect, and says the verdict.

    judge.py --suite NAME --format cargo|go|mocha|junit|tsv --expected FILE OUTPUT

The list names each test that may fail, with its reason: `test name  # why`. A test that fails and is not on the list is
an error; so is one on the list that passes (the list is out of date), and one on the list that no longer exists. So the
list is always exactly true. The last line is `SUITE: N passed, N failed, N skipped`, where expected failures count as
skipped and are named above it.
"""

import argparse
import json
import re
import sys
import xml.etree.ElementTree

PASS, FAIL, SKIP = "pass", "fail", "skip"


def cargo(text):
    """`test kv::put ... ok`; with --nocapture a test's own output may stand between the name and the outcome."""
    words = {"ok": PASS, "FAILED": FAIL, "ignored": SKIP}
    results, name = {}, None
    for line in text.splitlines():
        started = re.match(r"test (\S+)(?: - should panic)? \.\.\. ?(.*)$", line)
        if started:
            name, line = started[1], started[2]
        ended = re.match(r"(?:.*\s)?(ok|FAILED|ignored)(?:, .*)?$", line)
        if name and ended:
            results[name], name = words[ended[1]], None
    return results


def go(text):
    """`--- PASS: TestName (0.1s)`; a test that began and never ended (a panic, a time-out) has failed."""
    words = {"PASS": PASS, "FAIL": FAIL, "SKIP": SKIP}
    results = {name: FAIL for name in re.findall(r"^=== RUN\s+(\S+)$", text, re.M)}
    for word, name in re.findall(r"^\s*--- (PASS|FAIL|SKIP): (\S+)", text, re.M):
        results[name] = words[word]
    return results


def mocha(text):
    """The `json` reporter's object; what a test printed itself may stand around it."""
    report = json.loads(text[text.index('{\n  "stats"'):text.rindex("}") + 1])
    results = {test["fullTitle"]: PASS for test in report["passes"]}
    results.update({test["fullTitle"]: SKIP for test in report["pending"]})
    results.update({test["fullTitle"]: FAIL for test in report["failures"]})
    return results


def junit(text):
    """pytest's --junitxml."""
    results = {}
    for case in xml.etree.ElementTree.fromstring(text).iter("testcase"):
        outcomes = {child.tag for child in case}
        name = f"{case.get('classname', '').split('.')[-1]}.{case.get('name')}"
        results[name] = FAIL if outcomes & {"failure", "error"} else SKIP if "skipped" in outcomes else PASS
    return results


def tsv(text):
    """`outcome<TAB>name` lines, from our own runners."""
    results = {}
    for line in text.splitlines():
        outcome, tab, name = line.partition("\t")
        if tab and outcome in (PASS, FAIL, SKIP):
            results[name] = outcome
    return results


def expected_failures(path):
    """The names on the list and why each may fail; a name without a reason is refused."""
    names = {}
    try:
        lines = open(path, encoding="utf-8").read().splitlines()
    except FileNotFoundError:
        return names
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, mark, reason = line.partition("  # ")
        if not mark or not reason.strip():
            sys.exit(f"{path}:{number}: each expected failure needs its reason: NAME  # why")
        names[name.strip()] = reason.strip()
    return names


def main():
    formats = {"cargo": cargo, "go": go, "mocha": mocha, "junit": junit, "tsv": tsv}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--format", choices=formats, required=True)
    parser.add_argument("--expected", required=True)
    parser.add_argument("output")
    args = parser.parse_args()

    with open(args.output, encoding="utf-8", errors="replace") as file:
        results = formats[args.format](file.read())
    excused = expected_failures(args.expected)

    failed = sorted(name for name, outcome in results.items() if outcome == FAIL)
    surprises = [name for name in failed if name not in excused]
    stale = sorted(name for name in excused if results.get(name) != FAIL)
    for name in failed:
        if name in excused:
            print(f"  fails as expected: {name} ({excused[name]})")
    for name in surprises:
        print(f"  FAILED: {name}")
    for name in stale:
        print(f"  NOT FAILING: {name} is on the list of expected failures but {results.get(name, 'did not run')}")
    if not results:
        print("  FAILED: no test ran")

    passed = sum(outcome == PASS for outcome in results.values())
    skipped = sum(outcome == SKIP for outcome in results.values()) + len(failed) - len(surprises)
    wrong = len(surprises) + len(stale) + (not results)
    print(f"{args.suite}: {passed} passed, {wrong} failed, {skipped} skipped")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
