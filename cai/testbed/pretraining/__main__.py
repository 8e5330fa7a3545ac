"""`python -m cai.testbed.pretraining`: the command is in a module of its own, so that its processes can import it."""

from cai.testbed.pretraining.command import main

if __name__ == "__main__":
    main()
