"""How good validation and estimation are where the truth is known (VEE 回测): hidden hours, and faults that are put in."""
