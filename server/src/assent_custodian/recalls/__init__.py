"""Recalls: recipients are told which of the streams that they read must be dropped, and sign that they did."""
