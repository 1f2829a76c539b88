# For the cpu: Knet 1.4
# An argument, so that a mirror can stand in for the registry while this text, and so the image's tag, stays.
ARG BASE=julia:1.8-bullseye

FROM ${BASE} AS builder
# build/Manifest.toml is knet-1.4.toml, build/Project.toml names Knet@1.4.10 and CUDA@3.13.1; beside them lies what
# this build alone may know.
COPY build/ /build/
ENV JULIA_DEPOT_PATH=/opt/env/depot JULIA_PROJECT=/opt/env JULIA_PKG_PRECOMPILE_AUTO=0
# Pkg checks every package against the hash of its tree.
RUN . /build/settings.sh \
 && mkdir -p /opt/env \
 && cp /build/Project.toml /build/Manifest.toml /opt/env/ \
 && julia -e 'using Pkg; Pkg.instantiate()'
# One date for all files, before anything is compiled: compiled code is good as long as its sources keep their dates, and
# layers keep whole seconds.
RUN . /build/settings.sh \
 && find /opt/env -exec touch -hd 2020-01-01T00:00:00Z {} + \
 && julia -e 'using Pkg; Pkg.precompile(strict=true)' \
 && julia -e 'using Pkg; foreach(d -> println(d.name, "==", something(d.version, VERSION)), values(Pkg.dependencies()))' \
      | sort >/opt/env/packages.txt \
 && rm -rf /opt/env/depot/registries /opt/env/depot/logs \
 && chmod -R a+rX /opt/env

FROM ${BASE}
# Files enter and leave through the archive API; the engine lays a volume over this folder, which takes its mode.
RUN mkdir -m 1777 /job
COPY --from=builder /opt/env /opt/env
# Julia writes into the first depot of its path, and a job may write below /tmp alone.
ENV JULIA_DEPOT_PATH=/tmp/julia:/opt/env/depot JULIA_PROJECT=/opt/env JULIA_PKG_OFFLINE=true
ENV HOME=/tmp LOGNAME=runner LANG=C.UTF-8
WORKDIR /job
# Nothing may have to be compiled anew: a job would do it on every start.
RUN julia -e 'import Knet as it; println(pathof(it))' \
 && test ! -e /tmp/julia/compiled \
 && rm -rf /tmp/* /tmp/.[!.]*
