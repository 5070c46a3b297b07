"""How long things are kept: archiving, deletion, erasure, legal holds.

Called by: main.py. One instance leads (a lease); every step is guarded and may be repeated, so that a leader that died,
or one that does not know yet that it leads no more, costs some work and nothing else. Order, everywhere: first the
copy, then what it replaces; first the tombstone, then the task; first what belongs to a task, then the task itself, so
that whoever comes after a crash finds the task and does the rest again. Change also: docs/adr/0023, docs/retention.md.
"""
