"""How Regente is put on machines."""
