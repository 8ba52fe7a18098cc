#!/usr/bin/env python3
"""Runs the unittest modules named on the command line and prints `outcome<TAB>name` for each test to a file.

Unlike pytest it follows `load_tests`, by which tooz multiplies its tests by scenarios, and one summary per test comes
out whatever sub-class of TestCase the suite uses.

    unittest_results.py RESULTS MODULE...
"""

import sys
import unittest


class Recorder(unittest.TextTestResult):
    """Writes each outcome the moment it is known, so that a run that is cut short still tells what it saw."""

    results = None

    def _record(self, outcome, test):
        name = test.id() if hasattr(test, "id") else str(test)
        Recorder.results.write(f"{outcome}\t{name}\n")
        Recorder.results.flush()

    def addSuccess(self, test, *details, **named):
        super().addSuccess(test)
        self._record("pass", test)

    def addExpectedFailure(self, test, err=None, details=None):
        self._record("pass", test)

    def addUnexpectedSuccess(self, test, details=None):
        self._record("fail", test)

    def addSkip(self, test, reason=None, details=None):
        super().addSkip(test, reason or "skipped")
        self._record("skip", test)

    def addFailure(self, test, err=None, details=None):
        self._problem(test, err, details)

    def addError(self, test, err=None, details=None):
        self._problem(test, err, details)

    def _problem(self, test, err, details):
        if err is not None:
            super().addFailure(test, err)
        else:  # testtools hands over a dictionary of texts in place of a traceback
            for content in (details or {}).values():
                self.stream.writeln("".join(content.iter_text()))
            self.failures.append((test, "see above"))
        self._record("fail", test)


def main():
    with open(sys.argv[1], "w", encoding="utf-8") as Recorder.results:
        suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:])
        unittest.TextTestRunner(resultclass=Recorder, verbosity=2).run(suite)


if __name__ == "__main__":
    main()
