"""The `xmg` command as it starts: Ctrl-C leaves no traceback, even while libraries load."""

import os


def main() -> None:
    """As `xmg.cli.main.main`; one line and exit status 130 after Ctrl-C before a command runs."""
    try:
        from xmg.cli.main import main as run

        run()
    except KeyboardInterrupt:
        try:
            os.write(2, b"interrupted\n")
        finally:
            os._exit(130)  # nothing has begun, and half-loaded libraries may fail on the way out


if __name__ == "__main__":
    main()
