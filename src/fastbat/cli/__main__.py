"""python -m fastbat.cli is fastbat."""

from fastbat.cli.main import main

main()
