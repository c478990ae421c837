"""``twinhull site``: connect virtualization environments, and see what they can do."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, SiteArgument, YesFlag, commands, examples, pairs
from twinhull.cli.screen import shapes
from twinhull.model.machine import SiteName
from twinhull.model.units import format_duration
from twinhull.platforms.contract import SiteSettings

app = commands()
APPS = {"site": app}


@app.command(
    epilog=examples(
        "twinhull site add here qemu:///system",
        "twinhull site add lab 'qemu:///embed?root=/srv/lab' --directory /srv/lab",
        "twinhull site add there 'xen+ssh://root@xen1/' --known-hosts /root/xen1-keys",
    )
)
def add(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: a-z, 0-9 and '-'.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="Its address, such as qemu:///system.")],
    platform: Annotated[
        str | None,
        typer.Option("--platform", metavar="qemu|xen|…", help="Its platform (default: the beginning of the URI)."),
    ] = None,
    directory: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Directory on its host for replicas and standings."),
    ] = None,
    hooks_directory: Annotated[
        str | None, typer.Option(hidden=True, help="As -o hooks_directory=DIR, for scripts of older versions.")
    ] = None,
    known_hosts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Accept only the host keys in this file (default: ssh's own files)."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="A platform-specific option.")
    ] = None,
    is_json: JsonFlag = False,
) -> None:
    """Connect a site."""
    from twinhull.manager.sites import pool as sites  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    sites.checked_name(name, "site")
    settings = SiteSettings(
        name=SiteName(name),
        platform=platform or sites.guess_platform(uri),
        uri=sites.with_known_hosts(uri, known_hosts),
        options={
            **({"directory": directory} if directory else {}),
            **({"hooks_directory": hooks_directory} if hooks_directory else {}),
            **pairs(option, form="KEY=VALUE"),
        },
    )
    with door.manager() as manager:
        machine_count = manager.connect(settings)
        settings = manager.catalog.site(settings.name)
    door.screen.answer(
        {**shapes.site(settings), "machine_count": machine_count},
        f"Connected {name} ({settings.platform}): {machine_count} machines.",
        f"To check what it can do: twinhull site check {name}",
    )


@app.command(
    epilog=examples(
        "twinhull site edit there --uri xen+ssh://root@192.0.2.7/ --dry-run",
        "twinhull site edit there --known-hosts /root/xen1-keys",
    )
)
def edit(
    context: typer.Context,
    *,
    name: SiteArgument,
    uri: Annotated[str | None, typer.Option(metavar="URI", help="Its new address.")] = None,
    known_hosts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Accept only the host keys in this file.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="A platform-specific option.")
    ] = None,
    is_same_host: Annotated[
        bool, typer.Option("--same-host", help="Confirm that it is the same host if Twinhull cannot know.")
    ] = False,
    is_dry_run: DryRunFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Change how a site is reached.

    The new address must lead to the same host. The site's directory on the host stays the same: it holds replicas and
    standings.
    """
    from twinhull.manager.sites import pool as sites  # noqa: PLC0415 - loaded when called
    from twinhull.manager.sites.editing import changes  # noqa: PLC0415 - as above

    door = door_of(context)
    with door.manager() as manager:
        old = manager.catalog.site(SiteName(name))
        new = replace(
            old,
            uri=sites.with_known_hosts(uri or old.uri, known_hosts),
            options={**old.options, **pairs(option, form="KEY=VALUE")},
        )
        found = changes(old, new, {})
        manager.reconnect(new, is_same_host=is_same_host, is_dry_run=is_dry_run)
    head = f"The site {name} would change:" if is_dry_run else f"Changed the site {name}:"
    shape = {**shapes.site(new), "changes": found, "is_dry_run": is_dry_run}
    door.screen.answer(shape, head, *(f"  {field}: {change}" for field, change in found.items()))


@app.command("list", epilog=examples("twinhull site list", "twinhull site list --json"))
def list_(context: typer.Context, *, is_json: JsonFlag = False) -> None:
    """List sites, and whether they answer."""
    door = door_of(context)
    with door.manager() as manager:
        views = list(manager.lookout.look().sites.values())
    if is_json:
        door.screen.document({"sites": [shapes.site_view(view) for view in views]})
        return
    door.screen.table(
        ["site", "platform", "answers", "machines", "uri"],
        [
            [
                view.settings.name,
                view.settings.platform,
                "yes" if view.is_reachable else "no",
                str(len(view.machines)) if view.is_reachable else "",
                view.settings.uri,
            ]
            for view in views
        ],
        empty="No site is connected yet. Connect one: twinhull site add NAME URI",
    )
    for view in views:
        if not view.is_reachable:
            door.screen.line(f"{view.settings.name}: {view.reason}")


@app.command(epilog=examples("twinhull site show there", "twinhull site show there --json"))
def show(context: typer.Context, *, name: SiteArgument, is_json: JsonFlag = False) -> None:
    """Show how a site is reached, which parts it offers, and how strong its guard is."""
    from twinhull.manager.sites.showing import show_site  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager, manager.pool.lease(is_looking=True) as opened:
        shown = show_site(manager.catalog, opened(SiteName(name)))
    if is_json:
        door.screen.document(shapes.site_shown(shown))
        return
    guard = shown.guard
    door.screen.facts(
        [
            ("site", name),
            ("platform", shown.settings.platform),
            ("uri", shown.settings.uri),
            ("options", [f"{key}={word}" for key, word in shown.settings.options.items()]),
            ("machines", "" if shown.machine_count is None else str(shown.machine_count)),
            ("guard", guard.grade.value if guard else f"not asked yet: twinhull site check {name}"),
            ("", guard.reason if guard else ""),
        ]
    )
    door.screen.line()
    rows = [[part, "no" if reason else "yes", reason] for part, reason in shown.parts.items()]
    door.screen.table(["part", "offered", "reason"], rows, empty="")


@app.command(epilog=examples("twinhull site check there", "twinhull site check there --look-only --json"))
def check(
    context: typer.Context,
    *,
    name: SiteArgument,
    is_looking_only: Annotated[bool, typer.Option("--look-only", help="Only ask; change nothing on the host.")] = False,
    is_json: JsonFlag = False,
) -> None:
    """Check what a site can and cannot do on a scratch machine.

    Each capability is tried, and the scratch machine is removed. --look-only asks only, and changes nothing. The exit
    code is 10 if a check failed.
    """
    door = door_of(context)
    with door.manager() as manager:
        checked = manager.check_site(SiteName(name), is_looking_only=is_looking_only)
    if is_json:
        door.screen.judge(checked.shape(), [], checked.failed())
        return
    door.screen.table(
        ["capability", "supported", "reason"],
        [
            [capability.value, "yes" if support.is_supported else "no", support.reason]
            for capability, support in checked.capabilities.items()
        ],
        empty="The site reports no capability.",
    )
    if checked.checks:
        door.screen.line()
        door.screen.table(
            ["check", "verdict", "took", "reason"],
            [
                [check.name, check.verdict.value, format_duration(check.seconds), check.reason]
                for check in checked.checks
            ],
            empty="",
        )
    failed = checked.failed()
    if failed:
        raise failed


@app.command(epilog=examples("twinhull site trust there --dry-run", "twinhull site trust there --yes --json"))
def trust(
    context: typer.Context,
    *,
    name: SiteArgument,
    is_dry_run: DryRunFlag = False,
    is_yes: YesFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Accept a host's standings although another repository sealed them.

    For a manager whose repository is not the one that sealed the site's standings. Those of machines that are in a plan
    here, or have points in this repository, are sealed again with this repository's key; a manager with another key
    then rejects them. Standings of other machines do not change.
    """
    door = door_of(context)
    with door.manager() as manager:
        found = manager.trust(SiteName(name), is_dry_run=True)
        if not is_dry_run:
            door.confirm(_trust_question(name, len(found)), is_yes=is_yes)
            found = manager.trust(SiteName(name), is_dry_run=False)
    shown = [{"machine_id": one.machine_id, "role": one.role.value, "epoch": one.epoch} for one in found]
    head = f"Standings that would be taken over on {name}" if is_dry_run else f"Standings taken over on {name}"
    lines = (f"  {one.machine_id}: {one.role.value}, epoch {one.epoch}" for one in found)
    door.screen.answer({"site": name, "standings": shown, "is_dry_run": is_dry_run}, f"{head}: {len(found)}", *lines)


def _trust_question(name: str, count: int) -> str:
    return (
        f"Trust what the host of '{name}' says now about its machines, as at the first contact (standings to take "
        f"over: {count})? A host that lies could have the machine on the other site stopped, and a manager with "
        "another key can no longer use these standings."
    )


@app.command(epilog=examples("twinhull site remove lab", "twinhull site remove lab --leave-guard"))
def remove(
    context: typer.Context,
    *,
    name: SiteArgument,
    is_leaving_guard: Annotated[bool, typer.Option("--leave-guard", help="Change nothing on its host.")] = False,
    is_yes: YesFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Forget a site, and remove the guard from its host.

    The guard stays if a machine still has a standing there. Machines, replicas and standings are not touched; what is
    left is listed.
    """
    door = door_of(context)
    with door.manager() as manager:
        manager.catalog.require_unused(SiteName(name))
        what = "Nothing on its host changes." if is_leaving_guard else "Its guard is removed if no machine needs it."
        door.confirm(f"Forget the site '{name}'? {what}", is_yes=is_yes)
        left = manager.disconnect(SiteName(name), is_touching_host=not is_leaving_guard)
    door.screen.answer({"removed": name, "left": left}, f"Forgot {name}.", *left)
