"""Numbers that all sides must agree on. Each limit is documented where it refuses."""

from __future__ import annotations

from typing import Final

MAX_SEGMENT_LENGTH: Final = 16 * 1024 * 1024
"""Padded plaintext bytes of one segment. Agents close at 8 MiB; padding adds at most 12 %."""

CLOSE_SEGMENT_AT: Final = 8 * 1024 * 1024
"""Encoded bytes at which an agent closes a segment early."""

SEGMENT_RHYTHM_S: Final = 300
"""All modalities of a run close together at every fifth minute of the clock."""

BODY_OVERHEAD: Final = 1024 * 1024
"""Most bytes that the chunked encryption may add to a padded plaintext of the longest length."""

MAX_STATEMENT_BYTES: Final = 256 * 1024
"""Longest request body of a route that takes statements."""

MAX_RESTATED: Final = 32
"""Withdrawals in one Standing, the newest ones; the others are handed in before it, each on its own. Also erasures in
one News."""

MAX_RELEASE_BATCH: Final = 1000
"""Sealed keys in one release."""

MAX_RELEASE_BYTES: Final = 4 * 1024 * 1024
"""Longest request body of a release."""

MAX_STREAMS_PER_ASK: Final = 64
"""Streams in one certificate request (modalities × days)."""

MAX_STREAMS_PER_TICKET: Final = 200
"""A ticket names this many streams of one day at most; a day with more has more tickets."""

MAX_SEGMENTS_PER_FETCH: Final = 64
"""Bodies in one fetch."""

MAX_HOURS_PER_ERASURE: Final = 1000
"""Hours that one erasure names; more are days."""

MAX_ITEMS_PER_RECALL: Final = 1000
"""Streams in one recall; more are further recalls."""

SKEW_S: Final = 120
"""Oldest (and most futuristic) signed question that the custodian answers, in seconds."""

CLOCK_DOUBT_S: Final = 300
"""An agent whose clock is further off than this records nothing."""

CERTIFICATE_HOURS: Final = 24
UPLOAD_DAYS: Final = 14
RETENTION_DAYS: Final = 180
REQUEST_DAYS: Final = 30
"""Longest life of a request."""

LEASE_HOURS: Final = 24
RECEIPT_DAYS: Final = 184
COHORT_FLOOR: Final = 10
"""Fewer people than this: "not available"."""

UNMASKING_DAYS: Final = 7
"""After so many days the data-protection officer signs no unmasking any more."""

APPROVALS_NEEDED: Final = 2
PEOPLE_PER_DAY: Final = 1_000
RECORDED_DAYS_PER_DAY: Final = 20_000
"""Default budgets of one requester and day: people, and days that people recorded (a person's day counts once)."""

REPORT_OVERDUE_HOURS: Final = 3
"""The collector reports every hour; when its last report ended longer ago than this, it is silent."""

FIRST_REPORT_HOURS: Final = 48
"""The same before its first report, from the first entry of the log on: it may be set up after the custodian."""

HOLD_S: Final = 900
"""Default review hold."""

STREAM_BYTE_BUDGET: Final = 512 * 1024 * 1024
"""Default byte budget of one stream."""
