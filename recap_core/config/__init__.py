"""One frozen pydantic model per stage."""
