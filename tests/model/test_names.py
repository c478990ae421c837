"""Checked names: what they take, what they refuse, and that foreign data is read by them alone."""

from __future__ import annotations

import ast
import json
import posixpath
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinhull
from twinhull.model import names
from twinhull.model.checks import checked_text
from twinhull.model.codec import spec_from_json, spec_to_json
from twinhull.model.errors import DataError
from twinhull.model.lacks import Consequence, Lack, lacks_from_json, lacks_to_json
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, NicSpec

UUID = "6e7f4a1c-0000-4000-8000-00000000000a"
SPEC = MachineSpec(
    MachineId(UUID),
    "db & <co>",
    2,
    1 << 30,
    disks=(DiskSpec(DiskKey("vda"), 1 << 20),),
    nics=(NicSpec("52:54:00:00:00:01", "bridge:br0"),),
)
PATHLIKE = [
    "", ".", "..", "../x", "/etc/passwd", "a/b", "-rf", "--help", "a b", "a\nb", "a\0b", "a'b", 'a"b', "a<b",
    "vda.qcow2", "ä", "vda\u202e", "\ud800", "a" * 300, "*", "$(id)", "`id`", "~",
]  # fmt: skip
NOT_TEXT = [None, 7, True, 1.5, b"vda", ["vda"], {"vda": 1}]
STRICT = [
    names.checked_machine_id,
    names.checked_disk_key,
    names.checked_site_name,
    names.checked_plan_name,
    names.checked_point_id,
    names.checked_mac,
    names.checked_interface,
]
Check = Callable[[object], object]


@pytest.mark.parametrize("check", STRICT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("value", [*PATHLIKE, *NOT_TEXT], ids=ascii)
def test_what_could_steer_a_path_or_a_command_is_no_name(check: Check, value: object) -> None:
    if value == "vda.qcow2" and check is names.checked_interface:
        return  # Linux takes a dot in an interface's name
    with pytest.raises(ValueError, match="is not"):
        check(value)


@given(st.sampled_from([*STRICT, names.checked_word, names.checked_tracker]), st.text(max_size=40))
def test_whatever_is_a_strict_name_stays_one_component_of_a_path_and_one_word(check: Check, text: str) -> None:
    try:
        name = str(check(text))
    except ValueError:
        return
    parts = name.split("/") if check is names.checked_point_id else [name]
    assert posixpath.normpath(f"/x/{name}/y") == f"/x/{name}/y"
    assert all(part and part[0] not in "-." and part.isascii() and part.isprintable() for part in parts)
    assert not set(name) & set(" '\"<>&$`\\;|*?")


@pytest.mark.parametrize(
    "value", ["a\nb", "a\x1b[2J", "a\x9b1m", "", "a" * 256, "\ud800", "a\u2028b", *NOT_TEXT], ids=ascii
)
def test_a_line_of_text_has_no_controls_and_an_end(value: object) -> None:
    for check in (checked_text, names.checked_machine_name, names.checked_network):
        with pytest.raises(ValueError, match=r"is not|control"):
            check(value)


@pytest.mark.parametrize("value", ["a/b", ".", "..", "/"])
def test_a_machine_s_name_is_no_path(value: str) -> None:
    with pytest.raises(ValueError, match="machine's name"):
        names.checked_machine_name(value)


@pytest.mark.parametrize(
    "value",
    [-1, 1 << 61, 10**5000, True, "7", 1.0, None, float("nan")],
    ids=lambda v: str(v)[:9] if v != 10**5000 else "huge",
)
def test_absurd_numbers_are_refused(value: object) -> None:
    for check in (names.checked_disk_bytes, names.checked_memory_bytes, names.checked_cpu_count, names.checked_epoch):
        with pytest.raises(ValueError, match="is not"):
            check(value)


def test_one_machine_has_each_key_once() -> None:
    with pytest.raises(ValueError, match="Two disks have the same key, 'vda'"):
        names.checked_disk_keys(["vda", "vdb", "vda"])


@pytest.mark.parametrize("text", [UUID.upper(), UUID.replace("-", ""), UUID])
def test_a_uuid_has_one_form(text: str) -> None:
    assert names.canonical_machine_id(text) == UUID


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(["machine_id", "name", "cpu_count", "memory_bytes", "firmware", "boot_mode", "disks", "nics"]),
)
def test_a_spec_with_one_foreign_field_is_read_whole_or_is_an_error(value: object, field: str) -> None:
    raw = {**spec_to_json(SPEC), field: value}
    try:
        spec = spec_from_json(raw)
    except DataError:
        return
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_lacks_are_read_as_they_were_written() -> None:
    lacks = (Lack("its TPM", Consequence.BOOTS_WITHOUT), Lack("its firmware's keys", Consequence.WILL_NOT_BOOT))
    assert lacks_from_json(lacks_to_json(lacks)) == lacks
    assert lacks_from_json(None) == ()
    assert [lack.reason for lack in lacks] == [
        "The replica boots without its TPM.",
        "The replica will not boot: it lacks its firmware's keys.",
    ]


@pytest.mark.parametrize(
    "raw", ["x", [1], [{}], [{"what": "x", "consequence": "explodes"}], [{"what": 1}], {"what": 1}]
)
def test_what_is_no_list_of_lacks_is_an_error(raw: object) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        lacks_from_json(raw)


FOREIGN_ROOMS = ("hosts", "platforms", "repository", "model")
"""The rooms that read what others wrote."""
OWN_WORDS = {"platforms/simulated", "platforms/conformance/checks.py", "platforms/conformance/scratch.py"}
"""Not foreign: a site in memory, and the conformance kit's own machine."""


def test_only_the_checked_constructors_make_names_of_foreign_data() -> None:
    root = Path(twinhull.__file__).parent
    unchecked = set()
    for path in (path for room in FOREIGN_ROOMS for path in (root / room).rglob("*.py")):
        where = path.relative_to(root).as_posix()
        is_own = where == "model/names.py" or any(where.startswith(own) for own in OWN_WORDS)
        unchecked |= {where} if not is_own and _makes_raw_names(path) else set()
    assert unchecked <= ALLOWED.keys()


ALLOWED = {
    "platforms/qemu/canary.py": "an id of our own making",
    "repository/format/ids.py": "a point's id, put together from a checked machine id and a number",
    "repository/format/collection_state.py": "sealed by the repository's key",
}


def _makes_raw_names(path: Path) -> bool:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    kinds = {"MachineId", "DiskKey", "PointId", "SiteName"}
    return any(isinstance(call.func, ast.Name) and call.func.id in kinds for call in calls)
