"""How a judge is asked and how its answer is read: one file per mode, the ask and the read side by side."""
