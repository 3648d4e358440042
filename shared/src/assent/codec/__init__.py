"""Observations and pictures as compact bytes, and back. Pure: no clock, disk, network or threads.

What is written comes back bit for bit. What is read is distrusted: damage of any kind is `ContentInvalid` and nothing
else, and no input makes a reader allocate more than its `Limits` allow. The format is in docs/formats/content.md.
"""
