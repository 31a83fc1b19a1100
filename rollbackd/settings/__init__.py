"""Settings: one YAML file in, frozen `Settings` out, or every error at once with its line.

`effective.py` is what the other rooms read, `load.py` is how it gets there: `yaml_file` → `shape` (by `schema`) → `resolve`, `services`,
`judging`, `runbooks` → `lints`. Secrets are file names here, never values. A new key needs its place in `schema.py`, in the policy, and a
test of its error.
"""
