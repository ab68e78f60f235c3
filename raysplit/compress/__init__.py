"""What crosses the cut and how small it is: bottleneck and codecs.

Codecs:     Codec (what a codec does), QuantizingCodec (the package's own), build_codec (the one a config asks for)
Messages:   extract and positions (of the package's codec, from the message alone), pack_labels and extract_labels
Bottleneck: Encoder, Decoder, code_shape

The layer that puts both between two modules of any network is `raysplit.CompressedCut`. It is not imported here: torch
loads its compiler for it, which takes seconds.
"""

from raysplit.compress.bottleneck import Decoder, Encoder, code_shape
from raysplit.compress.codec import Codec, Direction, Estimate
from raysplit.compress.labels import extract_labels, pack_labels
from raysplit.compress.quantizing_codec import QuantizingCodec, extract, positions
from raysplit.compress.user_codec import build_codec

__all__ = [
    "Codec",
    "Decoder",
    "Direction",
    "Encoder",
    "Estimate",
    "QuantizingCodec",
    "build_codec",
    "code_shape",
    "extract",
    "extract_labels",
    "pack_labels",
    "positions",
]
