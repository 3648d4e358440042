"""The log as anybody can check it: an RFC 6962 tree in the C2SP formats, with nothing but bytes going in and out.

Nothing here reads a clock, a disk or a network. Whoever keeps a log hands in a way to look up hashes; whoever checks
one hands in what was received, and gets either the verified facts or an error named for what was wrong.
"""
