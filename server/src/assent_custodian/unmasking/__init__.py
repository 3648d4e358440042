"""Learning who a pseudonym of the log is: two people sign, and the person is told."""
