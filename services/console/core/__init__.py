"""Decisions of the console: functions of their arguments, without I/O, clocks or chance."""
