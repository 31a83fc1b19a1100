"""Decision scenarios as data: what happened, in words and in numbers, and what should be done about it. README.md has the format."""
