"""Sources: what the collector fetches by itself. Pollers of HTTP APIs, folders and SFTP servers with files, timers.

Called by: main.py (the keeper), handlers.py (requests of people). One collector at a time looks at a source: it claims
the source (keeper.py), and everything it writes about it names that claim. A look takes what it finds through the
intake, where a reference is one task for ever; only then the source's cursor moves, and only then the partner hears of
it. So a look that is cut off at any line is looked again, and makes nothing twice.

    keeper.py     claims what is due, takes over from collectors that died, ends looks
    session.py    one look: takes items, moves the cursor, keeps the log's notes
    poll.py       HTTP APIs; web.py sends their requests with the partner's authentication
    files.py      files of folder.py and sftp.py
    timer.py      times that make tasks
    store.py      all queries; secrets.py opens documents; requests.py what people ask for
"""
