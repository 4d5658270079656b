"""What the models make of sound objects."""

import pytest
from pydantic import ValidationError

from meltguard.api.levels import LevelName
from meltguard.api.policy import ImageServicePolicy
from meltguard.api.policy_metrics import DEFAULT_SIGNALS, PRESET_SCALES, SignalPreset, SignalSpec
from meltguard.api.pool import GPUPool
from meltguard.core.policy import Level, Mode, SignalUse, TierState
from support.objects import REMOVED, a_policy_object, a_pool_object, edited
from support.statuses import a_policy_status


def test_a_policy_is_read_with_its_defaults() -> None:
    spec = ImageServicePolicy.model_validate(a_policy_object()).spec
    free, plus, _ = spec.tiers
    assert spec.mode is Mode.ENFORCE
    assert free.max_rate == "40/m"
    assert free.on_level is not None
    assert free.on_level.critical is TierState.SUSPEND
    assert (plus.floor, plus.shed_status, plus.quota) == ("0%", 503, None)
    assert spec.capacity is not None
    assert spec.capacity.images_per_gpu_minute is None


def test_metadata_that_we_do_not_read_is_no_mistake() -> None:
    body = edited(a_policy_object(), {"metadata.managedFields": [{"manager": "x"}], "metadata.generation": 7})
    assert ImageServicePolicy.model_validate(body).metadata.generation == 7


def test_an_object_goes_out_as_it_came_in() -> None:
    body = a_policy_object()
    read = ImageServicePolicy.model_validate(body)
    out = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert out == body


def test_a_status_survives_the_way_out_and_in() -> None:
    text = a_policy_status().model_dump_json(by_alias=True, exclude_none=True)
    assert type(a_policy_status()).model_validate_json(text) == a_policy_status()


def test_a_newer_operators_status_is_still_read() -> None:
    body = {**a_policy_object(), "status": {"why": "calm", "mood": "good"}}
    assert ImageServicePolicy.model_validate(body).status.why == "calm"


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="kind"):
        ImageServicePolicy.model_validate(a_pool_object())


def test_a_pool_without_lending_lends_nothing() -> None:
    pool = GPUPool.model_validate(edited(a_pool_object(), {"spec.lending": REMOVED}))
    assert pool.spec.lending is None


@pytest.mark.parametrize("floor", [0, 4, "40%", "12.5%"])
def test_a_floor_keeps_its_form(floor: int | str) -> None:
    pool = GPUPool.model_validate(edited(a_pool_object(), {"spec.lending.floor": floor}))
    assert pool.spec.lending is not None
    assert pool.spec.lending.floor == floor


def test_every_level_has_a_name() -> None:
    assert [name.level for name in LevelName] == list(Level)
    assert [name.value for name in LevelName] == [level.label for level in Level]


def test_the_scales_of_presets_are_sound() -> None:
    for preset, (calm, target, critical) in PRESET_SCALES.items():
        use = SignalUse.CONFIRM if preset is SignalPreset.GPU_UTILIZATION else SignalUse.DRIVE
        assert SignalSpec(name="s", preset=preset, use=use, calm=calm, target=target, critical=critical)
    assert {signal.preset for signal in DEFAULT_SIGNALS} == set(PRESET_SCALES)


def test_descriptions_quote_the_scales_that_presets_have() -> None:
    for point, field in enumerate(("calm", "target", "critical")):
        text = SignalSpec.model_fields[field].description or ""
        assert ", ".join(f"{preset.value} {scale[point]}" for preset, scale in PRESET_SCALES.items()) in text
