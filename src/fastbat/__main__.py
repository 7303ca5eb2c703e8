"""python -m fastbat is fastbat."""

from fastbat.cli.main import main

main()
