"""Halting the programme, which one of three may do alone, and letting it run again, which two must sign."""
