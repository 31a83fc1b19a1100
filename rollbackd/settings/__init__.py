"""Settings: one YAML file in, frozen `Settings` out, or every error at once with its line.

`effective.py` is what the other rooms read; `schema.py` and `load.py` are how it gets there. Secrets are file names here, never values.
"""
