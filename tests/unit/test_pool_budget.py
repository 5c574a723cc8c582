"""The arithmetic of pools, and what is said of a server's settings."""

from __future__ import annotations

import pytest

from app_container.pools.pool_budget import LIMIT_SETTING, PoolBudget
from app_container.server_settings import ServerSettings


def test_pools_that_fit_are_no_reason_to_warn() -> None:
    budget = PoolBudget(processes=4, pool_size=49, limit=400)
    assert budget.worst_case == 392
    assert budget.warning is None


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (
            PoolBudget(processes=8, pool_size=50, limit=400),
            ["8 processes x 2 drivers x 50 connections = 800", "is 400;", "set NEO4J_MAX_POOL_SIZE to 24 or lower,"],
        ),
        (PoolBudget(processes=1, pool_size=6, limit=12), ["1 process x 2", "set NEO4J_MAX_POOL_SIZE to 5 or lower,"]),
        (PoolBudget(processes=8, pool_size=1, limit=16), ["= 16, ", "use fewer processes, or raise " + LIMIT_SETTING]),
    ],
)
def test_a_warning_names_the_numbers_and_a_fix_that_helps(budget: PoolBudget, words: list[str]) -> None:
    assert budget.warning is not None
    assert all(word in budget.warning for word in words), budget.warning
    assert "\n" not in budget.warning


def test_a_limit_that_the_server_does_not_tell_is_unknown() -> None:
    budget = PoolBudget(processes=100, pool_size=100, limit=ServerSettings({}).threads)
    assert budget.warning is None


def test_advice_is_given_for_settings_that_let_clients_wait_and_for_no_others() -> None:
    settings = ServerSettings(
        {"db.lock.acquisition.timeout": "0s", "db.transaction.timeout": "2m", LIMIT_SETTING: "400"}
    )
    assert settings.threads == 400
    (line,) = settings.advice
    assert line.startswith("db.lock.acquisition.timeout is 0s: ")
