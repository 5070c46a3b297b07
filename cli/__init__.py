"""`regente`: the console's and the partners' API for a terminal and for scripts."""
