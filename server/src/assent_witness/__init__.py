"""The witness: countersigns each new head of a log, if and only if it continues the head countersigned before.

It is run by people who do not run the log. A log that shows different people different histories, or takes an entry
back, needs a witness's signature for both versions, and cannot get it. The witness sees a log's name, size and root
hash, and never an entry.

`witness` decides, `heads` remembers, `keys` holds the signing key, `app` speaks HTTP, `settings` says what to choose.
"""
