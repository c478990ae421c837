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
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it: a-z, 0-9 and '-'.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="How to reach it, such as qemu:///system.")],
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="qemu|xen|…", help="What it is [what the URI begins with].")
    ] = None,
    directory: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Directory for replicas and standings on its host."),
    ] = None,
    hooks_directory: Annotated[
        str | None, typer.Option(hidden=True, help="As -o hooks_directory=DIR, for scripts of older versions.")
    ] = None,
    known_hosts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Accept only the host keys in this file [ssh's own].")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the platform's own.")
    ] = None,
    is_json: JsonFlag = False,
) -> None:
    """Connect a site, and remember it once it answers."""
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
        f"What it can do: twinhull site check {name}",
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
    uri: Annotated[str | None, typer.Option(metavar="URI", help="How to reach it now.")] = None,
    known_hosts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Accept only the host keys in this file.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the platform's own.")
    ] = None,
    is_same_host: Annotated[
        bool, typer.Option("--same-host", help="Say that it is the same host, where Twinhull cannot tell.")
    ] = False,
    is_dry_run: DryRunFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Change how a site is reached, once its host has proved to be the same one.

    Its directory on the host stays: replicas and standings are there.
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
    """List the sites, and whether they answer."""
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
        empty="No site is connected yet: twinhull site add NAME URI",
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
    is_looking_only: Annotated[
        bool, typer.Option("--look-only", help="Ask what it can do; change nothing on the host.")
    ] = False,
    is_json: JsonFlag = False,
) -> None:
    """Say what a site can and cannot do, and why, and try it on a scratch machine that is gone afterwards.

    The exit code is 10 where a check failed.
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
        empty="The site names no capability.",
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
    """Believe what a site's host says about its machines, whatever key sealed it.

    For a manager whose repository is not the one that sealed the site's standings. The standings of machines that are
    in a plan here, or have points in this repository, are sealed by this repository's key; a manager that has another
    key does not believe them any more. Standings of other machines stay as they are.
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
        f"Believe what the host of '{name}' says now about its machines, as at its first contact (standings to take"
        f" over: {count})? A host that lies can so have the machine on the other site stopped, and a manager with"
        " another key loses these standings."
    )


@app.command(epilog=examples("twinhull site remove lab", "twinhull site remove lab --leave-guard"))
def remove(
    context: typer.Context,
    *,
    name: SiteArgument,
    is_leaving_guard: Annotated[bool, typer.Option("--leave-guard", help="Touch nothing on its host.")] = False,
    is_yes: YesFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Forget a site, and take our guard off its host where no machine has a standing any more.

    Machines, replicas and standings are left as they are; what was left is said.
    """
    door = door_of(context)
    with door.manager() as manager:
        manager.catalog.require_unused(SiteName(name))
        what = "Nothing on it is touched." if is_leaving_guard else "Its guard goes where no machine needs it any more."
        door.confirm(f"Forget the site '{name}'? {what}", is_yes=is_yes)
        left = manager.disconnect(SiteName(name), is_touching_host=not is_leaving_guard)
    door.screen.answer({"removed": name, "left": left}, f"Forgot {name}.", *left)
