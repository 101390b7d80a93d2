"""Key figures: what the record says of availability, incidents and work over a period. Reckoned, never asked."""
