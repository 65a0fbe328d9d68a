"""``python -m bayesgmm``: the command line."""

from bayesgmm.shell.commands import main

if __name__ == "__main__":
    main()
