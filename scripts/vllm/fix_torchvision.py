"""Let PyPI's (CUDA-built) torchvision be imported next to a CPU-only torch.

Run it with the venv's own python after pip install:  VENV/bin/python fix_torchvision.py

PyPI's Linux torchvision wheel links to libtorch_cuda, so its _C.so does not load
under torch+cpu.  torchvision tolerates that, except for two fake-op registrations
that name operators which then do not exist.  This declares the two operators first.
Image transforms are pure Python and work; nms and roi_align stay unavailable.
Not needed where torchvision comes from PyTorch's own CPU index.  Safe to run twice.
"""

import importlib.util
import pathlib
import subprocess
import sys

ANCHOR = "import torchvision.extension  # noqa: F401\n"
PATCH = (
    ANCHOR
    + """
if not torchvision.extension._has_ops():  # fix_torchvision.py
    _cpu_stub = torch.library.Library("torchvision", "DEF")
    _cpu_stub.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _cpu_stub.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
)

if subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0:
    print("torchvision already imports: nothing to do")
else:
    path = pathlib.Path(importlib.util.find_spec("torchvision").origin).with_name("_meta_registrations.py")
    text = path.read_text()
    if ANCHOR not in text or "fix_torchvision.py" in text:
        sys.exit("this torchvision is not the one the fix was written for (0.28)")
    path.write_text(text.replace(ANCHOR, PATCH))
    subprocess.run([sys.executable, "-c", "import torchvision"], check=True)
    print("torchvision fixed")
