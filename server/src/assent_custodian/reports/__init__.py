"""What the collector says that it did, in the log: signed by the collector, checked and written down here."""
