"""Beside the path: the line view, for whoever has a meter, a collector or a firmware of their own on the bench."""
