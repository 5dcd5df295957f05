#!/bin/sh
# prune.sh ENVIRONMENT cpu|gpu|native: removes what the image's torch never loads.
#
#   gpu     all libraries stay
#   cpu     `import torch` works; the CUDA build links libraries of CUDA, and of these only what it links stays
#   native  libtorch's C++ libraries: a worker for native training functions, no driver, no notebook
set -eu

environment=$1 kind=$2
site=$(echo "$environment"/lib/python3*/site-packages)

# For those who compile.
rm -rf "$site"/torch/include "$site"/torch/share "$site"/nvidia/*/include "$site"/pyarrow/include
find "$site/torch" "$site/nvidia" -name '*.a' -delete 2>/dev/null || true

cd "$site/torch/lib"
case $kind in
gpu) exit 0 ;;
cpu) roots="libtorch_python.so libtorch_global_deps.so libshm.so" ;;
native) roots="libtorch_cpu.so libc10.so" ;;
*) echo "prune.sh: TORCH is cpu, gpu or native, not '$kind'" >&2 && exit 64 ;;
esac

# What the roots link, directly or not, and themselves; by their real paths.
linked=$(mktemp)
for root in $roots; do
    ldd "./$root" | grep "not found" >&2 && exit 1
    ldd "./$root" | sed -n 's/.*=> \(.*\) (.*/\1/p'
    echo "./$root"
done | xargs realpath | sort -u >"$linked"
find "$site/torch/lib" "$site/nvidia" -name '*.so*' -type f 2>/dev/null |
    while read -r library; do
        grep -qxF "$(realpath "$library")" "$linked" || rm "$library"
    done
rm -rf "$linked" "$site/triton"

if [ "$kind" = native ]; then
    # Lethe looks for the package and its version, and imports neither.
    find "$site/torch" -mindepth 1 -maxdepth 1 ! -name lib ! -name __init__.py ! -name version.py -exec rm -rf {} +
fi
