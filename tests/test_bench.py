"""The parts of `make bench` that decide what it says: framing, sums, goals, gate, table, picture. Nothing is timed."""

import gzip
import json
import os
import socket
import xml.etree.ElementTree as ElementTree
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import gate, goals, machine, picture, report, results
from bench.__main__ import renew
from bench.callgrind import Profile
from bench.http1 import Body, chunked, dechunked
from bench.load import Caller
from bench.phases import PHASES
from bench.results import Measured, Results
from bench.running import SMALL
from bench.targets import Place, Target, all_targets
from bench.upstream import _zipped, small_answers

CALL = "small.cpu.64"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def run(noise: float = 1.0, **targets: dict[str, list[float]]) -> Results:
    """A run of these targets (`aiohttp_connector` for `aiohttp-connector`): their figures' values, round by round."""
    found = Results("2026-11-22 12:00", "a machine", 3, 2.0)
    for word, figures in targets.items():
        name = word.replace("_", "-")
        count = max(map(len, figures.values()), default=1)
        rounds = [{figure: values[at] for figure, values in figures.items() if at < len(values)} for at in range(count)]
        found.targets[name] = Measured(f"{name}, labelled", rounds=[{"noise": noise} | figures for figures in rounds])
    return found


# --- framing ---------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.integers(1, 50), st.data())
def test_a_chunked_body_ends_with_its_last_chunk(body: bytes, size: int, data: st.DataObject) -> None:
    wire = chunked(body, size)
    if b"\r\n0\r\n\r\n" in wire[:-7]:
        return  # what our own bodies never hold, as the module says
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1))))
    framing = Body(CHUNKED_HEAD)
    ends = [framing.feed(wire[start:end]) for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert ends == [False] * len(cuts) + [True]
    assert framing.received == len(wire)
    assert dechunked(CHUNKED_HEAD, wire) == body


def test_a_body_by_length_ends_with_its_last_byte() -> None:
    framing = Body(b"HTTP/1.1 200 OK\r\ncontent-LENGTH:  5\r\n\r\n")
    assert [framing.feed(piece) for piece in (b"he", b"ll", b"o")] == [False, False, True]
    assert dechunked(b"Content-Length: 5\r\n\r\n", b"hello") == b"hello"


# --- what is asked and answered ---------------------------------------------------------------------------------


def test_no_two_prompts_and_no_two_answers_in_a_row_are_the_same() -> None:
    requests = list(islice(Caller(80).requests(SMALL), 97))
    assert len(set(requests)) == 97
    assert len({request.partition(b"\r\n\r\n")[0] for request in requests}) == 13, "lengths"
    assert all(json.loads(request.partition(b"\r\n\r\n")[2])["contents"] for request in requests)
    answers = small_answers()
    assert len({answer.partition(b"\r\n\r\n")[0] for answer in answers}) > 80
    assert len(set(answers)) == len({json.loads(answer.partition(b"\r\n\r\n")[2])["responseId"] for answer in answers})
    assert len({len(answer) for answer in answers}) == 1, "by its length the load knows a whole one"
    head, _, body = _zipped(answers[7]).partition(b"\r\n\r\n")
    assert gzip.decompress(dechunked(head + b"\r\n\r\n", body)) == answers[7].partition(b"\r\n\r\n")[2]


def test_who_holds_a_connection_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            assert machine.holders(port, [os.getpid()]) == {}
            with server.accept()[0]:
                assert machine.holders(port, [os.getpid()]) == {caller.getsockname()[1]: os.getpid()}


# --- targets ---------------------------------------------------------------------------------------------------


def test_every_file_of_targets_is_found_and_fits_the_phases() -> None:
    targets = {target.name: target for target in all_targets()}
    assert {"direct", "nginx", "envoy", "aiohttp-session", "aiohttp-connector", "litellm", "weir"} <= set(targets)
    assert {target.name for target in targets.values() if set(target.phases) - set(PHASES)} == set()
    assert [target.name for target in targets.values() if target.start is None] == ["direct"]
    assert set(goals.PLUGINS) | set(goals.PLUGINS.values()) <= set(targets)


@pytest.mark.parametrize("target", [it for it in all_targets() if it.start], ids=lambda target: target.name)
@pytest.mark.parametrize("tls", [False, True])
def test_a_target_writes_only_into_its_folder_and_knows_its_ports(target: Target, tls: bool, tmp_path: Path) -> None:
    place = Place(
        folder=tmp_path,
        port=40001,
        admin=40002,
        upstream=40003,
        certificate=tmp_path / "cert.pem" if tls else None,
        jwks="http://127.0.0.1:40003/jwks.json",
        keys=tmp_path / "jwks.json",
        weir=tmp_path,
    )
    assert target.start is not None
    command, environment = target.start(place)
    said = " ".join([*command, *environment.values(), *(file.read_text() for file in tmp_path.iterdir())])
    assert "40001" in said
    assert "40003" in said
    assert ("https" in said or "cert.pem" in said) == tls


# --- sums ------------------------------------------------------------------------------------------------------


def test_a_figure_is_the_median_of_the_rounds_and_its_best_the_least() -> None:
    found = run(weir={CALL: [60.0, 50.0, 90.0]})
    assert (found.median("weir", CALL), found.best("weir", CALL)) == (60.0, 50.0)
    assert found.median("weir", "image.cpu.length") is None
    assert found.median("nobody", CALL) is None


def test_results_survive_the_file(tmp_path: Path) -> None:
    found = run(weir={CALL: [60.0]}, envoy={CALL: [50.0]})
    found.targets["envoy"].fail("events: lost")
    found.targets["envoy"].fail("events: lost")
    found.save(tmp_path / "deep" / "bench.json")
    assert results.load(tmp_path / "deep" / "bench.json") == found
    assert found.targets["envoy"].failures == ["events: lost"]


# --- goals -----------------------------------------------------------------------------------------------------


def verdicts(found: Results) -> dict[str, str]:
    return {goal.what: goal.verdict(goal.value(found)) for goal in goals.GOALS}


def test_verdicts_say_holds_or_by_how_much_it_misses() -> None:
    found = run(
        direct={"events.first": [100.0]},
        weir={CALL: [52.0], "events.first": [260.0], "held.failed.1000": [0.0], "held.memory.1000": [50 / 1024]},
        envoy={CALL: [40.0], "events.first": [300.0]},
        aiohttp_connector={CALL: [40.0]},
        litellm={CALL: [8000.0]},
    )
    said = verdicts(found)
    assert said["a small call, 64 callers, against aiohttp's bare connector"] == "holds"
    assert said["the same against LiteLLM's Gemini pass-through"] == "holds, stretch too"
    assert said["SSE: added time to the first event, against Envoy's"] == "holds, stretch too"
    assert said["1,000 held calls: failed"] == "holds, stretch too"
    assert said["1,000 held calls: memory each"] == "misses by 25%"
    assert said["20 MB in chunks"] == "not measured"


def test_two_workers_are_compared_by_what_they_carry() -> None:
    found = run(
        weir_one={"workers.rate": [14_000.0, 15_000.0, 10_000.0]},
        weir_two={"workers.rate": [27_300.0], "workers.share": [0.52], "workers.accepted": [0.8]},
    )
    assert goals.scaling(found, "weir") == pytest.approx(1.95)
    assert "carry 27,300 calls a second, 1.95 times the 14,000" in report.workers(found)
    assert "one of the two did 52% of the work" in report.workers(found)
    assert "taken 80% of the connections" in report.workers(found)
    assert "nginx" not in report.workers(found)
    found.targets |= run(nginx_one={"workers.rate": [30_000.0]}, nginx_two={"workers.rate": [57_000.0]}).targets
    assert "nginx's two carry 1.90 times what its one does" in report.workers(found)
    assert report.workers(run(weir={CALL: [57.0]})) == ""


def test_a_plugin_costs_what_it_adds_to_the_same_without_it() -> None:
    found = run(
        weir_bare={CALL: [30.0, 29.0]},
        weir_auth={CALL: [33.0, 31.0]},
        weir_quota={CALL: [34.0, 33.5]},
    )
    assert goals.plugin_costs(found) == {"auth": 2.0, "quota": 2.5}


# --- gate ------------------------------------------------------------------------------------------------------


def limits(at_most: float) -> gate.Limits:
    return gate.Limits(1.15, 1.3, [gate.Limit(CALL, "a small call", "envoy", at_most)])


def test_a_profile_is_read_as_callgrind_writes_it() -> None:
    profile = Profile(
        """events: Ir

fl=(1) ceval.c
fn=(1) CPyDef_line___Line___write
16 5
cfn=(2) PyObject_Vectorcall
calls=3 20
16 60
+1 7
fn=(2)
20 30
cfn=(3) walk'2
calls=2 40
* 24
fn=(3)
40 4
cfn=(4) walk
calls=1 40
-3 20
fn=(4)
40 20

totals: 66
""".splitlines()
    )
    assert profile.total == 66
    assert profile.own == {"CPyDef_line___Line___write": 12, "PyObject_Vectorcall": 30, "walk": 24}
    assert profile.whole == {"CPyDef_line___Line___write": 72, "PyObject_Vectorcall": 54, "walk": 24}
    assert profile.calls == {"PyObject_Vectorcall": 3, "walk": 3}


def test_the_gate_judges_the_best_rounds_with_slack() -> None:
    found = run(weir={CALL: [90.0, 57.0]}, envoy={CALL: [50.0, 60.0]})
    assert list(gate.breaches(found, limits(1.0))) == []  # 1.14
    assert list(gate.breaches(found, limits(0.9))) == [
        "a small call costs 57.0 µs, 1.14 times envoy's 50.0; the limit is 0.90, with slack 1.03"
    ]


def test_the_gate_stays_shut_where_a_peer_is_missing() -> None:
    found = run(weir={CALL: [57.0]})
    assert list(gate.breaches(found, limits(1.0))) == ["a small call: no figure of envoy (it did not run)"]


def test_the_gate_judges_nothing_in_noise() -> None:
    with pytest.raises(gate.TooNoisy, match=r"noise 1\.50, and 1\.3 is allowed"):
        list(gate.breaches(run(noise=1.5, weir={CALL: [57.0]}, envoy={CALL: [50.0]}), limits(9.0)))


def test_the_limits_name_what_exists() -> None:
    by = gate.limits()
    targets = {target.name: target for target in all_targets()}
    for limit in by.limits:
        assert limit.phase in targets[limit.against].phases
        assert limit.phase in targets[gate.SUBJECT].phases
    assert set(by.phases) == {limit.phase for limit in by.limits}


# --- table and picture -----------------------------------------------------------------------------------------

WHOLE = {"small.cpu.1": [1.0], "image.cpu.length": [500.0], "slow.memory.64x20": [0.25]}


def test_the_report_has_a_row_a_target_the_cheapest_first_and_what_went_wrong() -> None:
    found = run(
        litellm=WHOLE | {CALL: [8_900.0]}, weir=WHOLE | {CALL: [55.0, 53.0, 57.0]}, nginx=WHOLE | {CALL: [15.0]}
    )
    found.targets["litellm"].fail("a request body is written anew")
    found.targets["litellm"].rounds[0]["slow.broken.64x20"] = 3
    page = report.whole(found)
    small = page.partition("## Small calls")[2].partition("##")[0].splitlines()
    assert [line.split(" | ")[0] for line in small if line.startswith("|")][2:] == [
        "| nginx, labelled",
        "| **weir, labelled**",
        "| litellm, labelled",
    ]
    assert " 55 (53) | 3.7 | " in page
    assert "- litellm: a request body is written anew\n- litellm: slow.broken.64x20: 3\n" in page
    assert "noise 1.00 in the median" in page
    assert report.main_targets(run(weir_two={}, nginx={})) == ["nginx"]
    assert "| **weir, labelled** | 55 µs | 500 µs | 0.25 MB |" in report.headlines(found)


def test_the_picture_is_an_svg_with_a_bar_and_a_number_for_each_figure() -> None:
    found = run(
        weir=WHOLE | {CALL: [55.0]},
        litellm={"small.cpu.1": [1.0], CALL: [8_900.0]},
        direct={"small.cpu.1": [0.0], CALL: [0.0]},
    )
    root = ElementTree.fromstring(picture.draw(found))
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    bars = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert {"weir, labelled", "litellm, labelled", "55", "8,900", "500", "0.25"} <= set(words)
    assert "direct, labelled" not in words
    assert words.count("not measured") == 2
    assert len(bars) == 1 + 4  # the card
    assert max(bars) <= float(root.attrib["width"])


def test_a_bar_is_longer_for_more_and_stays_in_its_panel() -> None:
    panel = picture.PANELS[0]
    lengths = [panel.length(value, 9_000) for value in (1, 15, 55, 900, 9_000)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0.0, pytest.approx(1.0))


def test_a_page_is_renewed_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- bench: written by make bench -->\nold\n<!-- /bench -->\nafter\n")
    renew(page, "new")
    renew(page, "newer")
    assert page.read_text() == "before\n<!-- bench: written by make bench -->\n\nnewer\n\n<!-- /bench -->\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no"):
        renew(page, "new")
