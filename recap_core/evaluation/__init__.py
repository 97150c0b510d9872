"""Success rates with intervals."""
