"""The drivers: one module each, a class whose public methods are the instructions of that name.

Called by: driver.py (performs), catalogue.py (reads names, arguments and effects). Survives a crash: nothing; a
driver's process is thrown away after every run. Change also: the server's instruction catalogue; a test holds both
together. No driver imports its library before it is needed, so the supervisor can read them all.
"""
