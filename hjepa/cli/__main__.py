"""python -m hjepa.cli: the command line, for launchers such as torchrun that want a module."""

from hjepa.cli.app import main

if __name__ == "__main__":
    main()
