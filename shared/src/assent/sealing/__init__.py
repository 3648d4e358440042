"""Sealing: what turns recorded content into a segment that only its vault key opens, and back.

Pure: no clock, disk, network or thread. Cryptography comes from the `cryptography` package (HPKE, Cobblestone,
Ed25519); only the framing is ours. The format is described in `docs/formats/segment.md`.
"""
