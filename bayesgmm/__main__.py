"""``python -m bayesgmm``: the command line."""

from bayesgmm.cli import main

if __name__ == "__main__":
    main()
