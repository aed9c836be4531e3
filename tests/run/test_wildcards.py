from personalrm.run.stage import Wildcards


def test_jobs_of_each_combination_in_the_order_of_the_fields() -> None:
    found = Wildcards.every(dataset=["people", "others"], model=["big", "tiny"])
    assert [(job.dataset, job.model) for job in found] == [
        *(("people", "big"), ("people", "tiny")),
        *(("others", "big"), ("others", "tiny")),
    ]
    assert {job._replace(dataset="", model="") for job in found} == {Wildcards()}


def test_a_field_without_values_has_no_job() -> None:
    assert Wildcards.every(dataset=["people"], model=()) == []
