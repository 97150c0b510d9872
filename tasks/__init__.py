"""One Prefect task per stage function."""
