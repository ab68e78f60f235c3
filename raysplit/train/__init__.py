"""Training across a cut: one loop over a transport, a device side, a server side, and a Ray shell around them."""
