"""The `assent` command: for requesters, stewards, auditors, admins, council, dpo, and everybody's own data."""
