from __future__ import annotations

import pytest

from twinhull.model.errors import UsageError
from twinhull.model.machine import SiteName
from twinhull.platforms.contract import NoOptions, SiteSettings, checked_options, options_of, require_fixed
from twinhull.platforms.qemu.options import Accelerator, QemuOptions
from twinhull.platforms.xen.options import XenOptions


def site(**options: str) -> SiteSettings:
    return SiteSettings(SiteName("here"), "qemu", "qemu:///system", options)


def test_options_are_typed_and_written_with_their_defaults() -> None:
    settings = site(accelerator="kvm")
    assert options_of(QemuOptions, settings).accelerator is Accelerator.KVM
    assert checked_options(QemuOptions, settings) == {
        "directory": "/var/lib/twinhull",
        "hooks_directory": "/etc/libvirt/hooks",
        "accelerator": "kvm",
    }


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (QemuOptions, {"accelerator": "warp"}, "kvm or tcg is expected"),
        (XenOptions, {"boot_mode": "uefi"}, "hvm or pv is expected"),
        (QemuOptions, {"directory": "here"}, "an absolute path is expected"),
        (QemuOptions, {"directory": "/a\nb"}, "an absolute path is expected"),
        (QemuOptions, {"speed": "9"}, "has no option 'speed'"),
        (NoOptions, {"directory": "/d"}, "has no option 'directory'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_does(kind: type, options: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        checked_options(kind, site(**options))


def test_a_word_of_an_older_catalog_that_is_not_known_keeps_no_site_from_being_opened() -> None:
    assert options_of(QemuOptions, site(speed="9")) == QemuOptions()


def test_where_things_of_ours_are_is_not_edited() -> None:
    require_fixed(QemuOptions, site(), site(accelerator="kvm"))
    with pytest.raises(UsageError, match="'directory' of site 'here' stays"):
        require_fixed(QemuOptions, site(), site(directory="/elsewhere"))
