"""The composition root: configuration, wiring and supervision of the processes. The only place that knows every adapter."""
