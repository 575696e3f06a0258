"""What commands say of a run that was cut short."""

from pathlib import Path

from xmg.cache.errors import XmgError
from xmg.cli.console import hints


def say_unfinished(run: Path) -> None:
    """Point out that a run has not done all its meta-iterations; of other folders nothing."""
    from xmg.engine.run import CONFIG, n_missing

    try:
        missing = n_missing(run) if (run / CONFIG).is_file() else 0
    except XmgError as error:  # what the command needs may be whole
        hints.print(str(error))
        return
    if missing:
        hints.print(
            f"{run} is not finished: {missing} meta-iterations are missing. The command that began "
            "it goes on; until then this is its best checkpoint so far"
        )
