"""The robot's side of Regente: performs one instruction at a time on this machine, proves it, answers.

Two processes. The supervisor (`python -m regente_agent`) speaks AMQP, keeps the journal and never acts; the driver
(`python -m regente_agent.driver`) acts, and can be killed at any moment. Read `engine.py` first, then `journal.py`.
Imports nothing of the server's packages: `wire.py` reads and writes the same JSON. Python 3.8 syntax, pika and the
standard library only; each driver's own library is an extra.
"""

__version__ = "0.1.0"
