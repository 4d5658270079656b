from meltguard.demo.people import PERSON, rights
from meltguard.demo.scene import SERVING


def test_the_person_may_change_what_is_in_the_services_namespace_and_nothing_else() -> None:
    bound = rights()

    assert (bound["kind"], bound["metadata"]["namespace"]) == ("RoleBinding", SERVING)
    assert bound["roleRef"]["name"] == "edit"
    assert [subject["name"] for subject in bound["subjects"]] == [PERSON]
