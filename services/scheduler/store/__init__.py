"""All of the scheduler's queries, by subject: the queue, opening a run, tasks, runs, robots."""
