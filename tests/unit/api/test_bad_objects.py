"""Whoever reads a file without an API server refuses the same objects, at the same field, in the same words."""

from itertools import chain
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from meltguard.api.crd import RESOURCES, structural
from meltguard.api.policy import ImageServicePolicy
from meltguard.api.pool import GPUPool
from meltguard.api.rules import VALIDATIONS
from support.bad import Bad
from support.bad_policies import BAD_POLICIES
from support.bad_pools import BAD_POOLS
from support.bad_tiers import BAD_TIERS
from support.objects import a_policy_object, a_pool_object, edited


def refused(model: type[BaseModel], body: dict[str, Any], bad: Bad) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    errors = caught.value.errors()
    places = [".".join(map(str, error["loc"])) for error in errors]
    at = bad.at.replace("[", ".").replace("]", "")
    assert any(one_names_the_other(at, place) for place in places), places
    if not bad.native:
        assert any(bad.said in error["msg"] for error in errors), errors


def one_names_the_other(at: str, place: str) -> bool:
    return place.endswith(at) or place.startswith(f"{at}.") or bool(place and at.startswith(f"{place}."))


def offline(table: dict[str, Bad]) -> dict[str, Bad]:
    return {told: bad for told, bad in table.items() if not bad.online_only}


POLICIES = offline({**BAD_POLICIES, **BAD_TIERS})
POOLS = offline(BAD_POOLS)


@pytest.mark.parametrize("bad", POLICIES.values(), ids=POLICIES)
def test_a_bad_policy_is_refused_offline(bad: Bad) -> None:
    refused(ImageServicePolicy, edited(a_policy_object(), bad.edits), bad)


@pytest.mark.parametrize("bad", POOLS.values(), ids=POOLS)
def test_a_bad_pool_is_refused_offline(bad: Bad) -> None:
    refused(GPUPool, edited(a_pool_object(), bad.edits), bad)


def rule_messages(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set(chain.from_iterable(map(rule_messages, schema)))
    if not isinstance(schema, dict):
        return set()
    own = {rule["message"] for rule in schema.get(VALIDATIONS, ())}
    return own | set(chain.from_iterable(map(rule_messages, schema.values())))


def test_every_rule_has_an_object_that_it_refuses() -> None:
    told = [bad.said for table in (BAD_POLICIES, BAD_TIERS, BAD_POOLS) for bad in table.values() if not bad.native]
    messages = set().union(*(rule_messages(structural(resource)) for resource in RESOURCES))
    assert len(messages) > 50
    assert [message for message in sorted(messages) if not any(said in message for said in told)] == []
