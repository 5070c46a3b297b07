"""Tells people of alerts: gathers what each is to be told, sends it, and notes how that went.

planner.py decides by core/telling.py and gathers, closing.py closes what is due by core/bundles.py, sender.py sends by
channels/, beat.py tells the outside that all this works, unstored.py tells without a database. service.py wires them.
"""
