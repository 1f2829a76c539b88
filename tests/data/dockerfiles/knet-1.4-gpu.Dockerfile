# For the gpu: Knet 1.4
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
# CUDA.jl fetches CUDA and cuDNN on the first use of a GPU, which a job without network cannot. Here, where there is
# none, they are told by name: of its list of artifacts the ones of CUDA 11.7, or else the newest that go with it.
RUN . /build/settings.sh \
 && julia -e '\
      using Pkg.Artifacts, Base.BinaryPlatforms; \
      list = joinpath(dirname(dirname(Base.find_package("CUDA"))), "Artifacts.toml"); \
      for (name, entries) in Artifacts.load_artifacts_toml(list); \
        fit = filter(e -> get(e, "os", "") == "linux" && e["arch"] == "x86_64" && haskey(e, "cuda"), vcat(entries)); \
        tags = filter(v -> v <= v"11.7" && v.major == v"11.7".major, [VersionNumber(e["cuda"]) for e in fit]); \
        name == "CUDA" && !(v"11.7" in tags) && error("this CUDA.jl has no CUDA 11.7"); \
        isempty(tags) && continue; \
        platform = HostPlatform(); \
        platform["cuda"] = string(maximum(tags).major, ".", maximum(tags).minor); \
        println(name, " for CUDA ", platform["cuda"], ": ", ensure_artifact_installed(name, list; platform=platform)); \
      end'
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
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV JULIA_CUDA_VERSION="11.7"
WORKDIR /job
# Nothing may have to be compiled anew: a job would do it on every start.
RUN julia -e 'import Knet as it; println(pathof(it))' \
 && test ! -e /tmp/julia/compiled \
 && rm -rf /tmp/* /tmp/.[!.]*
