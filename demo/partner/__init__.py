"""The demo's partner: the system that hands tasks in and takes the signed results.

Owns: what it received, and its half of the credentials (REGENTE_HOME/demo/partner.json). Called by: services/delivery
over HTTP, demo.run, tests. Survives a crash: everything it answered 2xx to (SQLite).
Change also: demo/README.md and tests/demo.
"""
