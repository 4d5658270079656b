import json

from meltguard.rehearse.figures import figures_of
from meltguard.rehearse.rehearsal import Rehearsal
from meltguard.rehearse.report import report, written


def test_the_report_has_all_of_it_in_camel_case(surged: Rehearsal) -> None:
    whole = report([(surged, figures_of(surged), ("lost>0: it is 1",))])
    read = json.loads(written(whole))
    assert (read["surge"], read["begins"], read["seed"]) == ("made up", "2026-03-02T09:00:00Z", 1)
    [policy] = read["policies"]
    assert policy["policy"] == "serving/image-gen"
    assert policy["broken"] == ["lost>0: it is 1"]
    assert policy["figures"]["tiers"][0]["shedShare"] > 0.1
    assert {"at", "level", "reason", "text"} == set(policy["story"][0])
