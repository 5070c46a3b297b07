"""What every task meets on its way in, wherever it comes from: files as tables, rows as items, the checks of items.

Called by: collector (refuses by it), console (shows beforehand what would be refused). No I/O: bytes, schemas and times
are arguments. Survives a crash: nothing lives here.
"""
