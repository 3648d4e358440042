"""The collector: stores sealed segments of streams that belong to nobody it knows, and hands them out on tickets.

It has no notion of a person, an account or a key that opens anything. What it believes, it believes by signature: that
of the custodian's statement key (certificates, tickets, orders), of a stream key (segments, records), of a job's key.
"""
