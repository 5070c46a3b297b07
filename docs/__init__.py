"""Papers, and the program that writes what is generated in them."""
