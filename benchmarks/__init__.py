"""What rollbackd costs, beside its peers in the same run: `python -m benchmarks [name …]`. Only ratios outlive the machine."""
