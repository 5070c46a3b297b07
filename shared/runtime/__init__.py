"""What turns a class into a running service: settings, start and stop, HTTP, keys, sweepers, commands."""
