"""Erasing what is stored, at the wish of its person, and the receipts that say how far it has come."""
