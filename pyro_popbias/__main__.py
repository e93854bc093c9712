"""`python -m pyro_popbias`, which is `popbias`; torchrun starts several of it."""

from pyro_popbias.cli import main

if __name__ == "__main__":
    main()
