"""TensorFlow 1 made to work as Keras made it work, one habit at a time: what each of them costs."""
from __future__ import absolute_import, division, print_function

import numpy as np
import tensorflow as tf

import on_tensorflow1
from adapter import Unsupported
from tensorflow_layers import TensorflowLayers

SHUFFLED = 20  # batches in the array that shuffling picks its rows from
EPSILON = 1e-7  # where Keras clips probabilities
COMBINED = {  # habits that came together
    "fit": ("probabilities", "metric", "fetch", "feed", "shuffle"),
    "keras-1": ("relu", "transposes"),
}


class OnTensorflow1AsKeras(on_tensorflow1.OnTensorflow1):
    """The plain step fetches nothing and finds its batch on the device; the option `habit` adds to that."""

    def __init__(self, request):
        super(OnTensorflow1AsKeras, self).__init__(request)
        if self.mode == "inference" or self.l2 or request["workload"]["data"]["kind"] != "images":
            raise Unsupported("these habits of Keras are habits of training on images without L2")
        habit = self.options.get("habit", "none")
        self.habits = COMBINED.get(habit, (habit,))
        if "transposes" in self.habits:
            self.data_format, self.channels_last = "NCHW", False
            self.axes = {}

    # The step -----------------------------------------------------------------------------------------

    def make_batch(self):
        """The batch as variables, or as placeholders that every step feeds."""
        super(OnTensorflow1AsKeras, self).make_batch()
        if self.fed:
            self.inputs, self.labels = [
                tf.placeholder(held.dtype.base_dtype, held.get_shape()) for held in (self.inputs, self.labels)]

    @property
    def fed(self):
        return "feed" in self.habits or "shuffle" in self.habits

    def make_step(self):
        """[what is fetched], its last an operation; the loss also stays in a variable, for whoever asks later."""
        self.moving = []
        outputs = self.forward(training=True, dropping=self.drops)
        loss = self.loss_of(outputs)
        self.kept_loss = tf.Variable(0.0, trainable=False)
        moved = [tf.assign_sub(moving, change) for moving, change in self.moving]
        update = tf.group(self.make_optimizer().minimize(loss), tf.assign(self.kept_loss, loss), *moved)
        fetched = []
        if "fetch" in self.habits:
            fetched.append(loss)
        if "metric" in self.habits:
            right = tf.equal(tf.argmax(outputs, 1), tf.cast(self.labels, tf.int64))
            fetched.append(tf.reduce_mean(tf.cast(right, tf.float32)))
        return fetched + [update]

    def loss_of(self, outputs):
        """Cross-entropy of the logits, or as Keras wrote it: one-hot labels against clipped probabilities."""
        if "probabilities" not in self.habits:
            return tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self.labels, logits=outputs))
        probabilities = tf.nn.softmax(outputs)
        probabilities /= tf.reduce_sum(probabilities, 1, keep_dims=True)
        probabilities = tf.clip_by_value(probabilities, EPSILON, 1 - EPSILON)
        wanted = tf.one_hot(self.labels, self.classes)
        by_sample = -tf.reduce_sum(wanted * tf.log(probabilities), 1)
        sample_weights = tf.ones([self.batch_size])
        return tf.reduce_mean(by_sample * sample_weights / tf.reduce_mean(tf.cast(
            tf.not_equal(sample_weights, 0), tf.float32)))

    def hold(self, batch):
        if self.fed:
            self.held = batch
            if "shuffle" in self.habits:
                self.samples = [np.concatenate([array] * SHUFFLED) for array in batch]
        else:
            super(OnTensorflow1AsKeras, self).hold(batch)

    def fetch(self, tensor):
        return self.session.run(tensor, self.feed(self.held) if self.fed else None)

    def feed(self, batch):
        return dict(zip((self.inputs, self.labels), batch))

    def shuffled(self):
        """Rows picked from an array of copies of the batch: the same samples, at the price of picking them."""
        rows = np.arange(self.batch_size) + self.batch_size * np.random.randint(SHUFFLED, size=self.batch_size)
        return [array[rows] for array in self.samples]

    def step(self, batch):
        if batch is not self.held:
            self.hold(batch)
        if not self.fed:
            return self.run()
        return self.session.run(self.wanted, self.feed(self.shuffled() if "shuffle" in self.habits else batch))

    def loss(self, handle):
        return float(self.session.run(self.kept_loss))

    # Layers -------------------------------------------------------------------------------------------

    def relu(self, x, layer):
        """Keras 1.0 subtracted a negative part that it had multiplied by zero; a switch around that still computes it."""
        positive = tf.nn.relu(x)
        if "relu" not in self.habits and "switch" not in self.habits:
            return positive
        slope = tf.constant(0.0)
        leaking = positive - slope * tf.nn.relu(-x)
        if "relu" in self.habits:
            return leaking
        chosen = tf.cond(tf.cast(slope, tf.bool), lambda: leaking, lambda: positive)
        chosen.set_shape(x.get_shape())
        return chosen

    def conv2d(self, x, layer):
        return self.between_transposes(TensorflowLayers.conv2d, x, layer)

    def max_pool(self, x, layer):
        return self.between_transposes(TensorflowLayers.max_pool, x, layer)

    def avg_pool(self, x, layer):
        return self.between_transposes(TensorflowLayers.avg_pool, x, layer)

    def between_transposes(self, operation, x, layer):
        """Channels-first data as Keras had it before 2.0.9: turned before each of these operations, and back."""
        if "transposes" not in self.habits:
            return operation(self, x, layer)
        self.data_format, self.channels_last = "NHWC", True
        x = operation(self, tf.transpose(x, [0, 2, 3, 1]), layer)
        self.data_format, self.channels_last = "NCHW", False
        return tf.transpose(x, [0, 3, 1, 2])

    def value(self, layer, part):
        held = super(OnTensorflow1AsKeras, self).value(layer, part)
        turned = "transposes" in self.habits and layer["kind"] == "conv2d" and part == "weight"
        return tf.transpose(held, [2, 3, 1, 0]) if turned else held


ADAPTER = OnTensorflow1AsKeras
