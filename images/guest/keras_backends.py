"""What differs between the backends of Keras: sessions and threads, the GPU's name, kernels and padding."""
from __future__ import absolute_import, division, print_function

import gc

import theano_setup  # sets THEANO_FLAGS, and so has to come before Keras, which may import Theano
from keras import backend as K

from adapter import Unsupported
from same_padding import is_same

NAME = K.backend() if hasattr(K, "backend") else K._BACKEND  # 1.0 has no function for it


class TensorflowBackend(object):
    """A session of our own, since Keras's would take its threads from a variable of the environment."""

    flips = False

    def __init__(self, adapter):
        import tensorflow
        self.tensorflow = tensorflow
        self.adapter = adapter
        self.session = None  # kept here, or the collector would end it
        self.device = self.gpu_name() if adapter.device == "gpu" else "cpu"

    def gpu_name(self):
        """What TensorFlow itself calls its first GPU."""
        from tensorflow.python.client import device_lib
        for device in device_lib.list_local_devices():
            if device.device_type == "GPU":
                words = device.physical_device_desc.split(", ")
                return dict(word.split(": ", 1) for word in words if ": " in word).get("name", device.name)
        raise Unsupported("TensorFlow sees no GPU")

    def start(self):
        """A fresh graph and session."""
        tf, threads = self.tensorflow, self.adapter.threads
        configuration = tf.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, allow_soft_placement=True)
        if self.adapter.device == "cpu":
            configuration.device_count["GPU"] = 0
        gc.collect()  # TensorFlow 1.8 crashes where a session goes before what Keras had it compile
        if hasattr(K, "clear_session"):
            K.clear_session()
        self.session = tf.Session(config=configuration)
        K.set_session(self.session)

    def synchronize(self, model):
        """Nothing to wait for: a session's run returns when all that it was asked for is done."""

    def is_same(self, layer):
        """Whether "same" pads as the layer asks: it adds what covers the whole axis, the odd zero behind."""
        return is_same(layer)

    def facts(self):
        versions = {"tensorflow": self.tensorflow.__version__}
        return {"versions": versions, "device": self.device, "threads": self.adapter.threads}


class TheanoBackend(object):
    """Its convolution is the mathematician's, which flips the kernel."""

    flips = True

    def __init__(self, adapter):
        self.adapter = adapter
        theano_setup.prepare(adapter)

    def start(self):
        """Nothing: Theano has neither a graph nor a session to begin with."""

    def synchronize(self, model):
        theano_setup.wait_for(model.trainable_weights + model.non_trainable_weights)  # 1.0 has no `weights` of both

    def is_same(self, layer):
        """Whether "same" pads as the layer asks: it adds as much on either side, whatever the stride, and cuts the end off."""
        kernel, stride = layer["kernel"], layer["stride"]
        if layer["kind"] == "conv2d":
            added = kernel // 2
        else:
            added = kernel - 2 if kernel > 2 and kernel % 2 else kernel - 1
        covered = all(out == -(-size // stride) for size, out in zip(layer["in_shape"][1:], layer["out_shape"][1:]))
        return covered and added == layer["padding"]

    def facts(self):
        return theano_setup.facts(self.adapter)


class CntkBackend(object):
    """Keras has CNTK choose its device as it is imported: the GPU, where the wheel and the machine have one."""

    flips = False

    def __init__(self, adapter):
        import cntk
        self.cntk = cntk
        self.adapter = adapter
        self.where = cntk.device.use_default_device()
        self.device = "cpu" if self.where.type() == cntk.device.DeviceKind.CPU else self.gpu_name()
        if adapter.device == "gpu" and self.device == "cpu":
            raise Unsupported("CNTK sees no GPU")
        if adapter.device == "cpu" and self.device != "cpu":
            raise Unsupported("CNTK has taken the GPU, %s, which Keras gives no way to refuse" % self.device)
        cntk.cntk_py.set_max_num_cputhreads(adapter.threads)

    def gpu_name(self):
        return self.cntk.device.get_gpu_properties(self.where).name

    def start(self):
        """Nothing: a CNTK function carries its own graph."""

    def synchronize(self, model):
        """Nothing to wait for: a trainer's outputs are handed over as arrays."""

    def is_same(self, layer):
        """Whether "same" pads as the layer asks: it puts the middle of an odd window on the first pixel."""
        fits = min(layer["in_shape"][1:]) >= layer["kernel"]  # CNTK takes no window larger than an image
        return fits and 2 * layer["padding"] == layer["kernel"] - 1

    def facts(self):
        threads = self.cntk.cntk_py.get_max_num_cputhreads()
        return {"versions": {"cntk": self.cntk.__version__}, "device": self.device, "threads": threads}


BACKENDS = {"cntk": CntkBackend, "tensorflow": TensorflowBackend, "theano": TheanoBackend}


def backend_for(adapter):
    """The backend that KERAS_BACKEND, or Keras's own default, has chosen."""
    if NAME not in BACKENDS:
        raise Unsupported("the Keras adapters know no backend %s" % NAME)
    return BACKENDS[NAME](adapter)
