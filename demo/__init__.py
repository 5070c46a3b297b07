"""The demo: a portal worth automating, the partner whose tasks need it, the workflow between them, and two robots.

Owns: everything that `make run` needs beyond Regente itself; nothing in Regente imports it.
Called by: deploy/local through `demo.processes`, people and tests through `python -m demo.<part>`.
Survives a crash: the portal's and the partner's SQLite files and certificates under REGENTE_HOME/demo.
Change also: README.md (the first screen shows this demo) and tests/demo.
"""
