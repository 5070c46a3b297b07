"""The scheduler: which task runs when on which robot, and everything about the robots themselves."""
