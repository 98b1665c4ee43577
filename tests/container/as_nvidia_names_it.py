"""Let the torch in a root file system say that it is the one of NVIDIA's image 25.11, and write a constraint file.

python3 tests/container/as_nvidia_names_it.py ROOT        (`prove.sh` calls it)

NVIDIA's release notes say where the constraint file lies and what it is for:
https://docs.nvidia.com/deeplearning/frameworks/pytorch-release-notes/rel-25-12.html
"""

import re
import sys
from pathlib import Path

VERSION, CUDA = "2.10.0a0+b558c986e8.nv25.11", "13.0"


def rename_torch(packages: Path) -> None:
    """Give torch, its metadata included, another version and the CUDA that it was built with."""
    [metadata] = packages.glob("torch-*.dist-info")
    text = (metadata / "METADATA").read_text(encoding="utf-8")
    (metadata / "METADATA").write_text(re.sub(r"(?m)^Version: .*$", f"Version: {VERSION}", text, count=1))
    new = packages / f"torch-{VERSION}.dist-info"
    record = (metadata / "RECORD").read_text(encoding="utf-8").replace(metadata.name, new.name)
    (metadata / "RECORD").write_text(record)
    metadata.rename(new)
    version = packages / "torch" / "version.py"
    text = re.sub(r"(?m)^__version__ = .*$", f"__version__ = '{VERSION}'", version.read_text())
    version.write_text(re.sub(r"(?m)^cuda(: [^=]*)? = .*$", f"cuda = '{CUDA}'", text))


def constraints(packages: Path) -> str:
    """A pin for everything that is installed, as NVIDIA's file has it, and one that is at odds with the labs' own."""
    names = [re.fullmatch(r"(.+)-([^-]+)\.dist-info", folder.name) for folder in packages.glob("*.dist-info")]
    return (
        "".join(sorted(f"{found[1].replace('_', '-')}=={found[2]}\n" for found in names if found)) + "packaging==23.2\n"
    )


if __name__ == "__main__":
    [packages] = Path(sys.argv[1]).glob("usr/local/lib/python3*/dist-packages")
    rename_torch(packages)
    file = Path(sys.argv[1]) / "etc/pip/constraint.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(constraints(packages))
