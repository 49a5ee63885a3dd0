"""A card as a reader gets it: JSON with a schema, a Markdown memo, an offline HTML report, a comparison. All deterministic."""
