"""`make demo`: the whole story on one machine, through the public commands only, with every promise tried."""
