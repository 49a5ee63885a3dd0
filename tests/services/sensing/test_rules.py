"""The rule table: complete, closed, overridable by key, documented by its own examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldstone.errors import UsageError
from fieldstone.services.sensing import devices, flags, service
from fieldstone.services.sensing.rules import published
from fieldstone.services.sensing.rules.examples import EXAMPLES, Example
from fieldstone.services.sensing.rules.models import MODELS
from fieldstone.services.sensing.rules.reasons import REASONS
from fieldstone.services.sensing.rules.render import render_markdown
from fieldstone.services.sensing.rules.v1 import PARAMETERS, default_params, fleet_parameters, with_overrides
from fieldstone.services.sensing.schema import VARIABLE_NAMES, VARIABLES
from tests.services.sensing.stations import LEAP_DAY_MS, epoch, losses, readings, registry

PARAMS = default_params(1)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title[:40])
def test_worked_example(example: Example) -> None:
    count = len(next(iter(example.given.values())))
    times = [LEAP_DAY_MS + number * example.step_s * 1000 for number in range(count)]
    whole = epoch(readings("a", times, **example.given), registry("a", model=example.model))
    value_reasons = {reason for reason in flags.CHECK_OF if reason != "FUTURE_TIME"}
    found = {key: row["rows"] for key, row in losses(whole).items() if key[1] in value_reasons}
    assert found == dict(example.flagged)


def test_every_code_that_a_check_can_give_is_on_the_closed_list() -> None:
    assert set(devices.CHECKS) <= set(REASONS)
    assert set(flags.CODES) - {""} <= set(REASONS)


def test_every_number_says_where_it_comes_from() -> None:
    for name, parameter in (PARAMETERS | fleet_parameters()).items():
        assert parameter.meaning and parameter.source, name
    for name, model in MODELS.items():
        assert model.source and model.title, name
        assert set(model.required) <= set(model.variables) <= set(VARIABLE_NAMES)


def test_model_limits_lie_within_what_is_possible_or_are_wider_by_choice() -> None:
    for model in MODELS.values():
        for column in VARIABLES:
            limits = model.variables.get(column.name)
            assert limits is None or limits.low < limits.high


def test_overrides_by_dotted_key_and_by_table() -> None:
    dotted = with_overrides(PARAMS, {"models.WS1000.hold_s": 30, "fleet_step_s": 60})
    table = with_overrides(PARAMS, {"models": {"WS1000": {"hold_s": 30}}, "fleet_step_s": 60})
    assert dotted == table
    assert dotted["models"]["WS1000"]["hold_s"] == 30 and PARAMS["models"]["WS1000"]["hold_s"] == 60


def test_a_new_model_starts_from_the_default_one() -> None:
    params = with_overrides(
        PARAMS, {"models.acme.variables.temperature_c.high": 50, "models.acme.required": ["temperature_c"]}
    )
    assert params["models"]["acme"]["hold_s"] == PARAMS["models"]["generic"]["hold_s"]
    assert params["models"]["acme"]["variables"]["temperature_c"]["high"] == 50


@pytest.mark.parametrize(
    "overrides",
    [
        {"no_such_key": 1},
        {"models.WS1000.no_such": 1},
        {"models.WS1000": 5},
        {"fleet_step_s": "300"},
        {"fleet_step_s": True},
        {"fleet_step_s": float("nan")},
        {"default_model": 3},
        {"models.WS1000.required": [1]},
        {"fleet_step_s.deeper": 1},
    ],
)
def test_wrong_overrides_name_the_key(overrides: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(overrides)).split(".")[0]):
        with_overrides(PARAMS, overrides)


def test_an_unknown_rule_version_is_an_error() -> None:
    with pytest.raises(UsageError, match="no rule version 2"):
        service.default_params(2)


def test_the_page_holds_every_rule() -> None:
    page = render_markdown()
    for word in [*PARAMETERS, *MODELS, *REASONS, *VARIABLE_NAMES]:
        assert f"`{word}`" in page, word
    for example in EXAMPLES:
        assert example.title in page
    assert page == render_markdown()


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "sensing" / "published_rules.json").read_text())


def test_published_geodnet() -> None:
    vectors = VECTORS["geodnet_reward_ratio"]
    for satellites, ratio in vectors["since_gip6"]:
        assert published.geodnet_reward_ratio(satellites) == pytest.approx(ratio)
    for satellites, ratio in vectors["before"]:
        assert published.geodnet_reward_ratio(satellites, since_gip6=False) == pytest.approx(ratio)


def test_published_dimo() -> None:
    for streak, points in VECTORS["dimo_level_points"]["points"]:
        assert published.dimo_level_points(streak) == points
    for streak, missed, left in VECTORS["dimo_level_points"]["streak_after_misses"]:
        assert published.dimo_streak_after_misses(streak, missed) == left


def test_published_weatherxm() -> None:
    dead = VECTORS["weatherxm_daily_score"]["one_dead_channel"]
    assert published.weatherxm_daily_score([1, 1, 0, 1, 1, 1, 1]) == pytest.approx(dead)
    photo = VECTORS["weatherxm_photo_score"]
    assert published.weatherxm_photo_score(photo["directions"]) == photo["score"]
    classes = VECTORS["weatherxm_class_maximum"]
    most = published.weatherxm_class_maximum(classes["emission"], classes["classes"])
    assert most == pytest.approx(classes["maximum"], abs=1e-6)
    for name, (count, _) in classes["classes"].items():
        assert most[name] * count == pytest.approx(classes["class_total"][name], abs=1e-5)


def test_published_cell_capacity() -> None:
    """Twelve stations, ten are paid; among equals at the edge the earlier claim is."""
    scores = [0.99 - 0.01 * number for number in range(12)]
    assert published.weatherxm_cell_ranks(scores, list(range(12))) == [True] * 10 + [False] * 2
    equal = [0.9] * 9 + [0.5, 0.5]
    assert published.weatherxm_cell_ranks(equal, [*range(9), 20, 10])[9:] == [False, True]


def test_published_noise() -> None:
    vectors = VECTORS["equivalent_level_db"]
    assert published.equivalent_level_db(vectors["levels"]) == pytest.approx(vectors["leq"], abs=1e-3)
