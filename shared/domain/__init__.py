"""Pure rules that several services share: state machines, priorities, retry, waits. No I/O, no clock, no chance."""
