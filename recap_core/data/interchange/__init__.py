"""Labels of other RECAP tools, read and written in their own layouts (docs/interchange.md)."""
