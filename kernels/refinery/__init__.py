"""JSON events to feature rows in one native pass, and the raw columns between the two."""

from .op import (
    MAX_ROW_BYTES,
    EncodeResult,
    ExtractResult,
    RefineResult,
    SplitResult,
    encode,
    error_codes,
    extract,
    locate,
    pack_rows,
    refine,
    split_rows,
)

__all__ = [
    "MAX_ROW_BYTES",
    "EncodeResult",
    "ExtractResult",
    "RefineResult",
    "SplitResult",
    "encode",
    "error_codes",
    "extract",
    "locate",
    "pack_rows",
    "refine",
    "split_rows",
]
