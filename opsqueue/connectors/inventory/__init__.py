"""Where hosts are written down: the configuration, files, programs that print them, and what `hosts add` wrote."""
