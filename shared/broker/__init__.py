"""Messages in and out: the only place in the services that knows pika.

Called by: services, shared.runtime. Survives a crash: nothing here needs to; every message is a hint, and queues are
declared again after each reconnect. Change also: shared/testing/stub_broker.py, which must behave the same, and
tests/conformance.
"""

from shared.broker.client import Broker
from shared.broker.consumer import Consumer
from shared.broker.delivery import Delivery
from shared.broker.errors import BrokerClosed, Unroutable

__all__ = ["Broker", "BrokerClosed", "Consumer", "Delivery", "Unroutable"]
