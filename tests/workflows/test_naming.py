import pytest

from workflows.naming import slug


@pytest.mark.parametrize(("name", "node"), [("T1w", "T1w"), ("ce-gadolinium_T1w", "ce_gadolinium_T1w")])
def test_a_name_becomes_one_that_nodes_can_have(name, node):
    assert slug(name) == node
