"""Third station: act. Runs the steps of a plan, each try written down before it starts and after it ends (I5, I10).

From outside: `plan.make`, `runner.Runner`, `probe.Prober`, `commands.Commands` and `process.Processes`. Nothing here decides whether
to act, and nothing here knows a platform: a platform is a runbook.
"""
