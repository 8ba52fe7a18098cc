"""Lets the suite of 2020 run under the Python and the hypothesis of today."""

import asyncio
import types

import hypothesis

# The tenacity that the suite's lock was written for still names it; it is not called.
asyncio.coroutine = types.coroutine
# Fixtures inside its tests are refused by default today.
hypothesis.settings.register_profile("suite", suppress_health_check=list(hypothesis.HealthCheck), deadline=None)
hypothesis.settings.load_profile("suite")
