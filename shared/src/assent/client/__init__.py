"""Everything that Assent's clients say over HTTP, and how they check what they are told.

Nothing that comes back is believed for its status code or its address. A signed answer is checked against the key
that the root-signed directory names, and against the question it answers; anything else is `AnswerInvalid`.

- `transport`: one HTTP/1.1 client, three kinds of failure: `Unreachable`, `Refused`, `AnswerInvalid`.
- `directory`: `TrustedDirectory`, current addresses and keys under one pinned root.
- `custodian`, `collector`: one method per route.
- `joining`: from an invitation code to a membership. `credentials`: the opening key on disk.
"""
