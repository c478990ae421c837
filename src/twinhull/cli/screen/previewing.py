"""What each of several runs would do, shown before anybody is asked to agree; one that is refused keeps none back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twinhull.cli.screen.screen import Screen, Shape, Told, error_shape
from twinhull.model.errors import AlreadyThere, TwinhullError

if TYPE_CHECKING:
    from twinhull.manager.manager import Manager
    from twinhull.manager.runs.wants import Want


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do, in lines; or why there is nothing to do for its machine, or it would be refused."""

    want: Want
    lines: list[str] = field(default_factory=list)
    request: Shape | None = None
    skipped: AlreadyThere | None = None
    refused: TwinhullError | None = None

    @property
    def told(self) -> list[str]:
        """For people."""
        if self.skipped:
            return [f"Skipped: {self.skipped.message}"]
        if self.refused:
            hint = [self.refused.hint] if self.refused.hint else []
            return [f"{self.want.subject.name} will be refused: {self.refused.message}", *hint]
        return self.lines or ["Nothing to do."]


def previews(manager: Manager, wants: Sequence[Want]) -> list[Preview]:
    """What each run would do; raises what would keep every one of them from beginning.

    Of several machines, one that would be refused does not keep the others from being asked about.
    """
    found = [_preview(manager, want) for want in wants]
    refused = [preview.refused for preview in found if preview.refused]
    skipped = [preview.skipped for preview in found if preview.skipped]
    if found and len(refused) + len(skipped) == len(found):
        raise [*refused, *skipped][0]
    return found


def _preview(manager: Manager, want: Want) -> Preview:
    try:
        preview = manager.previewer.preview(want)
        return Preview(want, preview.lines, preview.request)
    except AlreadyThere as error:
        return Preview(want, skipped=error)
    except TwinhullError as error:
        return Preview(want, refused=error)


def tell_dry_run(screen: Screen, found: Sequence[Preview]) -> None:
    """Tell it; the exit code is that of the first refusal, as it would be of the run."""
    tell_previews(screen, found)
    refused = next((preview.refused for preview in found if preview.refused), None)
    if refused:
        raise Told(refused)


def tell_previews(screen: Screen, found: Sequence[Preview]) -> None:
    """What each would do, for people or as data."""
    if screen.is_json:
        screen.document({"machines": [_preview_shape(preview) for preview in found]})
        return
    for preview in found:
        screen.heading(preview.want.subject.name)
        for line in preview.told:
            screen.line(f"  {line}")


def _preview_shape(preview: Preview) -> Shape:
    subject, skipped, refused = preview.want.subject, preview.skipped, preview.refused
    return {
        "subject": subject.shape(),
        "machine_id": subject.key,
        "machine_name": subject.name,
        "kind": preview.want.kind,
        "would": preview.lines,
        "request": preview.request,
        "skipped": skipped.message if skipped else None,
        "refused": error_shape(refused) if refused else None,
    }
