"""Accounts that end: access at once, recordings with them, and in the night all that leads from the log to a person."""
