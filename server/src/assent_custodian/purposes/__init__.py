"""Purposes: drafted by an admin, signed by the council, and only then something that people can be asked for."""
