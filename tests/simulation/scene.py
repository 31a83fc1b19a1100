"""The way that a bad release usually takes, for tests that let one thing go wrong on it."""

from tests.simulation.promises import DAY
from tests.simulation.world import BEGIN, World

_MINUTE = 60


def go(world: World, service: str = "shop") -> None:
    """Released, broken, alerted of, rolled back and watched; or up to where the daemon dies."""
    world.deploy(service, "r1", bad=True)
    world.record(service, "r1", started_at=BEGIN)
    world.pass_time(5 * _MINUTE)
    world.alert(service)
    world.pass_time(2 * _MINUTE)
    world.alert(service, resolved=True)
    until_quiet(world)


def go_on(world: World, service: str = "shop") -> None:
    """After a death: started again, and what was not acknowledged is said again, as CI and Alertmanager do."""
    world.start()
    world.record(service, "r1", started_at=BEGIN)
    world.alert(service, again=True)
    world.alert(service, resolved=True)
    until_quiet(world)


def until_quiet(world: World) -> None:
    """Until every incident has ended; or up to where the daemon dies."""
    began = world.now
    world.pass_time(1)
    while world.life is not None and not world.promises.is_quiet():
        world.pass_time(_MINUTE)
        world.promises.after_step()
        assert world.now < began + DAY, world.promises.incidents()
    world.promises.after_step()
