"""One host is one site: a second name for it, and a second site in its directory, are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.manager.world import HERE, THERE, make_setup
from tests.platforms.libvirt_fixtures import CountedSite, xen  # noqa: F401 - a fixture
from twinhull.manager.sites.editing import require_same_host
from twinhull.manager.sites.identities import require_another
from twinhull.model.errors import AlreadyExists, SafetyError
from twinhull.model.machine import SiteName
from twinhull.model.ports import system_ports
from twinhull.platforms.contract import SiteIdentity, SiteSettings
from twinhull.platforms.simulated import SimulatedSite
from twinhull.platforms.xen.site import XenSite

AGAIN = SiteName("again")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[SiteName, SiteIdentity]:
    """What each simulated site says that it is."""
    said = {
        HERE: SiteIdentity("host-1", "directory-1"),
        THERE: SiteIdentity("host-2", "directory-2"),
        AGAIN: SiteIdentity("host-3", "directory-3"),
    }
    monkeypatch.setattr(SimulatedSite, "identity", lambda self: said[self.settings.name])
    return said


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (SiteIdentity("host-1", ""), "is the host of the site 'here' under another name"),
        (SiteIdentity("host-1", "directory-3"), "is the host of the site 'here' under another name"),
        (SiteIdentity("host-3", "directory-2"), "keeps its standings in the directory of the site 'there'"),
    ],
)
def test_a_second_name_of_a_host_is_refused_before_anything_is_changed_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: dict[SiteName, SiteIdentity],
    identity: SiteIdentity,
    reason: str,
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    names[AGAIN] = identity
    with setup.manager() as manager:
        settings = SiteSettings(AGAIN, "simulated", "simulated:again")
        with pytest.raises(AlreadyExists, match=reason):
            manager.connect(settings)
        assert not setup.world.host(AGAIN).is_prepared
        assert AGAIN not in [known.name for known in manager.catalog.sites()]
        names[AGAIN] = SiteIdentity("host-3", "")
        assert manager.connect(settings) == 0
        assert setup.world.host(AGAIN).is_prepared


def test_a_check_finds_what_became_one_host_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: dict[SiteName, SiteIdentity]
) -> None:
    """And it tries nothing there. A site that does not answer keeps no other from being checked."""
    setup = make_setup(tmp_path, monkeypatch)
    with setup.manager() as manager:
        assert not manager.check_site(HERE, is_looking_only=True).failed()
        names[HERE] = names[THERE]
        checked = manager.check_site(HERE, is_looking_only=False)
        assert [check.name for check in checked.checks] == ["a host of its own"]
        failed = checked.failed()
        assert failed
        assert "is the host of the site 'there'" in failed.message
        setup.world.host(THERE).isolate()
        assert not manager.check_site(HERE, is_looking_only=True).failed()


def test_two_sites_on_one_host_are_told_by_what_they_are(xen: CountedSite) -> None:  # noqa: F811 - the fixture
    """Under another name, and with a directory of its own; and a copy of the directory on another host."""
    settings = xen.site.settings
    beside = replace(settings, name=AGAIN, options={**settings.options, "directory": f"{xen.directory}-2"})
    for other in (replace(settings, name=AGAIN), beside):
        site = XenSite(other, system_ports())
        site.connect()
        with pytest.raises(AlreadyExists, match="under another name"):
            require_another(AGAIN, site.identity(), {settings.name: xen.site.identity()})
        site.close()
    assert not Path(beside.options["directory"]).exists(), "looking makes nothing"
    moved = replace(xen.site.identity(), host="another")
    with pytest.raises(AlreadyExists, match="in the directory of the site"):
        require_another(AGAIN, moved, {settings.name: xen.site.identity()})


@pytest.mark.parametrize(
    ("found", "is_same"),
    [
        (SiteIdentity("host-1 boot-1", "directory-1"), True),
        (SiteIdentity("host-1 boot-2", "directory-1"), True),
        (SiteIdentity("host-1 boot-1", ""), True),
        (SiteIdentity("host-1 boot-1", "directory-2"), False),
        (SiteIdentity("host-1 boot-2", ""), False),
        (SiteIdentity("host-2 boot-1", "directory-2"), False),
    ],
)
def test_a_host_that_was_booted_meanwhile_is_known_by_its_directory(found: SiteIdentity, is_same: object) -> None:
    known = SiteIdentity("host-1 boot-1", "directory-1")
    if is_same:
        require_same_host(HERE, known, found)
    else:
        with pytest.raises(SafetyError):
            require_same_host(HERE, known, found)
