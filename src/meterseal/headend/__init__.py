"""The first open ground of the path: prove a record, read it, say it. Knows no store, no name and no tariff."""
