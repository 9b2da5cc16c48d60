"""Lineages, and what plugins make of them."""

from proxy import Team, Teams

ACME, STUDIO = Team("acme"), Team("studio", parent="acme")


def test_a_lineage_is_nearest_first() -> None:
    teams = Teams({"acme": ACME, "studio": STUDIO, "orphan": Team("orphan", parent="gone")})
    assert teams.lineage("studio") == (STUDIO, ACME)
    assert teams.lineage("acme") == (ACME,)
    assert [team.name for team in teams.lineage("orphan")] == ["orphan"]
    assert teams.lineage("gone") == ()


def test_what_is_derived_is_made_once_for_each_team_and_again_after_a_reload() -> None:
    teams = Teams({"acme": ACME, "studio": STUDIO})
    made: list[list[str]] = []

    def names_of(lineage: tuple[Team, ...]) -> list[str]:
        made.append([team.name for team in lineage])
        return made[-1]

    names = teams.derive(names_of)
    assert made == [], "nothing is made before it is asked for"
    for _ in range(2):
        assert names.of("studio") == ["studio", "acme"]
        assert names.of("acme") == ["acme"]
        assert names.of("nobody") is None
    assert made == [["studio", "acme"], ["acme"]]

    teams.replace({"studio": Team("studio")})
    assert names.of("studio") == ["studio"]
    assert names.of("acme") is None
    teams.replace({"acme": ACME})
    assert names.of("acme") == ["acme"]
    assert made == [["studio", "acme"], ["acme"], ["studio"], ["acme"]], "also where the team is what it was"
