"""The log: written in the same transaction as the act, signed by the log key, countersigned by witnesses."""
