"""Doubles for tests and the simulator: a broker in memory, a clock turned by hand, a robot that answers by a table.

Never imported by production code.
"""

from shared.testing.clock import FakeClock
from shared.testing.robot import FakeRobot
from shared.testing.stub_broker import StubBroker

__all__ = ["FakeClock", "FakeRobot", "StubBroker"]
