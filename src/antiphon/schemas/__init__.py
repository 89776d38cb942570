"""What messages mean: how declared events become bytes and come back, and the JSON Schema of each."""

from antiphon.schemas.codec import EventCodec, codec_for

__all__ = ["EventCodec", "codec_for"]
