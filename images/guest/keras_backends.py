"""What differs between the backends of Keras: sessions and threads, the GPU's name, kernels and padding."""
from __future__ import absolute_import, division, print_function

import theano_setup  # sets THEANO_FLAGS, and so has to come before Keras, which may import Theano
from keras import backend as K

from adapter import Unsupported

NAME = K.backend() if hasattr(K, "backend") else K._BACKEND  # 1.0 has no function for it


class TensorflowBackend(object):
    """A session of our own, since Keras's would take its threads from a variable of the environment."""

    flips = False

    def __init__(self, adapter):
        import tensorflow
        self.tensorflow = tensorflow
        self.adapter = adapter
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
            intra_op_parallelism_threads=threads, allow_soft_placement=True)
        if self.adapter.device == "cpu":
            configuration.device_count["GPU"] = 0
        if hasattr(K, "clear_session"):
            K.clear_session()
        K.set_session(tf.Session(config=configuration))

    def synchronize(self, model):
        """Nothing to wait for: a session's run returns when all that it was asked for is done."""

    def same_adds(self, kind, size, kernel, stride):
        """How many zeros "same" puts before and behind an axis: what it takes to cover it, the odd one behind."""
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2

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
        theano_setup.wait_for(model.weights)

    def same_adds(self, kind, size, kernel, stride):
        """"same" puts as many zeros on either side, whatever the stride, and then cuts the end off."""
        if kind == "conv2d":
            added = kernel // 2
        else:
            added = kernel - 2 if kernel > 2 and kernel % 2 else kernel - 1
        whole = (size + 2 * added - kernel) // stride + 1 <= -(-size // stride)
        return (added, added) if whole else (None, None)

    def facts(self):
        return theano_setup.facts(self.adapter)


BACKENDS = {"tensorflow": TensorflowBackend, "theano": TheanoBackend}


def backend_for(adapter):
    """The backend that KERAS_BACKEND, or Keras's own default, has chosen."""
    if NAME not in BACKENDS:
        raise Unsupported("the Keras adapters know no backend %s" % NAME)
    return BACKENDS[NAME](adapter)
