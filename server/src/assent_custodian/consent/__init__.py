"""Consent: what is offered, receipts, withdrawals, and the one function that says whether consent covers a use."""
