#!/usr/bin/env bash
# Build the Dockerfile without Docker, without a GPU and without NVIDIA's image, and run what comes out:
#
#     sudo tests/container/prove.sh [FOLDER]
#
# No test of the suite: it needs root, debootstrap, buildah, runc, iproute2, the network and about 10 GB in FOLDER (default: a new one),
# and takes a quarter of an hour or more. The stand-in base image is a Debian with Python and pip, as NVIDIA's images are
# made: torch lies in the system's Python under the version of their 25.11, with numpy 1.26, both named in a constraint
# file that PIP_CONSTRAINT points to, and there is no venv package. The torch in it is the CPU build: only its version and
# the CUDA that it says it was built with are NVIDIA's. So this shows that the steps of the Dockerfile work and change
# neither; it says nothing about CUDA.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-$(mktemp -d)}
storage=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)
base=localhost/stand-in:25.11 image=localhost/mech-interp-labs
export BUILDAH_ISOLATION=oci BUILDAH_RUNTIME=runc
step() { printf '\n== %s\n' "$*"; }
mkdir -p "$work"

step "stand-in base image"
if ! buildah "${storage[@]}" inspect --type image $base >/dev/null 2>&1; then
    root=$work/root
    [ -e "$root/usr/bin/pip" ] || debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates bookworm "$root" >"$work/debootstrap.log"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" # where this machine's network has an authority of its own
    cp /etc/resolv.conf "$root/etc/"
    rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    python3 -m pip download --quiet --no-deps --dest "$root/opt" torch==2.13.0
    chroot "$root" sh -c 'PIP_CERT=/etc/ssl/certs/ca-certificates.crt pip install --quiet --no-cache-dir numpy==1.26.4 /opt/torch-*.whl'
    rm "$root"/opt/torch-*.whl
    python3 tests/container/as_nvidia_names_it.py "$root" # version, CUDA, constraint file
    mkdir -p "$root/usr/local/etc/jupyter/jupyter_server_config.d" # settings like theirs, of the worst kind
    echo "c.IdentityProvider.token = c.ServerApp.token = ''" | tee "$root/usr/local/etc/jupyter/jupyter_notebook_config.py" \
        >"$root/usr/local/etc/jupyter/jupyter_server_config.py"
    container=$(buildah "${storage[@]}" from scratch)
    buildah "${storage[@]}" copy --quiet "$container" "$root" / >/dev/null
    buildah "${storage[@]}" config --env PIP_CONSTRAINT=/etc/pip/constraint.txt --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt "$container"
    buildah "${storage[@]}" commit --quiet --rm "$container" $base
fi

step "build, as compose does, for a user of number 1234"
buildah "${storage[@]}" build --quiet --format docker --network host --build-arg BASE=$base --build-arg LAB_UID=1234 --build-arg LAB_GID=1234 \
    --tag $image . 2>&1 | tee "$work/build.log"

# `inside USER COMMAND…`: in a container of the image, without a network, with a workspace that belongs to the user
mkdir -p "$work/notebooks" "$work/outputs" "$work/hub"
cp notebooks/*.ipynb "$work/notebooks/"
chown -R 1234:1234 "$work/notebooks" "$work/outputs" "$work/hub"
container=$(buildah "${storage[@]}" from $image)
inside() {
    local user=$1
    shift
    unshare -n sh -c 'ip link set lo up && exec "$@"' sh \
        buildah "${storage[@]}" run --network host --user "$user" --volume "$work/notebooks:/labs/notebooks" \
        --volume "$work/outputs:/labs/outputs" --volume "$work/hub:/home/labs/.cache/huggingface" "$container" "$@"
}

step "torch, numpy and CUDA are the base image's; which way set-up took"
for name in torch numpy; do
    before=$(cat "$work"/root/usr/local/lib/python3*/dist-packages/$name-*.dist-info/RECORD | sha256sum)
    after=$(inside 1234:1234 sh -c "cat /usr/local/lib/python3*/dist-packages/$name-*.dist-info/RECORD" | sha256sum)
    test "$before" = "$after" || { echo "$name was changed"; exit 1; }
done
inside 1234:1234 .venv/bin/python -c "import numpy, torch; print(torch.__version__, torch.version.cuda, torch.__file__); print(numpy.__version__)"
inside 1234:1234 python3 -m scripts.doctor || true

health=$(buildah "${storage[@]}" inspect --type image --format '{{index .Docker.Config.Healthcheck.Test 3}}' $image)
for user in 1234:1234 4321:4321; do
    step "JupyterLab as the user $user: nothing without its token, the health check, a lab with the network off"
    container=$(buildah "${storage[@]}" from $image) # a new one, as every `docker run` makes it
    chown -R "$user" "$work/notebooks" "$work/outputs" "$work/hub"
    inside "$user" env JUPYTER_TOKEN=a-token-for-this-proof HEALTH="$health" sh -c '
        .venv/bin/python -m scripts.start_jupyterlab --ip=0.0.0.0 --port=8888 --ServerApp.port_retries=0 >/tmp/jupyter.log 2>&1 &
        python3 - <<PYTHON || { cat /tmp/jupyter.log; exit 1; }
import time, urllib.error, urllib.request
def status(path):
    try:
        return urllib.request.urlopen("http://127.0.0.1:8888" + path, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
waited = 0
while status("/api") is None and waited < 180: time.sleep(1); waited += 1
found = status("/api"), status("/api/contents"), status("/api/contents?token=a-token-for-this-proof")
print("JupyterLab, contents without the token, with it:", found)
assert found == (200, 403, 200)
PYTHON
        python3 -c "$HEALTH" && echo healthy || exit 1
        .venv/bin/python -m scripts.run_labs 01'
    touch_test=$(inside "$user" sh -c 'touch notebooks/mine outputs/mine && rm notebooks/mine outputs/mine && id -u')
    echo "files can be written by user $touch_test"
done
echo && echo "all of it held"
