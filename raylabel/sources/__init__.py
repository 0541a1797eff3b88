"""Sources: captions, KITTI folders and earlier annotations become numbered shards of records.

``source_for`` picks the source, ``scan`` cuts it into shards in one pass, ``read_shard`` reads one of them anywhere,
``resolve_units`` finishes a foreign record once its image is known.
"""

from raylabel.sources.reading import read_shard
from raylabel.sources.scanning import scan
from raylabel.sources.spec import Shard, SourceSpec, source_for
from raylabel.sources.units import resolve_units

__all__ = ["Shard", "SourceSpec", "read_shard", "resolve_units", "scan", "source_for"]
