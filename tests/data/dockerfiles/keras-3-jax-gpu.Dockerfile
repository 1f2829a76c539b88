# For the gpu: Keras 3 on JAX 0.12
# An argument, so that a mirror can stand in for the registry while this text, and so the image's tag, stays.
ARG BASE=python:3.12-slim

FROM ${BASE} AS system
# Files enter and leave through the archive API; the engine lays a volume over this folder, which takes its mode.
RUN mkdir -m 1777 /job

FROM system AS builder
# build/requirements.txt is keras-3-jax-gpu.txt, build/tools.txt
# the lock of pip, setuptools and wheel for this Python; beside them lies what this build alone may know.
COPY build/ /build/
ENV PIP_CONFIG_FILE=/build/pip.conf PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/env \
 && python -m pip install --no-cache-dir --quiet --target /opt/tools \
      --require-hashes --no-deps --requirement /build/tools.txt
# Without build isolation, which would fetch the newest tools under no lock. One date for all files and no random
# hashes, so that the same requirements give the same bytes; compiled here, where one can still write. A package may
# carry files of another Python, which do not compile.
RUN export PYTHONPATH=/opt/tools PYTHONHASHSEED=0 \
 && /opt/env/bin/python -m pip install --require-hashes --no-deps --no-build-isolation --no-cache-dir \
      --ignore-installed --no-compile --progress-bar off --requirement /build/requirements.txt \
 && /opt/env/bin/python -m pip freeze --all --path /opt/env/lib/python3.12/site-packages >/opt/env/packages.txt \
 && find /opt/env -exec touch -hd 2020-01-01T00:00:00Z {} + \
 && ( /opt/env/bin/python -m compileall -q -j 0 /opt/env/lib/python3.12/site-packages >/dev/null || true )

FROM system
COPY --from=builder /opt/env /opt/env
# A job's user id has no name and no home; without LOGNAME, Python's getpass.getuser() fails for it.
ENV PATH=/opt/env/bin:$PATH HOME=/tmp LOGNAME=runner LANG=C.UTF-8
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Without a name it warns, and goes on, on the CPU.
ENV JAX_PLATFORMS="cuda"
ENV JAX_DEFAULT_MATMUL_PRECISION="highest"
ENV KERAS_BACKEND="jax"
WORKDIR /job
# An image may be built where no GPU is: there, the driver's own library is all that may be missing.
RUN python -c "import keras as it; print(it.__version__)" \
 || { python -c "import keras as it; print(it.__version__)" 2>&1 | grep 'libcuda[.]so[.]1'; } \
 && rm -rf /tmp/* /tmp/.[!.]*
