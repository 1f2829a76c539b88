"""What Keras 1 and 2 have in common: models of connected layers, train_on_batch, weights that are set and got."""
from __future__ import absolute_import, division, print_function

import keras_backends  # before Keras
import keras
import numpy as np
from keras import backend as K
from keras.layers import Activation, Dropout, Embedding, Flatten, Input
from keras.layers.advanced_activations import LeakyReLU
from keras.models import Model
from keras.optimizers import SGD, Adadelta, Adam

from adapter import Adapter, Unsupported
from weights import walk


def cross_entropy(labels, outputs):
    """Plain labels on logits; Theano's form takes the softmax first and clips it at 1e-7."""
    return K.sparse_categorical_crossentropy(target=labels, output=outputs, from_logits=True)


def cross_entropy_alone(labels, outputs):
    """The same as a metric, which Keras reports beside the loss with its penalties."""
    return K.mean(cross_entropy(labels, outputs))


class OnKeras(Adapter):
    """Subclasses spell the layers whose arguments Keras 2 renamed."""

    def __init__(self, request):
        super(OnKeras, self).__init__(request)
        self.backend = keras_backends.backend_for(self)
        own = "nhwc" if keras_backends.NAME == "tensorflow" else "nchw"
        self.channels_last = self.options.get("layout", own) == "nhwc"
        self.tokens = request["workload"]["data"]["kind"] == "tokens"

    def facts(self):
        facts = self.backend.facts()
        facts["versions"].update(keras=keras.__version__, numpy=np.__version__)
        return dict(facts, backend=keras_backends.NAME)

    # The model --------------------------------------------------------------------------------------

    def build(self, layers, weights):
        self.model = self.training_outputs = None  # they belong to the session that ends here
        self.backend.start()
        self.made, self.rectified = {}, None
        shape = layers[0]["in_shape"]
        if self.channels_last and len(shape) == 3:
            shape = shape[1:] + shape[:1]
        inputs = Input(shape=tuple(shape), dtype="int32" if self.tokens else "float32")
        self.model = Model(inputs, self.chain(layers, inputs))
        self.weighty = [layer for layer in walk(layers) if layer["parameters"]]
        for layer in self.weighty:
            self.made[layer["name"]].set_weights(self.layer_weights(layer, weights))
        if self.mode == "training":
            self.model.compile(self.make_optimizer(), cross_entropy, metrics=[cross_entropy_alone] if self.l2 else None)
            self.model._make_train_function()  # else the first step would compile it

    def make_optimizer(self):
        constants, kind = self.optimizer, self.optimizer["kind"]
        rate = constants["learning_rate"]
        if kind == "sgd":
            return SGD(lr=rate)
        if kind == "momentum":
            return SGD(lr=rate, momentum=constants["momentum"])
        if kind == "adam":  # its epsilon is added to the root before the bias correction ("epsilon hat")
            return Adam(lr=rate, beta_1=constants["beta1"], beta_2=constants["beta2"], epsilon=constants["epsilon"])
        if kind == "adadelta":
            return Adadelta(lr=rate, rho=constants["rho"], epsilon=constants["epsilon"])
        raise Unsupported("the Keras adapters have no optimizer %s" % kind)

    def layer_weights(self, layer, weights):
        """One layer's weights as Keras lists them."""
        arrays = [self.native(p, weights[p["name"]]) for p in layer["parameters"]]
        return self.gru_weights(layer, arrays) if layer["kind"] == "gru" else arrays

    def parameters(self):
        found = {}
        for layer in self.weighty:
            arrays = self.made[layer["name"]].get_weights()
            if layer["kind"] == "gru":
                arrays = self.gru_arrays(layer, arrays)
            found.update((p["name"], self.canonical(p, a)) for p, a in zip(layer["parameters"], arrays))
        return found

    def native(self, parameter, array):
        return super(OnKeras, self).native(parameter, self.turned(parameter, array))

    def canonical(self, parameter, array):
        return np.ascontiguousarray(self.turned(parameter, super(OnKeras, self).canonical(parameter, array)))

    def turned(self, parameter, array):
        """A kernel turned half around for a backend that flips it, a GRU's gates as z, r, n for r, z, n; and back."""
        if parameter["layout"] == "oihw" and self.backend.flips:
            return array[:, :, ::-1, ::-1]
        if parameter["name"].startswith("gru"):
            r, z, n = np.split(array, 3, axis=-1)
            return np.concatenate([z, r, n], axis=-1)
        return array

    # The verbs --------------------------------------------------------------------------------------

    def place(self, inputs, labels):
        """Arrays of the host: train_on_batch takes nothing else."""
        return self.native_images(inputs), labels.reshape(-1, 1)

    def step(self, batch):
        if self.mode == "inference":
            return self.model.predict_on_batch(batch[0])
        return self.model.train_on_batch(batch[0], batch[1])

    def loss(self, handle):
        """The loss, or behind it the metric that leaves out the penalties."""
        return float(np.ravel(handle)[-1])

    def logits(self, batch):
        """Keras has one switch for dropout and batch norm: in a network with dropout it would drop here too."""
        if self.training_outputs is None:
            self.training_outputs = K.function([self.model.inputs[0], K.learning_phase()], self.model.outputs)
        return self.training_outputs([batch[0], 1])[0]

    def predict(self, batch):
        return self.model.predict_on_batch(batch[0])

    def synchronize(self):
        self.backend.synchronize(self.model)

    # Layers -----------------------------------------------------------------------------------------

    def made_of(self, layer, keras_layer, x):
        self.made[layer["name"]] = keras_layer
        return keras_layer(x)

    def padded(self, x, layer, padding_layer):
        """x and the border mode that together add the layer's padding: "same" where that adds as much, else zeros ahead."""
        padding = layer["padding"]
        if not padding:
            return x, "valid"
        if self.backend.is_same(layer):
            return x, "same"
        if layer["kind"] == "max_pool" and x is not self.rectified:
            raise Unsupported("Keras pads with zeros, which a maximum over negative numbers would see")
        return padding_layer((padding, padding), **self.order)(x), "valid"

    def keras_axis(self, layer):
        """The axis, batch included, on which the canonical axis of a batch norm lies here."""
        if self.channels_last and len(layer["in_shape"]) == 3:
            return (3, 1, 2)[layer["axis"]]
        return layer["axis"] + 1

    def relu(self, x, layer):
        self.rectified = Activation("relu")(x)
        return self.rectified

    def leaky_relu(self, x, layer):
        return LeakyReLU(layer["slope"])(x)

    def tanh(self, x, layer):
        return Activation("tanh")(x)

    def flatten(self, x, layer):
        return Flatten()(x)

    def dropout(self, x, layer):
        return Dropout(layer["rate"])(x)

    def embedding(self, x, layer):
        table = Embedding(layer["vocabulary"], layer["dimension"], name=layer["name"])
        return self.made_of(layer, table, x)
