"""How a notebook is run and its exercises are judged, in `make check` and in grading alike."""
