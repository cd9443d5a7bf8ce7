"""Things beside head-end and measurements: which devices there are, their sessions, and what was refused of them."""
