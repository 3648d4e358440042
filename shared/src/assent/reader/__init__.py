"""Reading what a lease opened: verified, in memory, with an account of every gap. Begin with `assent.open`."""
