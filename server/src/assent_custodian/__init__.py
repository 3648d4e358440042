"""The custodian: knows who, but not what.

It holds people, their consent, approvals, vault keys and the record of their use. It never receives a recording.
"""
