# no Dockerfile: no base image provides CUDA 9.0 with cuDNN 7.2 and Python 3.6
