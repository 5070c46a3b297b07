"""The messages, the topology and the instruction catalogue: what parts of Regente say to one another."""
