"""Results of other tools become results of ours: what is good in them is taken over, what was lost is left open.

``import_tao`` is for results folders of TAO's auto_label. ``tao_folder`` finds what such a folder says of a record,
``tao_labels`` reads it, ``box_numbers`` tells what its numbers are, ``found`` counts.
"""

from raylabel.importing.tao import Manner, import_tao

__all__ = ["Manner", "import_tao"]
