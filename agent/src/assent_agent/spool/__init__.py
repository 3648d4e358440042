"""The spool: what was recorded and is not yet stored elsewhere, sealed, on the laptop's disk.

What the laptop can read of it
------------------------------

Nothing. A segment is sealed in memory, to a key whose private half only the custodian has, before any of it touches
the disk. Its data key stays in memory (`held.HeldKeys`) while the review hold runs, so that the person can look at it,
and is dropped when the hold ends, when the segment is about to be sent, or when the process ends, whichever is first.

What is on the disk
-------------------

One folder per stream, named by the stream's random id:

    3f0c…/certificate.json             the newest certificate of the stream, as the custodian signed it
    3f0c…/position.json                how far the collector has signed that it stored the stream
    3f0c…/0000000007.segment           a sealed segment that was never sent: it can still be forgotten
    3f0c…/0000000006.sending           a sealed segment whose upload was attempted: the collector may have it
    3f0c…/0000000008-0000000010.skip   signed: numbers 8 to 10 will never come
    3f0c…/0000000011.end               signed: the stream has 11 numbers and no more

The bytes of a segment file: the line `ASSENT-SEGMENT-1`; the lengths of header, sealed key, digest and signature (two
bytes each, big endian) and of the body (eight bytes); these five parts. Record files are the JSON that is sent.

Times of files are set to the beginning of their hour, as in the header: nothing here says more precisely when somebody
worked. Stream keys are not here but in the secret store, under `stream/<id>`.

How a crash cannot spoil it
---------------------------

Every file is written beside its place (`.tmp`), synced, renamed into place, and the folder synced. The steps of each
story are ordered so that after a crash between any two of them the rest of the story can be told from what is there:

- *Seal.* A number is taken by the name of the segment's file. Before the rename nothing has the number, after it this
  segment has it, and nothing is sent before the folder was synced: no number ever has two segments.
- *Send.* `.segment` is renamed to `.sending` and the folder synced before the first byte leaves. From then on the
  segment cannot be forgotten here, since the collector may have it.
- *Stored.* On the collector's signature, and on nothing else, `position.json` moves on; then what lies before it is
  removed. What a crash leaves behind lies before the position, and is removed at the next start.
- *Forget.* The skip record is written; then the segments it covers are removed. What a crash leaves behind is covered
  by the skip record, and is removed at the next start. So a number is either there or skipped, never both and never
  neither.
- *End.* The end record is written; when the collector has signed for it, key and folder are removed.
- *Destroy.* The folder is renamed to `<id>.gone`, which makes it no stream any more; then key, files and folder are
  removed. What a crash leaves behind ends in `.gone`, and is removed at the next start. Overwriting is not promised:
  on flash memory nobody can. What is removed was unreadable here before.

There is one function, `Spool._load`, that makes memory out of a folder. It runs at the start, and again whenever a
write failed, so that recovery is no second, rarely used way. Streams that an earlier run left open get an end record
that says `crashed`; a segment that the disk has damaged gets a skip record that says `lost`.

A stream with nothing in it, of which the collector never heard, is removed without a word.
"""
