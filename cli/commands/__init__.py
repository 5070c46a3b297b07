"""The sub-commands of `regente`, one module per noun."""
