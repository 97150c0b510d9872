"""One function per stage: artifacts in, one artifact out."""
