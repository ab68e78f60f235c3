"""What crosses the cut and how small it is: bottleneck, codecs, messages, levels over time."""
